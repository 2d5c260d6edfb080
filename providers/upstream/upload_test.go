package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// upload makes the request one with a streamed body.
func upload(t testing.TB, r io.Reader, size int64) *pipeline.Exchange {
	ex := newExchange(t, "POST", "")
	ex.Request.Body, ex.Request.Upload, ex.Request.UploadSize = nil, r, size
	return ex
}

// opaque hides what else a reader can do.
type opaque struct{ io.Reader }

func TestUpload(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		type seen struct {
			length int64
			coding []string
			body   []byte
		}
		requests := make(chan seen, 1)
		c := newClient(t, Options{HTTP2: http2, Address: serve(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				b, err := io.ReadAll(req.Body)
				if err != nil {
					return
				}
				requests <- seen{req.ContentLength, req.TransferEncoding, b}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})})
		f := func(ex *pipeline.Exchange, want []byte, length int64) {
			t.Helper()
			if body, err := fetch(c, ex); body != "ok" || err != nil {
				t.Fatalf("%d bytes: got %q, %v", len(want), body, err)
			}
			got := <-requests
			if !bytes.Equal(got.body, want) || got.length != length || (length < 0) != (len(got.coding) == 1) {
				t.Errorf("upstream saw %d bytes, length %d, %q; want %d bytes, length %d", len(got.body), got.length, got.coding, len(want), length)
			}
		}
		for _, n := range []int{0, 1, 15, 16, 4095, uploadPiece - 1, uploadPiece, uploadPiece + 1, 1 << 20} {
			b := bytes.Repeat([]byte("0123456789abcdefg"), n/17+1)[:n]
			f(upload(t, opaque{bytes.NewReader(b)}, int64(n)), b, int64(n))
			f(upload(t, dribble{bytes.NewReader(b), 50000}, -1), b, -1)
			ex := newExchange(t, "POST", "")
			ex.Request.Body = b
			f(ex, b, int64(n))
		}
		// What is longer than declared ends where it should.
		f(upload(t, strings.NewReader("hello, world"), 5), []byte("hello"), 5)
		if http2 {
			return
		}
		if open, idle := c.Counts(); open != 1 || idle != 1 {
			t.Errorf("%d connections, %d idle", open, idle)
		}
	})
}

// Whatever goes wrong with the upload itself is told as it is.
func TestUploadFails(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		c := newClient(t, Options{HTTP2: http2, Address: serve(t, always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))})
		errTest := errors.New("the client's fault")
		f := func(r io.Reader, size int64, ok func(error) bool) {
			t.Helper()
			if body, err := fetch(c, upload(t, r, size)); !ok(err) {
				t.Errorf("got %q, %v", body, err)
			}
			settle(t, "the connection to be closed", func() bool { open, _ := c.Counts(); return open == 0 })
		}
		same := func(err error) bool { return err == errTest }
		f(io.MultiReader(strings.NewReader("hello"), failing{errTest}), 10, same)
		f(io.MultiReader(strings.NewReader("hello"), failing{errTest}), -1, same)
		short := func(err error) bool {
			e, ok := errors.AsType[*pipeline.Error](err)
			return ok && e.Status == 400 && e.Fault == pipeline.CallerFault && errors.Is(err, io.ErrUnexpectedEOF)
		}
		f(strings.NewReader("hello"), 10, short)
		if !http2 { // a panic in net/http's goroutine is a panic
			f(failing{}, 10, func(err error) bool { return err != nil && strings.Contains(err.Error(), "panic") })
		}
	})
}

// failing fails to read, and panics without an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		panic("no error")
	}
	return 0, f.err
}

// An answer that comes before the upload is read is handed on, though the
// upstream reads nothing of it, or closes the connection on it.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	f := func(t *testing.T, http2 bool, status string, closes bool, request func(t *testing.T) *pipeline.Exchange) {
		t.Helper()
		done := make(chan struct{})
		address := serve(t, func(c net.Conn) {
			r := bufio.NewReaderSize(c, 1024)
			for line, err := r.ReadString('\n'); err == nil && line != "\r\n"; line, err = r.ReadString('\n') {
			}
			_, _ = io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 5\r\n\r\nsorry")
			if !closes {
				<-done
			}
		})
		c := newClient(t, Options{Address: address, HTTP2: http2, Write: 20 * time.Second})
		rounds := 10
		if http2 {
			rounds = 1
		}
		for range rounds {
			began := time.Now()
			ex := request(t)
			body, err := fetch(c, ex)
			// net/http gives up an answer when it cannot write any more.
			if lost := http2 && closes && code(err) == "upstream_cut"; !lost && (body != "sorry" || err != nil) {
				t.Errorf("%s: got %q, %v", status, body, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: took %v", status, took)
			}
		}
		close(done)
		settle(t, "connections to be closed", func() bool { open, _ := c.Counts(); return open == 0 })
	}
	both(t, func(t *testing.T, http2 bool) {
		for _, status := range []string{"413 Too Large", "401 Unauthorized", "200 OK"} {
			for _, closes := range []bool{false, true} {
				f(t, http2, status, closes, func(t *testing.T) *pipeline.Exchange {
					return upload(t, io.LimitReader(endless{}, size), size)
				})
				f(t, http2, status, closes, func(t *testing.T) *pipeline.Exchange { return upload(t, endless{}, -1) })
				f(t, http2, status, closes, func(t *testing.T) *pipeline.Exchange {
					ex := newExchange(t, "POST", "")
					ex.Request.Body = zeros
					return ex
				})
			}
		}
	})
}

var zeros = make([]byte, 32<<20)

// A client that stalls in the middle of its upload holds nothing up once the
// upstream has answered: the upload is closed to end its Read.
func TestEarlyAnswerToStalledUpload(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		c := newClient(t, Options{HTTP2: http2, Address: serve(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1024))
			_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nsorry")
			_, _ = io.Copy(io.Discard, c)
		})})
		p, w := io.Pipe()
		defer func() { _ = w.Close() }()
		if body, err := fetch(c, upload(t, p, 10)); body != "sorry" || err != nil {
			t.Errorf("got %q, %v", body, err)
		}
	})
}

// The wait for the answer to an upload begins when all of it is sent.
func TestUploadFirstByte(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, http2 bool) {
		var answered atomic.Bool // the first request alone is
		c := newClient(t, Options{HTTP2: http2, FirstByte: 250 * time.Millisecond, Address: serve(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			for readRequest(r) == nil {
				if !answered.Swap(true) {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}
		})})
		if body, err := fetch(c, upload(t, &slow{n: 5}, 5)); body != "ok" || err != nil {
			t.Errorf("slow upload: got %q, %v", body, err)
		}
		if body, err := fetch(c, upload(t, &slow{n: 1}, 1)); code(err) != "upstream_timeout" {
			t.Errorf("no answer: got %q, %v", body, err)
		}
	})
}

// slow gives n bytes, 100 ms apart.
type slow struct{ n int }

func (s *slow) Read(p []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	time.Sleep(100 * time.Millisecond)
	s.n--
	return copy(p, "x"), nil
}

// An upstream that takes nothing of the request is given up after the write limit.
func TestWriteStall(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, http2 bool) {
		c := newClient(t, Options{HTTP2: http2, Write: 200 * time.Millisecond, Address: serve(t, deaf)})
		ex := newExchange(t, "POST", "")
		ex.Request.Body = zeros
		for _, ex := range []*pipeline.Exchange{ex, upload(t, endless{}, -1)} {
			began := time.Now()
			if _, err := fetch(c, ex); code(err) != "upstream_timeout" || time.Since(began) > 10*time.Second {
				t.Errorf("got %v after %v", err, time.Since(began))
			}
		}
	})
}
