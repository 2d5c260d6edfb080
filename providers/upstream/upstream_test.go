package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// serve accepts connections until the test ends, and runs handle for each. When
// the test ends, it closes what is still open and waits for every handle.
func serve(t testing.TB, handle func(c net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			running.Go(func() {
				handle(c)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().String()
}

// always answers each request with the same bytes.
func always(answer string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		for readRequest(r) == nil {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

func readRequest(r *bufio.Reader) error {
	req, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
}

func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	if o.Connect == 0 {
		o.Connect = time.Minute // the machine may be busy
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// newExchange returns an exchange with a request that has this body.
func newExchange(t testing.TB, method, body string) *pipeline.Exchange {
	t.Helper()
	ex := pipeline.Acquire(context.Background())
	t.Cleanup(ex.Release)
	prepare(ex, method, body)
	return ex
}

func prepare(ex *pipeline.Exchange, method, body string) {
	ex.Request.Header.SetMethod(method)
	ex.Request.Header.SetRequestURI("/v1/chat/completions")
	ex.Request.Header.SetHost("upstream.test")
	ex.Request.Header.SetContentType("application/json")
	ex.Request.Body = []byte(body)
}

// fetch makes the call and reads the whole body. The body is what had come
// before the error, if there is one.
func fetch(c *Client, ex *pipeline.Exchange) (string, error) {
	if err := c.RoundTrip(ex.Context(), &ex.Request, &ex.Response); err != nil {
		return "", err
	}
	defer ex.Response.CloseBody()
	var b strings.Builder
	for {
		piece, err := ex.Response.Body.Next()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
		b.Write(piece)
	}
}

// code is the code of a *pipeline.Error, or the error's text.
func code(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		return e.Code
	}
	return err.Error()
}

func TestAnswers(t *testing.T) {
	f := func(answer, want, wantCode string, reused bool) {
		t.Helper()
		c := newClient(t, Options{Address: serve(t, always(answer))})
		for range 2 {
			got, err := fetch(c, newExchange(t, "POST", "{}"))
			if got != want || code(err) != wantCode {
				t.Errorf("%q: got %q, %v; want %q, %q", answer, got, err, want, wantCode)
			}
		}
		open, idle := c.Counts()
		if open != idle || (idle == 1) != reused {
			t.Errorf("%q: %d connections open, %d idle", answer, open, idle)
		}
	}
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", "", true)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello", "", true)
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", "hello", "", false)
	f("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "", "", true)
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world", "hello", "", false)
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "", "upstream_protocol", false)
}
