package load

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/benchmarks/mock"
	"github.com/headrace/headrace/benchmarks/payload"
	"github.com/headrace/headrace/benchmarks/stats"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func upstream(t *testing.T, s mock.Settings) string {
	t.Helper()
	l := listen(t)
	go func() { _ = mock.New(s).Serve(l) }()
	return l.Addr().String()
}

func pool(t *testing.T, r Request, n int) *Pool {
	t.Helper()
	p, err := NewPool(r, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func chat(addr string, stream bool) Request {
	return Request{Addr: addr, Path: "/v1/chat/completions", Body: payload.Chat(1<<10, stream)}
}

func TestRefusesOtherMachines(t *testing.T) {
	f := func(addr string) {
		t.Helper()
		if _, err := NewPool(chat(addr, false), 1); err == nil {
			t.Errorf("%s was accepted", addr)
		}
	}
	f("192.0.2.1:80")
	f("0.0.0.0:80")
	f("localhost:80") // a name may mean anything
	f("127.0.0.1")
}

func TestClosed(t *testing.T) {
	p := pool(t, chat(upstream(t, mock.Defaults), false), 4)
	for range 2 {
		r := p.Closed(50 * time.Millisecond)
		if r.Done < 10 || r.Errors > 0 || len(r.Latencies) != r.Done || r.Took < 50*time.Millisecond {
			t.Errorf("%d done in %v, %d errors: %v", r.Done, r.Took, r.Errors, r.First)
		}
	}
}

func TestErrorsAreCounted(t *testing.T) {
	s := mock.Defaults
	s.Errors = 1
	r := pool(t, chat(upstream(t, s), false), 2).Closed(30 * time.Millisecond)
	if r.Done != 0 || r.Errors == 0 || r.First == nil || !strings.HasPrefix(r.First.Error(), "status 500: {") {
		t.Errorf("%d done, %d errors: %v", r.Done, r.Errors, r.First)
	}
	dead := listen(t)
	_ = dead.Close()
	if r := pool(t, chat(dead.Addr().String(), false), 1).Closed(10 * time.Millisecond); r.Done != 0 || r.Errors == 0 {
		t.Errorf("nobody listens, but %d done and %d errors", r.Done, r.Errors)
	}
}

// Every request has a reference of its own, unless they shall all be equal.
func TestReferences(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	l := listen(t)
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			at := payload.Reference(b)
			mu.Lock()
			seen[string(b[at:at+payload.ReferenceLen])]++
			mu.Unlock()
			fmt.Fprint(w, "{}")
		}))
	}()
	request := chat(l.Addr().String(), false)
	r := pool(t, request, 3).Closed(30 * time.Millisecond)
	if r.Done == 0 || len(seen) != r.Done {
		t.Errorf("%d references in %d requests, %v", len(seen), r.Done, r.First)
	}
	clear(seen)
	request.Same = true
	if r := pool(t, request, 3).Closed(30 * time.Millisecond); r.Done < 2 || len(seen) != 1 {
		t.Errorf("%d references in %d equal requests", len(seen), r.Done)
	}
}

// The server stalls once. With a closed loop only as many requests as there are
// clients would notice; every request that was due meanwhile must be charged.
func TestOpenHasNoCoordinatedOmission(t *testing.T) {
	const stall, rate, length = 300 * time.Millisecond, 500, time.Second
	var n atomic.Int64
	var gate sync.RWMutex
	l := listen(t)
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1) == 200 {
				gate.Lock()
				time.Sleep(stall)
				gate.Unlock()
			}
			gate.RLock()
			defer gate.RUnlock()
			fmt.Fprint(w, "{}")
		}))
	}()
	const clients = 4
	r := pool(t, chat(l.Addr().String(), false), clients).Open(rate, length)
	if r.Errors > 0 || r.Done != rate {
		t.Fatalf("%d done, %d errors: %v", r.Done, r.Errors, r.First)
	}
	waited := 0
	for _, us := range r.Latencies {
		if us > 50e3 {
			waited++
		}
	}
	// 150 were due during the stall, and 125 of them more than 50 ms before its end.
	if waited < 110 {
		t.Errorf("%d requests were charged with the stall, want 125 or more; only %d clients could feel it", waited, clients)
	}
	slices.Sort(r.Latencies)
	if worst := r.Latencies[len(r.Latencies)-1]; worst < 290e3 {
		t.Errorf("worst latency %.0fµs, want that of the stall", worst)
	}
	if len(r.Lag) != rate {
		t.Errorf("lag of %d requests, want %d", len(r.Lag), rate)
	}
}

func TestOpenKeepsTheRate(t *testing.T) {
	r := pool(t, chat(upstream(t, mock.Defaults), false), 8).Open(400, 500*time.Millisecond)
	if r.Done != 200 || r.Took < 490*time.Millisecond {
		t.Errorf("%d requests in %v, want 200 in 0.5s: %v", r.Done, r.Took, r.First)
	}
}

func TestStreams(t *testing.T) {
	s := mock.Defaults
	s.Chunks, s.Pace, s.Latency = 4, 10*time.Millisecond, 30*time.Millisecond
	p := pool(t, chat(upstream(t, s), true), 5)
	for range 2 { // the second time over the same connections
		r := p.Streams(10 * time.Millisecond)
		if r.Done != 5 || r.Errors != 0 || len(r.Held) != 20 || len(r.FirstChunk) != 5 {
			t.Fatalf("%d done, %d errors (%v), %d events, %d first events", r.Done, r.Errors, r.First, len(r.Held), len(r.FirstChunk))
		}
		if first := slices.Min(r.FirstChunk); first < 30e3 {
			t.Errorf("first event after %.0fµs, want 30 ms or more", first)
		}
		slices.Sort(r.Held)
		if held := stats.Quantile(r.Held, 0.5); held <= 0 || held > 1e6 {
			t.Errorf("events took %.0fµs", held)
		}
	}
}

// A stream that is cut, even between two events, is an error.
func TestStreamCut(t *testing.T) {
	f := func(answer string) {
		t.Helper()
		l := listen(t)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(conn).ReadSlice('\n')
			_, _ = io.WriteString(conn, answer)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		}()
		if r := pool(t, chat(l.Addr().String(), true), 1).Streams(0); r.Done != 0 || r.Errors != 1 {
			t.Errorf("%q: %d done, %d errors", answer, r.Done, r.Errors)
		}
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	f(ok + "Transfer-Encoding: chunked\r\n\r\nb\r\ndata: {}\n\n\n\r\n")
	f(ok + "Transfer-Encoding: chunked\r\n\r\nb\r\ndata: {}\n\n\n\r\n0\r\n\r\n")
	f(ok + "Content-Length: 30\r\n\r\ndata: {}\n\n")
	f(ok + "\r\ndata: {}\n\n")
	f("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
	f("nonsense nonsense\r\n\r\n")
}

// A connection that the server closed between two loads is replaced silently.
func TestStaleConnection(t *testing.T) {
	l := listen(t)
	var conns atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer conn.Close()
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			}()
		}
	}()
	p := pool(t, chat(l.Addr().String(), false), 1)
	p.connect()
	if r := p.run(func(c *client, t *tally) { t.add(c.do(), 0) }); r.Done != 1 || r.Errors != 0 || conns.Load() != 2 {
		t.Errorf("%d done, %d connections, error %v", r.Done, conns.Load(), r.First)
	}
}

func TestLeave(t *testing.T) {
	s := mock.Defaults
	s.Latency, s.Watch = 150*time.Millisecond, true
	addr := upstream(t, s)
	r := pool(t, chat(addr, false), 64).Leave(100, 500*time.Millisecond, 5, 30*time.Millisecond)
	if r.Errors != 0 || len(r.Left) != 10 || r.Done != 40 {
		t.Fatalf("%d left, %d done, %d errors: %v", len(r.Left), r.Done, r.Errors, r.First)
	}
	time.Sleep(100 * time.Millisecond)
	st, err := (mock.Client{Addr: addr}).Stats()
	if err != nil {
		t.Fatal(err)
	}
	for ref, at := range r.Left {
		if seen, ok := st.Departed[ref]; !ok || seen < at-int64(50*time.Millisecond) {
			t.Errorf("departure of %x at %d seen at %d", ref, at, seen)
		}
	}
}

func TestHold(t *testing.T) {
	s := mock.Defaults
	s.Chunks, s.Pace = 2, time.Hour
	p := pool(t, chat(upstream(t, s), true), 20)
	if r := p.Hold(); r.Done != 20 || r.Errors != 0 {
		t.Errorf("%d held, %d errors: %v", r.Done, r.Errors, r.First)
	}
}
