// Package mock is the upstream of the benchmarks: a server in the shape of
// OpenAI's that costs as little as possible and behaves as badly as asked.
//
//	POST */chat/completions  about 1 KB, or a stream where the body asks for one
//	POST */embeddings        one vector for each input
//	POST */rerank            a score for each document
//	GET  */models            two models
//	GET  /_mock/set?latency=20ms&tail=0.05   new settings, see Settings
//	GET  /_mock/stats        what happened since the last call, see Stats
//
// A chat model called graph-300ms answers with a small knowledge graph, after 300 ms
// whatever the settings say.
//
// It does not check requests. Each event of a stream carries the time at
// which it was sent, as "@nanoseconds@" in its text, so that a client on the
// same machine can tell how long a gateway held it.
package mock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/benchmarks/payload"
)

// Stats is what happened since the last time somebody asked.
type Stats struct {
	Calls   int64 `json:"calls"` // answers and streams
	Streams int64 `json:"streams"`
	Chunks  int64 `json:"chunks"`
	// Departed tells for each request that its caller gave up, by the
	// reference in its body, when the connection was closed (Unix time in
	// nanoseconds); Served has the references of those that got an answer.
	// Both are only kept while Settings.Watch is on.
	Departed map[uint64]int64 `json:"departed"`
	Served   map[uint64]bool  `json:"served"`
}

// A Server is the upstream. Use New.
type Server struct {
	settings               atomic.Pointer[Settings]
	calls, streams, chunks atomic.Int64

	mu       sync.Mutex
	departed map[uint64]int64 // guarded by mu
	served   map[uint64]bool  // guarded by mu
}

// New returns an upstream that behaves as s says.
func New(s Settings) *Server {
	m := &Server{departed: map[uint64]int64{}, served: map[uint64]bool{}}
	m.settings.Store(&s)
	return m
}

// Serve answers on all the listeners until one of them fails.
func (m *Server) Serve(listeners ...net.Listener) error {
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		s := &fasthttp.Server{
			Handler:            m.handle,
			Name:               "mock",
			ReadBufferSize:     16 << 10,
			MaxRequestBodySize: 64 << 20,
			Concurrency:        64 << 10,
		}
		go func() { failed <- s.Serve(l) }()
	}
	return <-failed
}

const answer = `{"id":"chatcmpl-mock0001","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"` +
	text + text + text + text + `","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":180,"completion_tokens":120,"total_tokens":300,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"system_fingerprint":"fp_mock"}`

const text = `First compare the limits in section 7.3: a worker gives up after 30 seconds without a heartbeat.\nA full disk delays exactly that, so look below /var/lib/export. `

// Answer is the body of every chat completion that is not streamed.
var Answer = []byte(answer)

const models = `{"object":"list","data":[{"id":"gpt-4o-mini","object":"model","created":1700000000,"owned_by":"mock"},{"id":"text-embedding-3-small","object":"model","created":1700000000,"owned_by":"mock"}]}`

func (m *Server) handle(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("application/json")
	path, s := ctx.Path(), m.settings.Load()
	switch {
	case bytes.HasSuffix(path, []byte("/chat/completions")):
		m.chat(ctx, s)
	case bytes.HasSuffix(path, []byte("/embeddings")):
		m.calls.Add(1)
		m.think(ctx, s)
		ctx.SetBody(embeddings(ctx.PostBody(), s.Numbers))
	case bytes.HasSuffix(path, []byte("/rerank")):
		m.calls.Add(1)
		m.think(ctx, s)
		ctx.SetBody(ranking(ctx.PostBody()))
	case bytes.HasSuffix(path, []byte("/models")):
		ctx.SetBodyString(models)
	case string(path) == "/_mock/set":
		m.set(ctx)
	case string(path) == "/_mock/stats":
		ctx.SetBody(m.takeStats())
	default:
		fail(ctx, fasthttp.StatusNotFound, "no such path")
	}
}

func (m *Server) chat(ctx *fasthttp.RequestCtx, s *Settings) {
	m.calls.Add(1)
	if wait, ok := graphModel(ctx.PostBody()); ok {
		time.Sleep(wait)
		ctx.SetBodyString(graphAnswer)
		return
	}
	if !m.think(ctx, s) {
		ctx.SetConnectionClose()
		return
	}
	if s.Errors > 0 && rand.Float64() < s.Errors {
		fail(ctx, fasthttp.StatusInternalServerError, "failure by request")
		return
	}
	if !streamed(ctx.PostBody()) {
		ctx.Response.SetBodyRaw(Answer)
		return
	}
	m.streams.Add(1)
	ctx.SetContentType("text/event-stream")
	ctx.Response.Header.Set("Cache-Control", "no-cache")
	ctx.Response.Header.Set("X-Accel-Buffering", "no") // nginx holds streams back without it
	ctx.SetBodyStream(&stream{server: m, conn: ctx.Conn(), chunks: s.Chunks, pace: s.Pace}, -1)
}

// streamed reports whether the body asks for a stream. It looks at the end of
// the body only: a search through 20 KB would cost more than all the rest.
func streamed(body []byte) bool {
	end := body[max(0, len(body)-256):]
	return bytes.Contains(end, []byte(`"stream":true`)) || bytes.Contains(end, []byte(`"stream": true`))
}

// think lets the latency pass. It reports false if the caller hung up
// meanwhile, which it can tell only while Settings.Watch is on.
func (m *Server) think(ctx *fasthttp.RequestCtx, s *Settings) bool {
	d := s.Latency
	if s.Tail > 0 && rand.Float64() < s.Tail {
		d = time.Duration(float64(d) * s.TailFactor)
	}
	if d <= 0 {
		return true
	}
	if !s.Watch {
		time.Sleep(d)
		return true
	}
	gone := hungUp(ctx.Conn(), d)
	m.note(ctx.PostBody(), gone)
	return !gone
}

// note remembers how the request with this body ended.
func (m *Server) note(body []byte, gone bool) {
	now := time.Now().UnixNano()
	at := payload.Reference(body)
	if at < 0 {
		return
	}
	ref, err := payload.ParseReference(body[at:])
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if gone {
		m.departed[ref] = now
	} else {
		m.served[ref] = true
	}
}

// hungUp waits for d, or until the other side closes the connection. Reading
// is the cheapest way to wait for both: a caller that waits for its answer
// sends nothing.
func hungUp(c net.Conn, d time.Duration) bool {
	var b [1]byte
	if c.SetReadDeadline(time.Now().Add(d)) != nil {
		return true
	}
	_, err := c.Read(b[:])
	timeout, ok := errors.AsType[net.Error](err)
	return !ok || !timeout.Timeout() || c.SetReadDeadline(time.Time{}) != nil
}

func (m *Server) set(ctx *fasthttp.RequestCtx) {
	s, err := parse(string(ctx.QueryArgs().QueryString()))
	if err != nil {
		fail(ctx, fasthttp.StatusBadRequest, err.Error())
		return
	}
	m.settings.Store(&s)
	ctx.SetBodyString("{}")
}

func (m *Server) takeStats() []byte {
	stats := Stats{Calls: m.calls.Swap(0), Streams: m.streams.Swap(0), Chunks: m.chunks.Swap(0)}
	m.mu.Lock()
	stats.Departed, m.departed = m.departed, map[uint64]int64{}
	stats.Served, m.served = m.served, map[uint64]bool{}
	m.mu.Unlock()
	b, err := json.Marshal(stats)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mock: write the statistics:", err)
	}
	return b
}

func fail(ctx *fasthttp.RequestCtx, status int, message string) {
	ctx.SetStatusCode(status)
	ctx.SetBody(fmt.Appendf(nil, `{"error":{"message":%q,"type":"server_error","param":null,"code":"mock"}}`, message))
}
