package upstream

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A connection whose last chunk comes after the caller has stopped reading is used
// again; nothing but that chunk may come.
func TestTail(t *testing.T) {
	const most = 50
	f := func(t *testing.T, server, client *tls.Config, tail string, reused bool) {
		t.Helper()
		var dialed atomic.Int64
		closed, sent := make(chan struct{}), make(chan struct{})
		address := serve(t, overTLS(server, func(c net.Conn) {
			dialed.Add(1)
			r := bufio.NewReader(c)
			for readRequest(r) == nil {
				if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"); err != nil {
					return
				}
				<-closed
				_, err := io.WriteString(c, tail)
				sent <- struct{}{}
				if err != nil {
					return
				}
			}
		}))
		c := newClient(t, Options{Address: address, TLS: client})
		for range most {
			ex := newExchange(t, "POST", "{}")
			if err := c.RoundTrip(ex.Context(), &ex.Request, &ex.Response); err != nil {
				t.Fatal(err)
			}
			if piece, err := ex.Response.Body.Next(); string(piece) != "hello" || err != nil {
				t.Fatalf("got %q, %v", piece, err)
			}
			ex.Response.CloseBody()
			closed <- struct{}{}
			<-sent
		}
		// A busy machine may be late with some tails.
		if n := dialed.Load(); reused && n > most/2 || !reused && n != most {
			t.Errorf("%q: %d connections for %d calls", tail, n, most)
		}
		if !reused {
			settle(t, "no connection", func() bool { open, _ := c.Counts(); return open == 0 })
		}
	}
	plainAndTLS(t, func(t *testing.T, server, client *tls.Config) {
		f(t, server, client, "0\r\n\r\n", true)
		f(t, server, client, "0\r\nX: y\r\n\r\n", true)
		f(t, server, client, "5\r\nworld\r\n0\r\n\r\n", false)
		f(t, server, client, "0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", false)
		f(t, server, client, "bad", false)
	})
}

// A connection whose last chunk never comes is closed.
func TestNoTail(t *testing.T) {
	gone := make(chan struct{})
	address := serve(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if readRequest(r) == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		}
		_, _ = r.ReadByte() // until the other side closes
		close(gone)
	})
	c := newClient(t, Options{Address: address})
	ex := newExchange(t, "POST", "{}")
	if err := c.RoundTrip(ex.Context(), &ex.Request, &ex.Response); err != nil {
		t.Fatal(err)
	}
	if piece, err := ex.Response.Body.Next(); string(piece) != "hello" || err != nil {
		t.Fatalf("got %q, %v", piece, err)
	}
	ex.Response.CloseBody()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the upstream was not told that nobody reads on")
	}
}
