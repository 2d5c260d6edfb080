package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/headrace/headrace/pipeline"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The benchmark's other client leaves these behind for a while.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*TCPDialer).tcpAddrsClean"))
}

// A call returns soon after it is cancelled, in whatever phase it is, and says
// why. The connection is gone then.
func TestCancel(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		f := func(name string, o Options, script func(c net.Conn), change func(r *pipeline.Request), pieces int) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				o.Address, o.HTTP2 = serve(t, script), http2
				c := newClient(t, o)
				for _, scoped := range []bool{true, false} {
					ex := newExchange(t, "POST", "{}")
					if change != nil {
						change(&ex.Request)
					}
					ctx, cancel := ex.Context(), func() { ex.Scope().Cancel(pipeline.ErrLost) }
					if !scoped {
						derived, end := context.WithCancelCause(context.Background())
						ctx, cancel = derived, func() { end(pipeline.ErrLost) }
					}
					var at atomic.Int64
					soon := func() {
						time.AfterFunc(50*time.Millisecond, func() {
							at.Store(time.Now().UnixNano())
							cancel()
						})
					}
					if pieces == 0 {
						soon()
					}
					err := c.RoundTrip(ctx, &ex.Request, &ex.Response)
					if (err == nil) != (pieces > 0) {
						t.Fatalf("round trip: %v", err)
					}
					for i := range pieces {
						if i == pieces-1 {
							soon()
						}
						if _, err = ex.Response.Body.Next(); err != nil {
							break
						}
					}
					took := time.Since(time.Unix(0, at.Load()))
					ex.Response.CloseBody()
					if !errors.Is(err, pipeline.ErrLost) || !errors.Is(err, context.Canceled) || took > time.Second {
						t.Errorf("scope %v: %v, %v after the cancel", scoped, err, took)
					}
					settle(t, "connections to be closed", func() bool { open, _ := c.Counts(); return open == 0 })
				}
			})
		}
		hang := func(s string) func(c net.Conn) {
			return func(c net.Conn) {
				_ = readRequest(bufio.NewReader(c))
				_, _ = io.WriteString(c, s)
				_, _ = io.Copy(io.Discard, c)
			}
		}
		// net/http finishes a dial that nobody waits for any more.
		f("handshake", Options{TLS: new(tls.Config), Connect: 500 * time.Millisecond}, hang(""), nil, 0)
		f("header", Options{}, hang("HTTP/1.1 200"), nil, 0)
		f("body", Options{}, hang("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"), nil, 2)
		f("large body", Options{}, deaf, func(r *pipeline.Request) { r.Body = make([]byte, 32<<20) }, 0)
		f("upload", Options{}, deaf, func(r *pipeline.Request) { r.Body, r.Upload, r.UploadSize = nil, endless{}, -1 }, 0)
		f("waiting for the client", Options{}, hang(""), func(r *pipeline.Request) {
			p, w := io.Pipe()
			t.Cleanup(func() { _ = w.Close() })
			r.Body, r.Upload, r.UploadSize = nil, p, 10
		}, 0)
	})
}

// deaf reads a byte and no more until the test closes the connection.
func deaf(c net.Conn) {
	_, err := c.Read(make([]byte, 1))
	for err == nil {
		time.Sleep(5 * time.Millisecond)
		err = c.SetDeadline(time.Time{})
	}
}

// endless is an upload without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestCancelledBefore(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		c := newClient(t, Options{Address: serve(t, always("HTTP/1.1 200 OK\r\n\r\n")), HTTP2: http2})
		ex := newExchange(t, "POST", "{}")
		ex.Scope().Cancel(pipeline.ErrClientGone)
		if _, err := fetch(c, ex); !errors.Is(err, pipeline.ErrClientGone) {
			t.Errorf("got %v", err)
		}
		if open, _ := c.Counts(); open != 0 {
			t.Errorf("%d connections", open)
		}
	})
}

func TestContextDeadline(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, http2 bool) {
		c := newClient(t, Options{Address: serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), HTTP2: http2})
		ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer stop()
		ex := newExchange(t, "POST", "{}")
		err := c.RoundTrip(ctx, &ex.Request, &ex.Response)
		if !errors.Is(err, context.DeadlineExceeded) || pipeline.FaultOfError(err) != pipeline.TimeoutFault {
			t.Errorf("got %v", err)
		}
	})
}

// Calls are cancelled at random while others complete. Every body that is
// complete is its own, and no connection and no goroutine is left behind.
func TestRandomCancels(t *testing.T) {
	plainAndTLS(t, func(t *testing.T, server, client *tls.Config) {
		address := serve(t, overTLS(server, echoID))
		c := newClient(t, Options{Address: address, TLS: client})
		live := pipeline.Live()
		calls, longest := 3200, 6*time.Millisecond
		if server != nil {
			calls, longest = 800, 60*time.Millisecond // handshakes are dear
		}
		began := time.Now()
		if _, err := cancelled(c, "first", time.Minute); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, 20*time.Since(began)) // some are whole on a slow machine too
		const workers = 16
		var whole, lost, foreign atomic.Int32
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				for i := range calls / workers {
					id := fmt.Sprintf("%d-%d", w, i)
					body, err := cancelled(c, id, rand.N(longest))
					switch {
					case err == nil && body == strings.Repeat(id+";", 1+i%4):
						whole.Add(1)
					case err == nil:
						foreign.Add(1)
						t.Errorf("call %s got %q", id, body)
					case errors.Is(err, pipeline.ErrLost):
						lost.Add(1)
						if rest := strings.ReplaceAll(body, id+";", ""); !strings.HasPrefix(id+";", rest) {
							foreign.Add(1)
							t.Errorf("call %s got %q before it was cancelled", id, body)
						}
					default:
						t.Errorf("call %s: %v", id, err)
					}
				}
			})
		}
		all.Wait()
		if open, idle := c.Counts(); open != idle {
			t.Errorf("%d connections open, %d idle", open, idle)
		}
		if n := pipeline.Live(); n != live {
			t.Errorf("%d exchanges left", n-live)
		}
		if whole.Load() == 0 || lost.Load() == 0 || foreign.Load() > 0 {
			t.Errorf("%d whole, %d cancelled, %d foreign", whole.Load(), lost.Load(), foreign.Load())
		}
	})
}

// cancelled makes a call that is cancelled after d.
func cancelled(c *Client, id string, d time.Duration) (string, error) {
	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	prepare(ex, "POST", "{}")
	ex.Request.Header.Set("X-Id", id)
	stopped := make(chan struct{})
	timer := time.AfterFunc(d, func() {
		ex.Scope().Cancel(pipeline.ErrLost)
		close(stopped)
	})
	body, err := fetch(c, ex)
	if !timer.Stop() {
		<-stopped // the exchange must not be recycled before
	}
	return body, err
}

// echoID answers with the request's id, repeated, in one of several framings.
func echoID(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		id := req.Header.Get("X-Id")
		_, last, _ := strings.Cut(id, "-")
		var i int
		_, _ = fmt.Sscan(last, &i)
		n := 1 + i%4
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		if i%2 == 0 {
			_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", n*(len(id)+1), strings.Repeat(id+";", n))
		} else {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range n {
				_, _ = fmt.Fprintf(c, "%x\r\n%s;\r\n", len(id)+1, id)
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			}
			_, err = io.WriteString(c, "0\r\n\r\n")
		}
		if err != nil {
			return
		}
	}
}
