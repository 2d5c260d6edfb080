package upstream

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/headrace/headrace/pipeline"
)

// With HTTP/2 itself, the same calls give the same answers.
func TestHTTP2(t *testing.T) {
	address, client := serveHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Protocol", r.Proto)
		w.Header().Set("X-Host", r.Host)
		w.Header().Set("X-Uri", r.RequestURI)
		w.Header()["X-Agent"] = r.Header["User-Agent"]
		_, _ = fmt.Fprintf(w, "%s %d %s", r.Method, r.ContentLength, b)
	})
	c := newClient(t, Options{Address: address, TLS: client, HTTP2: true})
	f := func(method, body, want string) {
		t.Helper()
		ex := newExchange(t, method, body)
		ex.Request.Header.SetRequestURI("/v1/a%2Fb?q=1&r")
		got, err := fetch(c, ex)
		if got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		for key, want := range map[string]string{"X-Protocol": "HTTP/2.0", "X-Host": "upstream.test", "X-Uri": "/v1/a%2Fb?q=1&r", "X-Agent": ""} {
			if got := string(ex.Response.Header.Peek(key)); got != want {
				t.Errorf("%s: got %q, want %q", key, got, want)
			}
		}
	}
	f("GET", "", "GET 0 ")
	f("POST", "hello", "POST 5 hello")
	f("POST", "", "POST 0 ")
	if body, err := fetch(c, upload(t, strings.NewReader("hello"), 5)); body != "POST 5 hello" || err != nil {
		t.Errorf("upload: got %q, %v", body, err)
	}
	if body, err := fetch(c, upload(t, strings.NewReader("hello"), -1)); body != "POST -1 hello" || err != nil {
		t.Errorf("upload of unknown length: got %q, %v", body, err)
	}
	if open, _ := c.Counts(); open != 1 {
		t.Errorf("%d connections", open)
	}
}

// Failures over HTTP/2 have the codes that they have over HTTP/1.1.
func TestHTTP2Faults(t *testing.T) {
	t.Parallel()
	f := func(name, wantCode, wantBody string, change func(ex *pipeline.Exchange), handle http.HandlerFunc) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, client := serveHTTP2(t, handle)
			c := newClient(t, Options{Address: address, TLS: client, HTTP2: true, FirstByte: 5 * time.Second, MaxHeader: 4 << 10})
			ex := newExchange(t, "POST", "{}")
			change(ex)
			began := time.Now()
			body, err := fetch(c, ex)
			if body != wantBody || code(err) != wantCode || time.Since(began) > 4*time.Second {
				t.Errorf("got %q, %v after %v", body, err, time.Since(began))
			}
		})
	}
	same := func(*pipeline.Exchange) {}
	flush := func(w http.ResponseWriter, s string) {
		_, _ = io.WriteString(w, s)
		w.(http.Flusher).Flush()
	}
	f("aborted before the header", "upstream_cut", "", same, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	f("aborted in the body", "upstream_cut", "a", same, func(w http.ResponseWriter, _ *http.Request) {
		flush(w, "a")
		time.Sleep(50 * time.Millisecond) // let it arrive before the stream is torn down
		panic(http.ErrAbortHandler)
	})
	f("short of its length", "upstream_cut", "a", same, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		flush(w, "a")
	})
	f("silence", "upstream_timeout", "", func(ex *pipeline.Exchange) { ex.Request.Wait.FirstByte = 100 * time.Millisecond },
		func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f("stall", "upstream_timeout", "a", func(ex *pipeline.Exchange) { ex.Request.Wait.Idle = 100 * time.Millisecond },
		func(w http.ResponseWriter, r *http.Request) {
			flush(w, "a")
			<-r.Context().Done()
		})
	f("large header", "upstream_too_large", "", same, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 7 {
			w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1000))
		}
	})
	f("early answer", "", "sorry", func(ex *pipeline.Exchange) {
		ex.Request.Body, ex.Request.Upload, ex.Request.UploadSize = nil, endless{}, -1
	}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(413)
		_, _ = io.WriteString(w, "sorry")
	})
}

// A call that is cancelled over HTTP/2 ends, upstream too, and its connection
// serves others.
func TestHTTP2Cancel(t *testing.T) {
	ended := make(chan struct{}, 1)
	address, client := serveHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			<-r.Context().Done()
			ended <- struct{}{}
		}
		_, _ = fmt.Fprint(w, "ok")
	})
	c := newClient(t, Options{Address: address, TLS: client, HTTP2: true})
	for range 3 {
		if body, err := fetch(c, newExchange(t, "GET", "")); body != "ok" || err != nil {
			t.Errorf("got %q, %v", body, err)
		}
		ex := newExchange(t, "POST", "{}")
		time.AfterFunc(20*time.Millisecond, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
		if _, err := fetch(c, ex); !pipeline.Gone(ex.Context(), err) {
			t.Errorf("got %v", err)
		}
		<-ended
	}
	if open, _ := c.Counts(); open != 1 {
		t.Errorf("%d connections", open)
	}
}

// A request that the upstream has not looked at, by its own word, is sent again; any
// other is not.
func TestHTTP2Unprocessed(t *testing.T) {
	f := func(name string, refuse func(*http2.Framer, uint32) error, asked int, want string) {
		t.Helper()
		requests := 0
		address, client := serveFrames(t, func(w *http2.Framer, stream uint32, body string) error {
			if requests++; requests == 1 {
				return refuse(w, stream)
			}
			var b bytes.Buffer
			if err := hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: "200"}); err != nil {
				return err
			}
			if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Bytes(), EndHeaders: true}); err != nil {
				return err
			}
			return w.WriteData(stream, true, []byte("got "+body))
		})
		c := newClient(t, Options{Address: address, TLS: client, HTTP2: true})
		body, err := fetch(c, newExchange(t, "POST", "hello"))
		if body != want || (code(err) != "") != (want == "") || requests != asked {
			t.Errorf("%s: got %q, %v after %d requests; want %q after %d", name, body, err, requests, want, asked)
		}
	}
	reset := func(code http2.ErrCode) func(*http2.Framer, uint32) error {
		return func(w *http2.Framer, stream uint32) error { return w.WriteRSTStream(stream, code) }
	}
	f("about to close", func(w *http2.Framer, stream uint32) error { return w.WriteGoAway(stream-1, http2.ErrCodeNo, nil) }, 2, "got hello")
	f("refused", reset(http2.ErrCodeRefusedStream), 2, "got hello")
	f("protocol error", reset(http2.ErrCodeProtocol), 1, "")
	f("cancelled", reset(http2.ErrCodeCancel), 1, "")
}

// serveFrames answers each request of a connection by frames, one request after the other.
func serveFrames(t *testing.T, answer func(w *http2.Framer, stream uint32, body string) error) (address string, client *tls.Config) {
	t.Helper()
	server, client := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	server.NextProtos = []string{"h2"}
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = frames(c, answer) // ends when the client closes it
			_ = c.Close()
		}
	})
	return l.Addr().String(), client
}

func frames(c net.Conn, answer func(w *http2.Framer, stream uint32, body string) error) error {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	body := ""
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.DataFrame:
			body += string(frame.Data())
			if frame.StreamEnded() {
				err = answer(f, frame.StreamID, body)
				body = ""
			}
		case *http2.GoAwayFrame:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// An upstream that does not speak HTTP/2 is called as if nobody had asked for it: what
// net/http would let pass is refused, and what comes behind an answer is nobody's.
func TestHTTP1InPlaceOfHTTP2(t *testing.T) {
	server, client := certificate(t, "127.0.0.1", time.Now().Add(time.Hour))
	f := func(answer, wantBody, wantCode string) {
		t.Helper()
		c := newClient(t, Options{Address: serve(t, overTLS(server, always(answer))), TLS: client, HTTP2: true})
		for range 20 {
			if body, err := fetch(c, newExchange(t, "POST", "{}")); body != wantBody || code(err) != wantCode {
				t.Fatalf("%q: got %q, %v", answer, body, err)
			}
		}
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	f(ok, "ok", "")
	f("HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok", "", "upstream_protocol")
	f(ok+"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign", "ok", "")

	// One that has spoken it before fails a call, and no more.
	c := newClient(t, Options{Address: serve(t, overTLS(server, always(ok))), TLS: client, HTTP2: true})
	c.wide.spoken.Store(overHTTP2)
	for _, want := range []string{"upstream_unreachable", "", ""} {
		if _, err := fetch(c, newExchange(t, "POST", "{}")); code(err) != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}

	// One that did not speak it, and does now, is asked after a while.
	address, trusting := serveHTTP2(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	c = newClient(t, Options{Address: address, TLS: trusting, HTTP2: true})
	c.wide.spoken.Store(overHTTP1)
	c.wide.asked.Store(time.Now().UnixNano())
	for _, want := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/2.0"} {
		if body, err := fetch(c, newExchange(t, "POST", "{}")); body != want || err != nil {
			t.Errorf("got %q, %v, want %q", body, err, want)
		}
		c.wide.asked.Add(-int64(askAgain))
	}
	// One that cannot be asked is called as before.
	c = newClient(t, Options{Address: serve(t, func(net.Conn) {}), TLS: trusting, HTTP2: true})
	c.wide.spoken.Store(overHTTP1)
	if speaks, err := c.wide.speaks(t.Context(), &newExchange(t, "POST", "{}").Request); speaks || err != nil {
		t.Errorf("speaks: %v, %v", speaks, err)
	}

	// A client that leaves while the upstream makes up its mind is let go.
	c = newClient(t, Options{Address: serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), TLS: client, HTTP2: true})
	ex := newExchange(t, "POST", "{}")
	time.AfterFunc(20*time.Millisecond, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
	if _, err := fetch(c, ex); !pipeline.Gone(ex.Context(), err) {
		t.Errorf("got %v", err)
	}
	settle(t, "connections to be closed", func() bool { open, _ := c.Counts(); return open == 0 })
}
