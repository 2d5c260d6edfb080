package litellm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// A server answers each request on each connection by a script, byte for byte.
type server struct {
	url         string
	connections atomic.Int32
	requests    atomic.Int32
	closed      chan struct{} // a client closed a connection while the script waited
}

// hang, in an answer, makes the server wait for the client to leave.
const hang = "\x00hang"

// serve starts a server whose answer to request n, counted from 0, is script(n). An answer
// that ends in hang leaves the connection open; one that ends in "\x00cut" closes it. Any
// other leaves it to the next request.
func serve(t testing.TB, script func(n int) string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{url: "http://" + l.Addr().String() + "/v1", closed: make(chan struct{}, 16)}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.connections.Add(1)
			go s.connection(c, script)
		}
	}()
	return s
}

func (s *server) connection(c net.Conn, script func(n int) string) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		answer := script(int(s.requests.Add(1)) - 1)
		answer, waits := strings.CutSuffix(answer, hang)
		answer, cuts := strings.CutSuffix(answer, "\x00cut")
		if strings.HasSuffix(answer, "\x00reset") {
			_ = c.(*net.TCPConn).SetLinger(0)
			return
		}
		if _, err := io.WriteString(c, answer); err != nil || cuts {
			return
		}
		if waits {
			_, _ = r.ReadByte()
			s.closed <- struct{}{}
			return
		}
	}
}

// Answers of a server.
func whole(status, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

const chunkedEvents = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

func chunks(events ...string) string {
	out := ""
	for _, e := range events {
		out += fmt.Sprintf("%x\r\n%s\r\n", len(e), e)
	}
	return out
}

const last = "0\r\n\r\n"

// Every fault ends as a whole answer or as an error; never as less, and never late.
func TestFaults(t *testing.T) {
	f := func(name, answer, want string, status int, code string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(int) string { return answer })
			began := time.Now()
			c := settings(s.url)
			c.FirstByte, c.Idle = time.Minute, time.Minute
			if code == "upstream_timeout" && strings.HasPrefix(answer, "HTTP") {
				c.Idle = 200 * time.Millisecond
			} else if code == "upstream_timeout" {
				c.FirstByte = 200 * time.Millisecond
			}
			a := ask(t, build(t, c), exchange(pipeline.OpChat, `{"model":"m","stream":true,"messages":[]}`))
			if d := time.Since(began); d > 20*time.Second {
				t.Fatalf("took %v", d)
			}
			if n := s.requests.Load(); n != 1 {
				t.Fatalf("%d requests", n)
			}
			if a.body != want {
				t.Fatalf("got %q, want %q", a.body, want)
			}
			if code == "" {
				if a.err != nil || a.status != status {
					t.Fatalf("status %d, %v", a.status, a.err)
				}
				return
			}
			e := problemOf(t, a.err)
			if e.Status != status || e.Code != code {
				t.Fatalf("got status %d, %v; want %d %s", e.Status, e, status, code)
			}
			if text := e.Error(); strings.Contains(text, "127.0.0.1") {
				t.Fatalf("an address in the message: %s", text)
			}
		})
	}
	f("reset before the answer", "\x00reset", "", 502, "upstream_cut")
	f("end before the answer", "\x00cut", "", 502, "upstream_cut")
	f("silence", hang, "", 504, "upstream_timeout")
	f("garbage", "SMTP ready\r\n\r\n\x00cut", "", 502, "upstream_protocol")
	f("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}\x00cut", "", 502, "upstream_protocol")
	f("json cut", whole("200 OK", `{"a":1}`)[:len(whole("200 OK", `{"a":1}`))-3]+"\x00cut", "", 502, "upstream_cut")
	f("json until the connection ends, cut", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":[\x00cut", "", 502, "upstream_protocol")
	f("json", whole("200 OK", `{"choices":[]}`), "data: {\"choices\":[]}\n\n"+done, 200, "")
	f("error", whole("429 Too Many", `{"error":{"message":"m","type":"t","param":null,"code":null}}`), `{"error":{"message":"m","type":"t","param":null,"code":null}}`, 429, "")
	f("stream", chunkedEvents+chunks(role, word, finish, done)+last, role+word+finish+done, 200, "")
	f("stream without the mark", chunkedEvents+chunks(role, word, finish)+last, role+word+finish+done, 200, "")
	f("stream that is not closed after the mark", chunkedEvents+chunks(role, finish, done)+hang, role+finish+done, 200, "")
	f("stream until the connection ends", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+role+finish+done+"\x00cut", role+finish+done, 200, "")
	f("stream until the connection ends, cut", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+role+word+"\x00cut", role+word, 502, "upstream_cut")
	f("cut at a chunk", chunkedEvents+chunks(role, word)+"\x00cut", role+word, 502, "upstream_cut")
	f("cut at a chunk behind finish_reason", chunkedEvents+chunks(role, finish)+"\x00cut", role+finish, 502, "upstream_cut")
	f("cut in a chunk", chunkedEvents+chunks(role)+"ff\r\ndata: {\x00cut", role, 502, "upstream_cut")
	f("bad chunk", chunkedEvents+chunks(role)+"zz\r\n", role, 502, "upstream_protocol")
	f("no events", chunkedEvents+last, "", 502, "upstream_error")
	f("stall at once", chunkedEvents+hang, "", 504, "upstream_timeout")
	f("stall", chunkedEvents+chunks(role, word)+hang, role+word, 504, "upstream_timeout")
	f("invalid event", chunkedEvents+chunks(role, "data: {\"a\n\n", finish, done)+last, role, 502, "upstream_protocol")
	f("ended early and clean", chunkedEvents+chunks(role, word)+last, role+word, 502, "upstream_cut")
}

// A stream read to its end leaves its connection for the next call.
func TestConnectionIsReused(t *testing.T) {
	s := serve(t, func(n int) string {
		if n%2 == 0 {
			return chunkedEvents + chunks(role, finish, done) + last
		}
		return whole("200 OK", `{"choices":[]}`)
	})
	p := build(t, settings(s.url))
	for range 6 {
		if a := ask(t, p, exchange(pipeline.OpChat, streamBody)); a.err != nil {
			t.Fatal(a.err)
		}
	}
	if n := s.connections.Load(); n != 1 {
		t.Fatalf("%d connections for six calls one after the other", n)
	}
}

// Whoever leaves takes the call to the upstream along.
func TestEndOfContextClosesTheConnection(t *testing.T) {
	f := func(answer string, frames int) {
		t.Helper()
		s := serve(t, func(int) string { return answer + hang })
		c := settings(s.url)
		c.FirstByte, c.Idle = time.Minute, time.Minute
		p := build(t, c)
		scope := new(pipeline.Scope)
		scope.Begin(context.Background())
		ex := exchange(pipeline.OpChat, streamBody)
		time.AfterFunc(50*time.Millisecond, func() { scope.Cancel(pipeline.ErrClientGone) })
		err := p.Call(scope, ex)
		for n := 0; err == nil; n++ {
			if _, err = ex.Response.Body.Next(); err == nil && n >= frames {
				t.Fatal("more than was sent")
			}
		}
		if !errors.Is(err, pipeline.ErrClientGone) {
			t.Fatalf("got %v", err)
		}
		ex.Release()
		scope.End()
		select {
		case <-s.closed:
		case <-time.After(10 * time.Second):
			t.Fatal("the connection to the upstream is still open")
		}
	}
	f("", 0)
	f(chunkedEvents, 0)
	f(chunkedEvents+chunks(role), 1)
	f("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", 0)
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	a := ask(t, build(t, settings("http://"+address+"/v1")), exchange(pipeline.OpChat, streamBody))
	if e := problemOf(t, a.err); e.Status != 502 || e.Code != "upstream_unreachable" || strings.Contains(e.Error(), address) {
		t.Fatalf("%v", e)
	}
}

func BenchmarkCall(b *testing.B) {
	p := build(b, settings("http://127.0.0.1:4000/v1"))
	p.main.transport = &frugal{kind: "application/json", pieces: [][]byte{[]byte(`{"id":"chatcmpl-1","choices":[]}`)}}
	ex := exchange(pipeline.OpChat, streamBody)
	defer ex.Release()
	for _, n := range []string{"Accept", "User-Agent", "X-Stainless-Lang", "X-Stainless-Os", "X-Request-Id", "Authorization", "Accept-Encoding"} {
		ex.Request.Header.Set(n, "some value")
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Call(ex.Context(), ex); err != nil {
			b.Fatal(err)
		}
		_, _ = ex.Response.Body.Next()
		ex.Response.CloseBody()
	}
}

func BenchmarkEvents(b *testing.B) {
	p := build(b, settings("http://127.0.0.1:4000/v1"))
	p.main.transport = &frugal{kind: "text/event-stream", pieces: [][]byte{[]byte(role), []byte(word), []byte(word), []byte(word), []byte(word), []byte(word), []byte(word), []byte(word), []byte(finish), []byte(done)}}
	ex := exchange(pipeline.OpChat, streamBody)
	defer ex.Release()
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Call(ex.Context(), ex); err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := ex.Response.Body.Next(); err != nil {
				break
			}
		}
		ex.Response.CloseBody()
	}
}

// TestUnreached has the log say why there is no connection, which no client is told.
func TestUnreached(t *testing.T) {
	f := func(url, want string) {
		t.Helper()
		var log strings.Builder
		p, err := settings(url).Build(t.Context(), config.Env{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer p.(io.Closer).Close()
		for range 2 {
			err = p.Call(t.Context(), exchange(pipeline.OpChat, chatBody))
			if err == nil || strings.Contains(err.Error(), want) {
				t.Errorf("%s: the client is told %v", url, err)
			}
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) || !strings.Contains(got, "address=") {
			t.Errorf("%s: %q, want %q in it", url, got, want)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	f("http://"+l.Addr().String()+"/v1", "connection refused")
	f("http://nothing.invalid/v1", "nothing.invalid")
}
