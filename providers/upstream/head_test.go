package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// parse reads a response header as the transport does, a few bytes at a time.
func parse(in string, most int, h *fasthttp.ResponseHeader) (head, error) {
	r := bufio.NewReaderSize(dribble{strings.NewReader(in), most}, 1024)
	b, err := readHead(r)
	if err != nil {
		return head{}, err
	}
	return parseHead(b, false, h)
}

func TestHead(t *testing.T) {
	f := func(in string, want head) {
		t.Helper()
		for _, most := range []int{1, 5, 1000} {
			var h fasthttp.ResponseHeader
			got, err := parse(in, most, &h)
			if err != nil || got != want || h.StatusCode() != want.status {
				t.Errorf("%q: got %+v, %v, want %+v", in, got, err, want)
			}
		}
	}
	f("HTTP/1.1 200 OK\r\n\r\n", head{200, untilClose, true})
	f("HTTP/1.1 200\r\n\r\n", head{200, untilClose, true})
	f("HTTP/1.1 200 \r\n\r\n", head{200, untilClose, true})
	f("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", head{200, 12, false})
	f("HTTP/1.1 200 OK\r\ncontent-length:\t 12 \t\r\n\r\n", head{200, 12, false})
	f("HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999\r\n\r\n", head{200, 999999999999999999, false})
	f("HTTP/1.1 200 OK\r\nTRANSFER-encoding: CHUNKED\r\n\r\n", head{200, chunked, false})
	f("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: foo, Close\r\n\r\n", head{200, 1, true})
	f("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", head{200, 1, true})
	f("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n", head{200, 1, false})
	f("HTTP/1.1 204 No\r\n\r\n", head{204, 0, false})
	f("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", head{204, 0, false})
	f("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", head{204, 0, true})
	f("HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n", head{304, 0, false})
	f("HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", head{103, 0, false})
	f("HTTP/1.1 599 \xe9\r\nX: \xe9\t!\r\n\r\n", head{599, untilClose, true})
}

func TestHeadRefused(t *testing.T) {
	f := func(in string) {
		t.Helper()
		for _, most := range []int{1, 5, 1000} {
			var h fasthttp.ResponseHeader
			got, err := parse(in, most, &h)
			if _, ok := errors.AsType[malformed](err); !ok {
				t.Errorf("%q: got %+v, %v", in, got, err)
			}
		}
	}
	f("\r\nHTTP/1.1 200 OK\r\n\r\n")
	f("SSH-2.0-OpenSSH\r\n")
	f("HTTP/2")
	f("HTTP/1.2 200 OK\r\n\r\n")
	f("http/1.1 200 OK\r\n\r\n")
	f("HTTP/1.1  200 OK\r\n\r\n")
	f("HTTP/1.1 20 OK\r\n\r\n")
	f("HTTP/1.1 2000 OK\r\n\r\n")
	f("HTTP/1.1 +20 OK\r\n\r\n")
	f("HTTP/1.1 099 OK\r\n\r\n")
	f("HTTP/1.1 600 OK\r\n\r\n")
	f("HTTP/1.1 999 OK\r\n\r\n")
	f("HTTP/1.1 200 O\x00K\r\n\r\n")
	f("HTTP/1.1 200 OK\n\n")
	f("HTTP/1.1 200 OK\r\nA: b\n\r\n")
	f("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n")
	f("HTTP/1.1 200 OK\r\n A: b\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nA : b\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nA b: c\r\n\r\n")
	f("HTTP/1.1 200 OK\r\n: c\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nnothing\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nA: \x7f\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n")
	f("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Encoding: br\r\n\r\n")
}

func TestHeadFields(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var h fasthttp.ResponseHeader
		if _, err := parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"+in+"\r\n", 1000, &h); err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if got := fieldList(&h); got != "Content-Length: 2\n"+want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("", "")
	f("x-multi: a\r\nX-Multi: b\r\n", "X-Multi: a\nX-Multi: b\n")
	f("Set-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\n", "Set-Cookie: a=1; Path=/\nSet-Cookie: b=2\n")
	f("Content-Type: text/event-stream\r\nServer: s\r\n", "Content-Type: text/event-stream\nServer: s\n")
	f("Connection: X-Secret, content-type\r\nContent-Type: a/b\r\nX-Secret: 1\r\nY: 2\r\n", "Content-Type: a/b\nY: 2\n")
	f("Connection: X-One, keep-alive\r\nX-One: 1\r\nConnection: x-two\r\nX-Two: 2\r\nY: 2\r\n", "Y: 2\n")
	f("Keep-Alive: 5\r\nTE: x\r\nTrailer: Y\r\nUpgrade: h2c\r\nProxy-Connection: a\r\nProxy-Authenticate: b\r\nY: 2\r\n", "Y: 2\n")
}

func fieldList(h *fasthttp.ResponseHeader) string {
	var b strings.Builder
	for k, v := range h.All() {
		b.WriteString(string(k) + ": " + string(v) + "\n")
	}
	return b.String()
}

func TestHeadTooLarge(t *testing.T) {
	in := "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 200) + "\r\n"
	if _, err := parse(in, 100, new(fasthttp.ResponseHeader)); err != errTooLarge {
		t.Errorf("got %v", err)
	}
}

// FuzzHead checks that what is accepted means the same to net/http, whatever
// the pieces it arrives in, and that no part of it is accepted as a whole.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n", "HTTP/1.0 404\r\nConnection: keep-alive, X\r\nX: 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\nSet-Cookie: c\r\n\r\n", "HTTP/1.1 204 \r\n\r\nrest",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var h, again fasthttp.ResponseHeader
		got, err := parse(in, 1<<10, &h)
		small, err2 := parse(in, 3, &again)
		if (err == nil) != (err2 == nil) || got != small {
			t.Fatalf("%q: %+v, %v at once and %+v, %v in pieces", in, got, err, small, err2)
		}
		if err != nil {
			return
		}
		end := strings.Index(in, "\r\n\r\n") + 4
		if _, err := parse(in[:end-1], 1<<10, &again); err != io.ErrUnexpectedEOF {
			t.Fatalf("%q without its end: %v", in, err)
		}
		ref, err := http.ReadResponse(bufio.NewReader(strings.NewReader(in[:end])), nil)
		if err != nil {
			t.Fatalf("%q: accepted, net/http says %v", in, err)
		}
		if ref.StatusCode != got.status {
			t.Fatalf("%q: status %d, net/http says %d", in, got.status, ref.StatusCode)
		}
		if want := max(ref.ContentLength, -1); got.status >= 200 && got.status != 204 && got.status != 304 && want != max(got.length, -1) {
			t.Fatalf("%q: length %d, net/http says %d", in, got.length, want)
		}
		for k, v := range h.All() {
			key := textproto.CanonicalMIMEHeaderKey(string(k))
			if key != "Content-Length" && key != "Transfer-Encoding" && key != "Connection" && !holds(ref.Header[key], v) {
				t.Fatalf("%q: field %q: %q, net/http has %q", in, k, v, ref.Header[key])
			}
		}
	})
}

func holds(list []string, v []byte) bool {
	for _, s := range list {
		if bytes.Equal([]byte(s), v) {
			return true
		}
	}
	return false
}
