package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// both runs f for each of the two transports.
func both(t *testing.T, f func(t *testing.T, http2 bool)) {
	t.Run("own", func(t *testing.T) { f(t, false) })
	t.Run("nethttp", func(t *testing.T) { f(t, true) })
}

// reset closes c so that the other side sees a reset.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func TestFaults(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	f := func(name, wantCode, wantBody string, fault pipeline.Fault, script func(c net.Conn)) {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, http2 bool) {
				t.Parallel()
				address := serve(t, func(c net.Conn) {
					if readRequest(bufio.NewReader(c)) == nil {
						script(c)
					}
				})
				c := newClient(t, Options{
					Address: address, HTTP2: http2,
					FirstByte: 300 * time.Millisecond, Idle: 300 * time.Millisecond,
				})
				began := time.Now()
				body, err := fetch(c, newExchange(t, "POST", "{}"))
				if code(err) != wantCode || body != wantBody {
					t.Errorf("got %q, %v, want %q, %s", body, err, wantBody, wantCode)
				}
				if got := pipeline.FaultOfError(err); got != fault {
					t.Errorf("fault %v, want %v", got, fault)
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("took %v", took)
				}
				if err != nil && strings.Contains(err.Error(), "127.0.0.1") {
					t.Errorf("address in message: %v", err)
				}
				settle(t, "connections", func() bool { open, idle := c.Counts(); return open == idle })
			})
		})
	}
	say := func(s string) func(net.Conn) { return func(c net.Conn) { _, _ = io.WriteString(c, s) } }
	hang := func(s string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, s)
			_, _ = io.Copy(io.Discard, c)
		}
	}
	repeat := func(first, s string, pause time.Duration) func(net.Conn) {
		return func(c net.Conn) {
			_, err := io.WriteString(c, first)
			for err == nil {
				time.Sleep(pause)
				_, err = io.WriteString(c, s)
			}
		}
	}
	f("closed", "upstream_cut", "", pipeline.UpstreamFault, func(net.Conn) {})
	f("reset", "upstream_cut", "", pipeline.UpstreamFault, reset)
	f("closed in the header", "upstream_cut", "", pipeline.UpstreamFault, say(ok+"A: b\r\n"))
	f("garbage", "upstream_protocol", "", pipeline.UpstreamFault, say("220 ready\r\n\r\n"))
	f("bad length", "upstream_protocol", "", pipeline.UpstreamFault, say(ok+"Content-Length: x\r\n\r\n"))
	f("two lengths", "upstream_protocol", "", pipeline.UpstreamFault, say(ok+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"))
	f("status 999", "upstream_protocol", "", pipeline.UpstreamFault, say("HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"))
	f("upgrade", "upstream_protocol", "", pipeline.UpstreamFault, hang("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"))
	f("silence", "upstream_timeout", "", pipeline.TimeoutFault, hang(""))
	f("header dribble", "upstream_timeout", "", pipeline.TimeoutFault, repeat(ok+"A: ", "b", 20*time.Millisecond))
	f("endless header", "upstream_too_large", "", pipeline.UpstreamFault, repeat(ok, strings.Repeat("Name: value\r\n", 100), 0))
	f("slow interim responses", "upstream_timeout", "", pipeline.TimeoutFault, repeat("", "HTTP/1.1 100 Continue\r\n\r\n", 70*time.Millisecond))
	f("stall", "upstream_timeout", "a", pipeline.TimeoutFault, hang(ok+"Content-Length: 5\r\n\r\na"))
	f("fixed body cut", "upstream_cut", "a", pipeline.UpstreamFault, say(ok+"Content-Length: 5\r\n\r\na"))
	f("chunked body cut", "upstream_cut", "a", pipeline.UpstreamFault, say(ok+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"))
	f("bad chunk", "upstream_protocol", "a", pipeline.UpstreamFault, say(ok+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\nx\r\n"))
	f("reset at the end of an open body", "upstream_cut", "a", pipeline.UpstreamFault, func(c net.Conn) {
		_, _ = io.WriteString(c, ok+"\r\na")
		time.Sleep(50 * time.Millisecond)
		reset(c)
	})
}

func TestEndlessInterim(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, http2 bool) {
		address := serve(t, func(c net.Conn) {
			_ = readRequest(bufio.NewReader(c))
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
					return
				}
			}
		})
		c := newClient(t, Options{Address: address, HTTP2: http2, FirstByte: 5 * time.Second})
		want := "upstream_protocol"
		if http2 {
			want = "upstream_too_large" // net/http counts the bytes of them
		}
		if _, err := fetch(c, newExchange(t, "POST", "{}")); code(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestRefused(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		_ = l.Close()
		c := newClient(t, Options{Address: address, HTTP2: http2})
		_, err = fetch(c, newExchange(t, "POST", "{}"))
		if code(err) != "upstream_unreachable" || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("got %v", err)
		}
		if open, _ := c.Counts(); open != 0 {
			t.Errorf("%d connections counted", open)
		}
	})
}

// That this machine has nothing left to connect with is no failure of the upstream.
func TestScarce(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		syscall.EMFILE: "overloaded", syscall.EADDRNOTAVAIL: "overloaded", syscall.ECONNREFUSED: "upstream_unreachable",
	} {
		err := (&Options{}).dialFault(t.Context(), &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", errno)})
		if code(err) != want || (pipeline.FaultOfError(err) == pipeline.OverloadFault) != (want == "overloaded") {
			t.Errorf("%v: got %v, want %s", errno, err, want)
		}
	}
}

// Once broken, a body is never whole.
func TestBrokenStaysBroken(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		address := serve(t, func(c net.Conn) {
			_ = readRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na")
		})
		c := newClient(t, Options{Address: address, HTTP2: http2})
		ex := newExchange(t, "POST", "{}")
		if err := c.RoundTrip(ex.Context(), &ex.Request, &ex.Response); err != nil {
			t.Fatal(err)
		}
		defer ex.Response.CloseBody()
		if _, err := ex.Response.Body.Next(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if piece, err := ex.Response.Body.Next(); code(err) != "upstream_cut" {
				t.Errorf("got %q, %v", piece, err)
			}
		}
	})
}

// A stream that is slow and alive is not cut, and only the total limit ends it.
func TestSlowStream(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, http2 bool) {
		address := serve(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			for readRequest(r) == nil {
				_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
				for i := 0; err == nil && i < 12; i++ {
					time.Sleep(50 * time.Millisecond)
					_, err = io.WriteString(c, "x")
				}
			}
		})
		c := newClient(t, Options{Address: address, HTTP2: http2, FirstByte: 400 * time.Millisecond, Idle: 400 * time.Millisecond})
		if body, err := fetch(c, newExchange(t, "POST", "{}")); len(body) != 12 || err != nil {
			t.Errorf("got %q, %v", body, err)
		}
		ex := newExchange(t, "POST", "{}")
		ex.Request.Wait.Total = 200 * time.Millisecond
		body, err := fetch(c, ex)
		if len(body) == 0 || len(body) == 12 || code(err) != "upstream_timeout" {
			t.Errorf("with a total limit: got %q, %v", body, err)
		}
	})
}

// A request's own limits take the place of the client's.
func TestRequestLimits(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, http2 bool) {
		f := func(answer string, wait pipeline.Wait) {
			t.Helper()
			address := serve(t, func(c net.Conn) {
				_ = readRequest(bufio.NewReader(c))
				_, _ = io.WriteString(c, answer)
				_, _ = io.Copy(io.Discard, c)
			})
			ex := newExchange(t, "POST", "{}")
			ex.Request.Wait = wait
			began := time.Now()
			_, err := fetch(newClient(t, Options{Address: address, HTTP2: http2}), ex)
			if took := time.Since(began); code(err) != "upstream_timeout" || took < 100*time.Millisecond || took > 5*time.Second {
				t.Errorf("%+v: %v after %v", wait, err, took)
			}
		}
		f("", pipeline.Wait{FirstByte: 100 * time.Millisecond})
		f("", pipeline.Wait{Total: 100 * time.Millisecond})
		f("HTTP/1.1 200 OK\r\n\r\na", pipeline.Wait{Idle: 100 * time.Millisecond})
		f("HTTP/1.1 200 OK\r\n\r\na", pipeline.Wait{Total: 100 * time.Millisecond})
	})
}

// A declared length is believed and costs nothing.
func TestDeclaredLength(t *testing.T) {
	address := serve(t, func(c net.Conn) {
		_ = readRequest(bufio.NewReader(c))
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nx", 8<<30)
	})
	c := newClient(t, Options{Address: address})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	body, err := fetch(c, newExchange(t, "POST", "{}"))
	runtime.ReadMemStats(&after)
	if body != "x" || code(err) != "upstream_cut" {
		t.Errorf("got %q, %v", body, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes allocated", n)
	}
}

// An upstream that sends faster than its answer is read is slowed down.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	const piece, most = 64 << 10, 64 << 20
	sent := make(chan int, 1)
	address := serve(t, func(c net.Conn) {
		_ = readRequest(bufio.NewReader(c))
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		n := 0
		for ; err == nil && n < most; n += piece {
			_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			_, err = c.Write(make([]byte, piece))
		}
		sent <- n
	})
	c := newClient(t, Options{Address: address})
	ex := newExchange(t, "POST", "{}")
	if err := c.RoundTrip(ex.Context(), &ex.Request, &ex.Response); err != nil {
		t.Fatal(err)
	}
	if _, err := ex.Response.Body.Next(); err != nil {
		t.Fatal(err)
	}
	if n := <-sent; n >= most {
		t.Errorf("the upstream could send %d bytes", n)
	}
}

func TestMaxConns(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		c := newClient(t, Options{Address: serve(t, always("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")), MaxConns: 1, HTTP2: http2})
		first := newExchange(t, "POST", "{}")
		if err := c.RoundTrip(first.Context(), &first.Request, &first.Response); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err := fetch(c, newExchange(t, "POST", "{}"))
		if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Code != "overloaded" || e.Status != 503 || pipeline.FaultOfError(err) != pipeline.OverloadFault {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
		first.Response.CloseBody()
		settle(t, "the connection to be closed", func() bool { open, idle := c.Counts(); return open == idle })
		if body, err := fetch(c, newExchange(t, "POST", "{}")); body != "hello" || err != nil {
			t.Errorf("got %q, %v", body, err)
		}
	})
}

// settle waits for a condition that is to come true soon.
func settle(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("waited in vain for: %s", what)
			return
		}
	}
}
