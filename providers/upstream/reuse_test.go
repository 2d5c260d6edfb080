package upstream

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// overTLS has the same script speak TLS, if config is not nil.
func overTLS(config *tls.Config, script func(net.Conn)) func(net.Conn) {
	if config == nil {
		return script
	}
	return func(c net.Conn) {
		s := tls.Server(c, config)
		if s.Handshake() == nil {
			script(s)
		}
	}
}

// plainAndTLS runs f over plain TCP and over TLS.
func plainAndTLS(t *testing.T, f func(t *testing.T, server, client *tls.Config)) {
	t.Run("plain", func(t *testing.T) { f(t, nil, nil) })
	t.Run("tls", func(t *testing.T) {
		server, client := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
		f(t, server, client)
	})
}

// What an upstream sends unasked is never the answer to the next request,
// whenever it comes and however the transport came by it.
func TestUnsolicited(t *testing.T) {
	f := func(t *testing.T, server, client *tls.Config, answer, extra string, pause time.Duration) {
		t.Helper()
		sent := make(chan struct{}, 1)
		address := serve(t, overTLS(server, func(c net.Conn) {
			r := bufio.NewReader(c)
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = fmt.Fprintf(c, answer, req.Header.Get("X-Id"))
				time.Sleep(pause)
				_, err = io.WriteString(c, extra)
				sent <- struct{}{}
				if err != nil {
					return
				}
			}
		}))
		c := newClient(t, Options{Address: address, TLS: client})
		for i := range 20 {
			ex := newExchange(t, "POST", "{}")
			ex.Request.Header.Set("X-Id", fmt.Sprintf("%02d", i))
			body, err := fetch(c, ex)
			if err != nil || string(ex.Response.Header.Peek("X-Id")) != fmt.Sprintf("%02d", i) {
				t.Fatalf("%q, then %q after %v: call %d got %q, %v of %s", answer, extra, pause, i, body, err, ex.Response.Header.Peek("X-Id"))
			}
			// What comes when the next request is on its way cannot be told
			// from the answer to it.
			<-sent
		}
	}
	const whole = "HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: 5\r\n\r\nhello"
	const none = "HTTP/1.1 204 No\r\nX-Id: %s\r\n\r\n"
	const more = "HTTP/1.1 200 OK\r\nX-Id: bad\r\nContent-Length: 3\r\n\r\nbad"
	plainAndTLS(t, func(t *testing.T, server, client *tls.Config) {
		f(t, server, client, whole+more, "", 0)
		f(t, server, client, none+"body", "", 0)
		f(t, server, client, whole, more, 0)
		f(t, server, client, whole, more, 3*time.Millisecond)
		f(t, server, client, none, more, 3*time.Millisecond)
		f(t, server, client, whole, "\r\n", 0)
	})
}

// An upstream that closes idle connections costs no request, whatever its method.
func TestSilentClose(t *testing.T) {
	plainAndTLS(t, func(t *testing.T, server, client *tls.Config) {
		var conns atomic.Int32
		closed := make(chan struct{})
		address := serve(t, func(c net.Conn) {
			conns.Add(1)
			overTLS(server, func(c net.Conn) {
				_ = readRequest(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			})(c)
			_ = c.Close()
			closed <- struct{}{}
		})
		c := newClient(t, Options{Address: address, TLS: client})
		for i := range 100 {
			if body, err := fetch(c, newExchange(t, "POST", "{}")); body != "ok" || err != nil {
				t.Fatalf("call %d: got %q, %v", i, body, err)
			}
			<-closed
		}
		if n := conns.Load(); n != 100 {
			t.Errorf("%d connections for 100 calls", n)
		}
	})
}

// Connections are reused, over TLS too: session tickets are not taken for
// something unasked.
func TestReuse(t *testing.T) {
	plainAndTLS(t, func(t *testing.T, server, client *tls.Config) {
		var conns atomic.Int32
		address := serve(t, func(c net.Conn) {
			conns.Add(1)
			overTLS(server, always("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))(c)
		})
		c := newClient(t, Options{Address: address, TLS: client})
		for range 50 {
			if body, err := fetch(c, newExchange(t, "POST", "{}")); body != "hello" || err != nil {
				t.Fatalf("got %q, %v", body, err)
			}
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("%d connections for 50 calls in a row", n)
		}
	})
}

// An upstream that turns a request away and leaves its body unread takes that for the next
// request: nobody gets its answer to it.
func TestUnreadBody(t *testing.T) {
	const smuggled = "GET /secret HTTP/1.1\r\nHost: x\r\n\r\n"
	plainAndTLS(t, func(t *testing.T, server, client *tls.Config) {
		address := serve(t, overTLS(server, func(c net.Conn) {
			for r := bufio.NewReader(c); ; {
				req, err := http.ReadRequest(r)
				if err != nil {
					_, _ = io.WriteString(c, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
					return
				}
				path := req.URL.Path // the body stays where it is
				status := "404 Not Found"
				if req.Method == "GET" {
					status = "200 OK"
				}
				_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(path), path)
			}
		}))
		c := newClient(t, Options{Address: address, TLS: client})
		for _, body := range []string{"{}", smuggled, smuggled + "GET /half", strings.Repeat("x", 2<<20)} {
			for range 3 {
				if got, err := fetch(c, newExchange(t, "POST", body)); err != nil || got == "/secret" {
					t.Errorf("%.20q: got %q, %v", body, got, err)
				}
				ex := newExchange(t, "GET", "")
				if got, err := fetch(c, ex); err != nil || ex.Response.Header.StatusCode() != 200 || got == "/secret" {
					t.Errorf("behind %.20q: got %d %q, %v", body, ex.Response.Header.StatusCode(), got, err)
				}
			}
		}
		if n, idle := c.Counts(); n != 1 || idle != 1 {
			t.Errorf("%d open, %d idle", n, idle)
		}
	})
}

// What says that there is too much to do costs no connection, and what has no body neither.
func TestErrorsReuse(t *testing.T) {
	f := func(method, body, status string, want int32) {
		t.Helper()
		var conns atomic.Int32
		address := serve(t, func(c net.Conn) {
			conns.Add(1)
			always("HTTP/1.1 " + status + "\r\nContent-Length: 2\r\n\r\n{}")(c)
		})
		c := newClient(t, Options{Address: address})
		for range 5 {
			if _, err := fetch(c, newExchange(t, method, body)); err != nil {
				t.Fatal(err)
			}
		}
		if n := conns.Load(); n != want {
			t.Errorf("%s, %s: %d connections for 5 calls, want %d", method, status, n, want)
		}
	}
	for _, status := range []string{"200 OK", "422 No", "429 Slow", "500 Oh", "503 Later"} {
		f("POST", "{}", status, 1)
	}
	for _, status := range []string{"400 Bad", "401 Who", "404 Where", "413 Much", "501 What"} {
		f("POST", "{}", status, 5)
		f("GET", "", status, 1)
	}
}

// A request is sent again only if it may be: the connection was reused, the
// method is safe, and nothing came back before the upstream closed it.
func TestReplay(t *testing.T) {
	f := func(method, last, wantCode string, wantSeen int32) {
		t.Helper()
		var seen, conns atomic.Int32
		address := serve(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			first := conns.Add(1) == 1
			for i := 0; readRequest(r) == nil; i++ {
				seen.Add(1)
				if i == 1 && first {
					_, _ = io.WriteString(c, last)
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		c := newClient(t, Options{Address: address})
		if _, err := fetch(c, newExchange(t, method, "")); err != nil {
			t.Fatal(err)
		}
		_, err := fetch(c, newExchange(t, method, ""))
		if code(err) != wantCode || seen.Load() != wantSeen {
			t.Errorf("%s, %q: %v, upstream saw %d requests, want %d", method, last, err, seen.Load(), wantSeen)
		}
	}
	f("GET", "", "", 3)
	f("GET", "H", "upstream_cut", 2)
	f("GET", "HTTP/1.1 100 Continue\r\n\r\n", "upstream_cut", 2)
	f("POST", "", "upstream_cut", 2)
	f("PUT", "", "upstream_cut", 2)
}

// A new connection that dies is an error for every method.
func TestNoReplayOnNew(t *testing.T) {
	var seen atomic.Int32
	address := serve(t, func(c net.Conn) {
		_ = readRequest(bufio.NewReader(c))
		seen.Add(1)
	})
	c := newClient(t, Options{Address: address})
	if _, err := fetch(c, newExchange(t, "GET", "")); code(err) != "upstream_cut" || seen.Load() != 1 {
		t.Errorf("%v after %d requests", err, seen.Load())
	}
}

func TestIdleTimeoutAndClose(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{Address: serve(t, always("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")), IdleTimeout: 50 * time.Millisecond})
	call := func(open int) {
		t.Helper()
		if _, err := fetch(c, newExchange(t, "GET", "")); err != nil {
			t.Fatal(err)
		}
		if n, idle := c.Counts(); n != open || idle != open {
			t.Errorf("%d open, %d idle, want %d", n, idle, open)
		}
	}
	none := func() bool { open, idle := c.Counts(); return open == 0 && idle == 0 }
	call(1)
	settle(t, "the idle connection to be closed", none)
	call(1)
	settle(t, "the second idle connection to be closed", none)

	running := newExchange(t, "GET", "")
	if err := c.RoundTrip(running.Context(), &running.Request, &running.Response); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if _, err := running.Response.Body.Next(); err != io.EOF {
		t.Errorf("running call after Close: %v", err)
	}
	running.Response.CloseBody()
	if !none() {
		t.Error("a connection outlived Close")
	}
	call(0) // still possible, and leaves nothing
}

func TestMaxIdle(t *testing.T) {
	c := newClient(t, Options{Address: serve(t, always("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")), MaxIdle: 1})
	for range 3 {
		ex := newExchange(t, "GET", "")
		if err := c.RoundTrip(ex.Context(), &ex.Request, &ex.Response); err != nil {
			t.Fatal(err)
		}
		defer func() {
			for _, err := ex.Response.Body.Next(); err == nil; _, err = ex.Response.Body.Next() {
			}
			if open, idle := c.Counts(); idle != 1 || open > 3 {
				t.Errorf("%d open, %d idle", open, idle)
			}
		}()
	}
}

// A stream that is closed in front of its last chunk keeps the connection, if
// nothing but that is left of it and arrives.
func TestClosedBeforeEOF(t *testing.T) {
	f := func(answer string, idle int) {
		t.Helper()
		c := newClient(t, Options{Address: serve(t, always(answer))})
		ex := newExchange(t, "POST", "{}")
		if err := c.RoundTrip(ex.Context(), &ex.Request, &ex.Response); err != nil {
			t.Fatal(err)
		}
		if piece, err := ex.Response.Body.Next(); string(piece) != "hello" || err != nil {
			t.Errorf("got %q, %v", piece, err)
		}
		ex.Response.CloseBody()
		settle(t, fmt.Sprintf("%q: %d idle", answer, idle), func() bool {
			open, got := c.Counts()
			return got == idle && open == idle
		})
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	f(ok+"Content-Length: 5\r\n\r\nhello", 1)
	f(ok+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1)
	f(ok+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", 0)
	f(ok+"Content-Length: 6\r\n\r\nhello", 0)
	f(ok+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nmore", 0)
}
