package main

import (
	"time"

	"github.com/headrace/headrace/benchmarks/load"
	"github.com/headrace/headrace/benchmarks/mock"
	"github.com/headrace/headrace/benchmarks/payload"
)

// A scenario is one kind of load, put on several targets in turn.
type scenario struct {
	name  string
	about string
	// targets are those of targets.conf that take part; with peers, so do all
	// that the user names.
	targets []string
	peers   bool
	base    string // the target that others are compared with

	upstream mock.Settings
	path     string                  // /v1/chat/completions if empty
	answer   string                  // what an answer has in it; the upstream's words if empty
	setUp    func(addr string) error // readies a target for the load; may be nil
	body     []byte
	same     bool // whether all requests are equal
	clients  int
	load     func(*load.Pool) load.Result
	// warm goes before the first slice and is not counted; nil: load itself.
	warm func(*load.Pool) load.Result
	// settle is how long after the load its consequences may take.
	settle time.Duration
	// hold keeps the connections open until the memory has been read.
	hold bool

	// Each of passes starts fresh processes and takes rounds slices of each
	// target, in another random order every round.
	passes, rounds int
	metrics        []metric
	chart          *chartOf
}

// chartOf says how a scenario appears in the picture.
type chartOf struct {
	title, unit string
	metric      metric
	ratio       bool
	better      string
}

const (
	sizeSmall = 1 << 10
	sizeLarge = 20 << 10
	sizeHuge  = 10 << 20
	slice     = 250 * time.Millisecond
)

// closed is a slice of the closed loop.
func closed(p *load.Pool) load.Result { return p.Closed(slice) }

func open(rate float64, d time.Duration) func(*load.Pool) load.Result {
	return func(p *load.Pool) load.Result { return p.Open(rate, d) }
}

// nothing is for scenarios that must find the target as it has started.
func nothing(*load.Pool) load.Result { return load.Result{} }

// with returns the upstream's defaults, changed.
func with(change func(*mock.Settings)) mock.Settings {
	s := mock.Defaults
	change(&s)
	return s
}

// scenarios returns all of them.
func scenarios() []scenario {
	references := []string{"direct", "raw", "nethttp", "headrace"}
	busy := []metric{cpu, system, rps, calls, resident, failures, foreign}
	paced := []metric{p50, p95, p99, cpu, lag, failures, foreign}
	tail := with(func(s *mock.Settings) { s.Latency, s.Tail = 20*time.Millisecond, 0.05 })
	return []scenario{
		{
			name: "chat-1k", about: "Chat completions of 1 KB, no two alike; 64 connections, each sends as soon as it has its answer.",
			targets: references, peers: true, base: "raw", upstream: mock.Defaults, body: payload.Chat(sizeSmall, false), clients: 64,
			load: closed, passes: 2, rounds: 20, metrics: busy,
			chart: &chartOf{"Processor time of a chat request, 1 KB", "× a bare fasthttp proxy", cpu, true, "less"},
		},
		{
			name: "chat-20k", about: "The same with prompts of 20 KB.",
			targets: references, peers: true, base: "raw", upstream: mock.Defaults, body: payload.Chat(sizeLarge, false), clients: 64,
			load: closed, passes: 2, rounds: 20, metrics: busy,
			chart: &chartOf{"Processor time of a chat request, 20 KB", "× a bare fasthttp proxy", cpu, true, "less"},
		},
		{
			name: "hit-1k", about: "One and the same request of 1 KB, answered from the cache, against a server that always says the same.",
			targets: []string{"hello", "headrace"}, base: "hello", upstream: mock.Defaults, body: payload.Chat(sizeSmall, false), same: true, clients: 64,
			load: closed, passes: 2, rounds: 20, metrics: busy,
			chart: &chartOf{"Cache hits, 1 KB", "requests/s", rps, false, "more"},
		},
		{
			name: "hit-20k", about: "The same with a request of 20 KB.",
			targets: []string{"hello", "headrace"}, base: "hello", upstream: mock.Defaults, body: payload.Chat(sizeLarge, false), same: true, clients: 64,
			load: closed, passes: 2, rounds: 20, metrics: busy,
		},
		{
			name: "plugins", about: "chat-1k through ten plugins that do nothing, against the same program without them.",
			targets: []string{"plugins-0", "plugins-10"}, base: "plugins-0", upstream: mock.Defaults, body: payload.Chat(sizeSmall, false), clients: 64,
			load: closed, passes: 3, rounds: 20, metrics: busy,
		},
		{
			name: "armed", about: "chat-1k with a race that is armed for every request and never fires, against no race.",
			targets: []string{"headrace", "armed"}, base: "headrace", upstream: mock.Defaults, body: payload.Chat(sizeSmall, false), clients: 64,
			load: closed, passes: 3, rounds: 20, metrics: busy,
		},
		{
			name: "parts", about: "chat-1k with one part switched off, and with all of them: what each costs.",
			targets: []string{"headrace", "no-log", "no-auth", "no-cache", "no-breaker", "bare", "raw"}, base: "headrace",
			upstream: mock.Defaults, body: payload.Chat(sizeSmall, false), clients: 64,
			load: closed, passes: 2, rounds: 20, metrics: busy,
		},
		{
			name: "rate-500", about: "Chat completions of 1 KB at 500 requests a second; latency from the moment a request was due.",
			targets: references, peers: true, base: "raw", upstream: mock.Defaults, body: payload.Chat(sizeSmall, false), clients: 128,
			load: open(500, 3*time.Second), warm: closed, passes: 1, rounds: 3, metrics: paced,
		},
		{
			name: "rate-2000", about: "The same at 2,000 requests a second.",
			targets: references, peers: true, base: "raw", upstream: mock.Defaults, body: payload.Chat(sizeSmall, false), clients: 128,
			load: open(2000, 3*time.Second), warm: closed, passes: 1, rounds: 3, metrics: paced,
		},
		{
			name: "sse", about: "200 streams side by side, each of 50 chunks 20 ms apart.",
			targets: references, peers: true, base: "raw", upstream: with(func(s *mock.Settings) { s.Chunks = 50 }), body: payload.Chat(sizeSmall, true), clients: 200,
			load:   func(p *load.Pool) load.Result { return p.Streams(200 * time.Millisecond) },
			passes: 2, rounds: 8, metrics: []metric{chunkCPU, chunkRPS, first50, first99, held50, held99, resident, failures, foreign},
			chart: &chartOf{"Processor time of streaming", "× a bare fasthttp proxy", chunkCPU, true, "less"},
		},
		{
			name: "tail", about: "An upstream that takes 20 ms, and 200 ms for 5 % of the answers; 300 requests a second, with a race and without.",
			targets: []string{"headrace", "race"}, base: "headrace", upstream: tail, body: payload.Chat(sizeSmall, false), clients: 256,
			load: open(300, 10*time.Second), warm: open(300, 3*time.Second), passes: 1, rounds: 3, metrics: []metric{p50, p95, p99Ratio, calls, lag, failures, foreign},
			chart: &chartOf{"p99 behind an upstream with a slow tail", "ms", p99Ratio, false, "less"},
		},
		{
			name: "leave", about: "2,000 requests a second that take 200 ms upstream; every tenth client hangs up after 50 ms.",
			targets: []string{"raw", "headrace"}, peers: true, upstream: with(func(s *mock.Settings) { s.Latency, s.Watch = 200*time.Millisecond, true }),
			body: payload.Chat(sizeSmall, false), clients: 768, settle: 300 * time.Millisecond,
			load:   func(p *load.Pool) load.Result { return p.Leave(2000, 3*time.Second, 10, 50*time.Millisecond) },
			warm:   closed,
			passes: 1, rounds: 3, metrics: []metric{noticed50, noticed99, missed, left, cpu, failures, foreign},
		},
		{
			name: "idle", about: "10,000 streams that have had their first chunk and wait for the second.",
			targets: []string{"raw", "nethttp", "headrace"}, peers: true, upstream: with(func(s *mock.Settings) { s.Chunks, s.Pace = 2, 2*time.Minute }),
			body: payload.Chat(sizeSmall, true), clients: 10000, hold: true, settle: time.Second,
			load: (*load.Pool).Hold, warm: nothing,
			passes: 2, rounds: 1, metrics: []metric{perHeld, resident, failures},
		},
		{
			name: "upload", about: "Chat completions with an image of 10 MB; 4 connections.",
			targets: []string{"raw", "nethttp", "headrace"}, peers: true, base: "raw", upstream: mock.Defaults, body: payload.Image(sizeHuge), clients: 4,
			load:   func(p *load.Pool) load.Result { return p.Closed(time.Second) },
			passes: 1, rounds: 6, metrics: []metric{mbCPU, mbRate, peak, failures, foreign},
		},
	}
}
