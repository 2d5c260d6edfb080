package upstream

import (
	"errors"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

func TestRequest(t *testing.T) {
	f := func(change func(r *pipeline.Request), want ...string) {
		t.Helper()
		var r pipeline.Request
		r.Header.SetMethod("POST")
		r.Header.SetRequestURI("/v1/x?y=%20")
		r.Header.SetHost("upstream.test")
		change(&r)
		got, err := appendRequest(nil, &r, nil, "127.0.0.1:80")
		if err != nil || string(got) != strings.Join(want, "\r\n")+"\r\n\r\n" {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	const line, host = "POST /v1/x?y=%20 HTTP/1.1", "Host: upstream.test"
	f(func(r *pipeline.Request) { r.Body = []byte("hello") }, line, host, "Content-Length: 5")
	f(func(r *pipeline.Request) {}, line, host, "Content-Length: 0")
	f(func(r *pipeline.Request) { r.Header.SetMethod("GET") }, "GET /v1/x?y=%20 HTTP/1.1", host)
	f(func(r *pipeline.Request) { r.Header.SetMethod("DELETE") }, "DELETE /v1/x?y=%20 HTTP/1.1", host)
	f(func(r *pipeline.Request) { r.Header.SetHost("") }, line, "Host: 127.0.0.1:80", "Content-Length: 0")
	f(func(r *pipeline.Request) { r.Upload, r.UploadSize = endless{}, 7 }, line, host, "Content-Length: 7")
	f(func(r *pipeline.Request) { r.Upload, r.UploadSize = endless{}, -1 }, line, host, "Transfer-Encoding: chunked")
	// Fields in their order, each as often as it is there.
	f(func(r *pipeline.Request) {
		r.Header.SetContentType("application/json")
		r.Header.Add("X-B", "1")
		r.Header.Add("X-A", "2")
		r.Header.Add("X-B", "3")
	}, line, host, "Content-Type: application/json", "X-B: 1", "X-A: 2", "X-B: 3", "Content-Length: 0")
	// What concerns the connection is not passed on, and framing not believed.
	f(func(r *pipeline.Request) {
		for _, key := range []string{
			"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Upgrade",
			"Transfer-Encoding", "Expect", "HTTP2-Settings",
		} {
			r.Header.Set(key, "x")
		}
		r.Header.Set("Trailer", "X-Trailer")
		r.Header.SetContentLength(99)
		r.Header.SetConnectionClose()
		r.Body = []byte("hello")
	}, line, host, "Content-Length: 5")
}

func TestUnsendable(t *testing.T) {
	f := func(change func(r *pipeline.Request)) {
		t.Helper()
		both(t, func(t *testing.T, http2 bool) {
			c := newClient(t, Options{Address: "127.0.0.1:1", HTTP2: http2})
			ex := newExchange(t, "POST", "{}")
			change(&ex.Request)
			_, err := fetch(c, ex)
			if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 400 || e.Fault != pipeline.CallerFault {
				t.Errorf("got %v", err)
			}
		})
	}
	f(func(r *pipeline.Request) { r.Header.SetMethod("GET / HTTP/1.1\r\nX: y") })
	f(func(r *pipeline.Request) { r.Header.SetMethod("CONNECT") })
	f(func(r *pipeline.Request) { r.Header.SetRequestURI("/a b") })
	f(func(r *pipeline.Request) { r.Header.SetRequestURI("/a\r\nX: y") })
	f(func(r *pipeline.Request) { r.Header.SetRequestURI("/\xe9") })
	f(func(r *pipeline.Request) { r.Header.SetRequestURI("//other.test/") })
	f(func(r *pipeline.Request) { r.Header.SetRequestURI("http://other.test/") })
	f(func(r *pipeline.Request) { r.Header.SetHost("a\r\nX: y") })
	f(func(r *pipeline.Request) { r.Header.SetHost("a b") })
	f(func(r *pipeline.Request) { r.Header.SetCanonical([]byte("X Y"), []byte("z")) })
	f(func(r *pipeline.Request) { r.Header.SetCanonical([]byte("X\r\nY"), []byte("z")) })
	f(func(r *pipeline.Request) { r.Header.Set("X", "a\x00b") })
}

// A line break in a value never makes a second field.
func TestLineBreakInValue(t *testing.T) {
	var r pipeline.Request
	r.Header.Set("X", "a\r\nY: b")
	got, err := appendRequest(nil, &r, nil, "127.0.0.1:80")
	if err == nil && strings.Contains(string(got), "\nY:") {
		t.Errorf("got %q", got)
	}
}

func TestOptions(t *testing.T) {
	f := func(o Options) {
		t.Helper()
		if _, err := New(o); err == nil {
			t.Errorf("%+v accepted", o)
		}
	}
	f(Options{})
	f(Options{Address: "host"})
	f(Options{Address: ":80"})
	f(Options{Address: "host:"})
	f(Options{Address: "host:80", Idle: -1})
	f(Options{Address: "host:80", MaxConns: -1})
	f(Options{Address: "host:80", MaxIdle: -1})
	f(Options{Address: "host:80", MaxHeader: 100})
}

// Fields written out by the caller go out as they are, unless they are not fields, or
// the transport's own.
func TestRequestLines(t *testing.T) {
	f := func(lines string, ok bool) {
		t.Helper()
		var r pipeline.Request
		r.Header.SetMethod("POST")
		r.Header.SetRequestURI("/x")
		r.Header.SetHost("h")
		r.Header.Set("A", "b")
		got, err := appendRequest(nil, &r, []byte(lines), "127.0.0.1:80")
		want := "POST /x HTTP/1.1\r\nHost: h\r\n" + lines + "Content-Length: 0\r\n\r\n"
		if (err == nil) != ok || ok && string(got) != want {
			t.Errorf("%q: %q, %v", lines, got, err)
		}
	}
	f("X: y\r\n", true)
	f("X: y\r\nx-Z:\r\n", true)
	f("X: y\r\n\r\n", false)
	f("X: y", false)
	f("X: y\n", false)
	f("X: y\r\nZ", false)
	f("X: y\x00\r\n", false)
	f("X: y\rz\r\n", false)
	f(" X: y\r\n", false)
	f("X : y\r\n", false)
	f("\n", false)
	f("Content-Length: 5\r\n", false)
	f("Host: other\r\n", false)
	f("Connection: close\r\n", false)
	f("Transfer-Encoding: chunked\r\n", false)
}
