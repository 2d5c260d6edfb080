package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
)

// mock answers without allocating, as far as the benchmark of a client needs.
func mock(answer string) func(net.Conn) {
	out := []byte(answer)
	return func(c net.Conn) {
		r := bufio.NewReaderSize(c, 64<<10)
		for {
			length := 0
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == 2 {
					break
				}
				if rest, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
					for _, d := range bytes.TrimSpace(rest) {
						length = length*10 + int(d-'0')
					}
				}
			}
			if _, err := r.Discard(length); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

// answerOf is a response as an upstream sends it, with a body of n bytes.
func answerOf(n int, chunk int) string {
	head := "HTTP/1.1 200 OK\r\nDate: Mon, 02 Nov 2026 10:00:00 GMT\r\nServer: mock\r\nContent-Type: application/json\r\n" +
		"X-Request-Id: 0123456789abcdef\r\nX-Ratelimit-Remaining-Requests: 999\r\nVary: Accept-Encoding\r\n"
	if chunk == 0 {
		return head + "Content-Length: " + strconv.Itoa(n) + "\r\n\r\n" + strings.Repeat("x", n)
	}
	var b strings.Builder
	b.WriteString(head + "Transfer-Encoding: chunked\r\n\r\n")
	for ; n > 0; n -= chunk {
		m := min(n, chunk)
		b.WriteString(strconv.FormatInt(int64(m), 16) + "\r\n" + strings.Repeat("x", m) + "\r\n")
	}
	return b.String() + "0\r\n\r\n"
}

// drain makes a call and reads its body to the end.
func drain(ctx context.Context, c *Client, req *pipeline.Request, resp *pipeline.Response) (int, error) {
	if err := c.RoundTrip(ctx, req, resp); err != nil {
		return 0, err
	}
	defer resp.CloseBody()
	n := 0
	for {
		piece, err := resp.Body.Next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += len(piece)
	}
}

// benchExchange is an exchange with a request that looks like a provider's.
func benchExchange(prompt int) *pipeline.Exchange {
	ex := pipeline.Acquire(context.Background())
	prepare(ex, "POST", strings.Repeat("x", prompt))
	ex.Request.Header.Set("Authorization", "Bearer sk-0123456789abcdef0123456789abcdef")
	ex.Request.Header.Set("Accept", "application/json")
	ex.Request.Header.Set("X-Request-Id", "0123456789abcdef")
	return ex
}

func TestRoundTripAllocates(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector pools lose things on purpose")
	}
	f := func(prompt, body, chunk int) {
		t.Helper()
		c := newClient(t, Options{Address: serve(t, mock(answerOf(body, chunk)))})
		ex := benchExchange(prompt)
		defer ex.Release()
		call := func() {
			if n, err := drain(ex.Context(), c, &ex.Request, &ex.Response); n != body || err != nil {
				t.Fatalf("got %d bytes, %v", n, err)
			}
		}
		call()
		// The pools may lose something to the garbage collector now and then.
		if n := testing.AllocsPerRun(300, call); n >= 1 {
			t.Errorf("%d bytes for %d (chunks of %d): %v allocations", prompt, body, chunk, n)
		}
	}
	f(1<<10, 1<<10, 0)
	f(20<<10, 1<<10, 0)
	f(48<<10, 1<<10, 0)
	f(1<<10, 16<<10, 250)
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{1 << 10, 20 << 10} {
		address := serve(b, mock(answerOf(1100, 0)))
		name := strconv.Itoa(size>>10) + "KB"
		b.Run(name+"/upstream", func(b *testing.B) {
			c := newClient(b, Options{Address: address})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				ex := benchExchange(size)
				defer ex.Release()
				for pb.Next() {
					if _, err := drain(ex.Context(), c, &ex.Request, &ex.Response); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
		b.Run(name+"/HostClient", func(b *testing.B) {
			c := &fasthttp.HostClient{
				Addr: address, MaxConns: 4096, NoDefaultUserAgentHeader: true, DisablePathNormalizing: true,
				ReadTimeout: time.Minute, WriteTimeout: time.Minute, // as ours has
			}
			defer c.CloseIdleConnections()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				ex := benchExchange(size)
				defer ex.Release()
				var req fasthttp.Request
				var resp fasthttp.Response
				ex.Request.Header.CopyTo(&req.Header)
				req.SetRequestURI("http://" + address + "/v1/chat/completions")
				req.SetBodyRaw(ex.Request.Body)
				for pb.Next() {
					if err := c.Do(&req, &resp); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
		b.Run(name+"/nethttp", func(b *testing.B) {
			c := newClient(b, Options{Address: address, HTTP2: true})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				ex := benchExchange(size)
				defer ex.Release()
				for pb.Next() {
					if _, err := drain(ex.Context(), c, &ex.Request, &ex.Response); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkPeek(b *testing.B) {
	c, err := dial(context.Background(), serve(b, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.raw.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		if c.stale() {
			b.Fatal("stale")
		}
	}
}

func BenchmarkParseHead(b *testing.B) {
	in := []byte(answerOf(0, 0))
	var h fasthttp.ResponseHeader
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseHead(in, false, &h); err != nil {
			b.Fatal(err)
		}
	}
}
