package faults

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// An origin is an upstream that works on the bare connection, so that it can
// break every rule. The request's X-Fault field names the script that answers
// it, and X-Marker is a text that no other request holds; the body must repeat it.
type origin struct {
	name string // goes into every answer, so that two origins' tokens cannot be mixed unseen
	addr string
	ln   net.Listener

	mu    sync.Mutex
	seen  map[string]int    // requests by marker; guarded by mu
	conns map[net.Conn]bool // guarded by mu
	wrong []string          // requests that were not what the client sent; guarded by mu

	accepted atomic.Int64
	bodies   sync.Map // by marker
	left     sync.Map // by marker: when the gateway went away
	done     sync.WaitGroup
}

// newOrigin serves until the test ends. setup is for TLS, and may be nil.
func newOrigin(t testing.TB, name string, setup *tls.Config) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{name: name, addr: ln.Addr().String(), ln: ln, seen: map[string]int{}, conns: map[net.Conn]bool{}}
	o.done.Go(func() { o.accept(setup) })
	t.Cleanup(func() {
		_ = ln.Close()
		o.closeAll()
		o.done.Wait()
		for _, w := range o.wrong {
			t.Errorf("origin %s: %s", o.name, w)
		}
	})
	return o
}

// draw is a random number.
func (o *origin) draw() int { return rand.IntN(1 << 30) }

func (o *origin) url() string { return "http://" + o.addr + "/v1" }

func (o *origin) accept(setup *tls.Config) {
	for {
		c, err := o.ln.Accept()
		if err != nil {
			return
		}
		o.accepted.Add(1)
		o.mu.Lock()
		o.conns[c] = true
		o.mu.Unlock()
		o.done.Go(func() {
			defer func() {
				_ = c.Close()
				o.mu.Lock()
				delete(o.conns, c)
				o.mu.Unlock()
			}()
			if setup != nil {
				o.serve(tls.Server(c, setup), nil)
				return
			}
			o.serve(c, c.(*net.TCPConn)) //nolint:forcetypeassert // the listener is TCP
		})
	}
}

// closeAll closes every connection.
func (o *origin) closeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.conns {
		_ = c.Close()
	}
}

// arrived is how many requests have, each counted once.
func (o *origin) arrived() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.seen)
}

// attempts is how often a request has arrived.
func (o *origin) attempts(marker string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[marker]
}

func (o *origin) complain(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.wrong) < 10 {
		o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
	}
}

// A wire is one request on a connection of an origin.
type wire struct {
	net.Conn
	tcp    *net.TCPConn // nil over TLS
	in     *bufio.Reader
	o      *origin
	fault  string
	marker string
	stream bool
	body   string // of the request
	nth    int    // of the requests with this marker, from 1
	dead   bool   // a write has failed
}

func (o *origin) serve(c net.Conn, tcp *net.TCPConn) {
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		w := &wire{Conn: c, tcp: tcp, in: in, o: o, fault: req.Header.Get("X-Fault"), marker: req.Header.Get("X-Marker")}
		o.mu.Lock()
		o.seen[w.marker]++
		w.nth = o.seen[w.marker]
		o.mu.Unlock()
		if w.fault == "early-413" {
			w.early()
			return
		}
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		w.body = string(b)
		o.bodies.Store(w.marker, w.body)
		w.stream = strings.Contains(w.body, `"stream":true`)
		if w.marker != "" && !strings.Contains(w.body, `"`+w.marker+`"`) {
			o.complain("the request %s came with the body %.200s", w.marker, b)
		}
		k, ok := kinds[w.fault]
		if !ok || o.name == "good" {
			k = kinds["good"]
		}
		if !k.do(w) || w.dead {
			return
		}
	}
}

// say writes and reports whether that went well.
func (w *wire) say(parts ...string) bool {
	if w.dead {
		return false
	}
	_ = w.SetWriteDeadline(time.Now().Add(20 * time.Second))
	_, err := io.WriteString(w.Conn, strings.Join(parts, ""))
	w.dead = err != nil
	return !w.dead
}

// gone waits until the gateway has left, for a generous time.
func (w *wire) gone() bool {
	_ = w.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.Copy(io.Discard, w.in)
	w.o.left.Store(w.marker, time.Now())
	return false
}

// rest waits for a part of the time that the gateway waits.
func (w *wire) rest(d time.Duration) { time.Sleep(d) }

// reset ends the connection with a reset.
func (w *wire) reset() bool {
	if w.tcp != nil {
		_ = w.tcp.SetLinger(0)
	}
	return false
}

// early answers before the body has come, and reads none of it.
func (w *wire) early() {
	b := problem("the request is too large", "invalid_request_error", "request_too_large")
	w.say("HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n", length(b), "\r\n", b)
	if w.tcp != nil {
		_ = w.tcp.CloseWrite()
	}
	w.rest(20 * time.Millisecond)
}

func length(b string) string { return "Content-Length: " + strconv.Itoa(len(b)) + "\r\n" }

func chunk(b string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(b), b) }

func event(data string) string { return "data: " + data + "\n\n" }

func problem(message, kind, code string) string {
	return fmt.Sprintf(`{"error":{"message":%q,"type":%q,"param":null,"code":%q}}`, message, kind, code)
}

const (
	jsonHead  = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	sseHead   = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	lastChunk = "0\r\n\r\n"
	done      = "data: [DONE]\n\n"
)

// wholeAnswer is the answer of an origin to a request.
func wholeAnswer(marker, who string) string {
	return `{"id":"chatcmpl-` + marker + `","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",` +
		`"content":"` + strings.Repeat(marker+" by "+who+". ", 20) + `"},"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`
}

// tokens is how many pieces of content a stream has.
const tokens = 12

// pieces are the events of an origin's stream, without the mark at its end.
func pieces(marker, who string) []string {
	var out []string
	add := func(delta, reason string) {
		out = append(out, `{"id":"chatcmpl-`+marker+`-`+who+`","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":`+delta+`,"finish_reason":`+reason+`}]}`)
	}
	add(`{"role":"assistant","content":""}`, "null")
	for i := range tokens {
		add(fmt.Sprintf(`{"content":"%s %d by %s. "}`, marker, i, who), "null")
	}
	add(`{}`, `"stop"`)
	return out
}

func (w *wire) answer() string { return wholeAnswer(w.marker, w.o.name) }

// events are the first n events of the stream; below zero, all.
func (w *wire) events(n int) string {
	all := pieces(w.marker, w.o.name)
	if n < 0 {
		n = len(all)
	}
	var b strings.Builder
	for _, p := range all[:n] {
		b.WriteString(event(p))
	}
	return b.String()
}

// some is a number of events that leaves the stream unfinished and not empty.
func (w *wire) some() int { return 2 + rand.IntN(tokens-2) }

// good answers as it should be. A stream comes in pieces of any size.
func (w *wire) good() bool {
	if !w.stream {
		b := w.answer()
		return w.say(jsonHead, length(b), "\r\n", b)
	}
	w.say(sseHead)
	for rest := w.events(-1) + done; rest != ""; {
		n := min(len(rest), 1+rand.IntN(700))
		w.say(chunk(rest[:n]))
		rest = rest[n:]
	}
	return w.say(lastChunk)
}
