package race

import "sync"

// hedges is how many requests may be hedged: a bucket of tokens that each
// request fills by a share of one and each hedge empties by one. A hedge that
// does not win was for nothing; when most are, because everything is slow, the
// share shrinks to a fiftieth, which is enough to notice when hedging helps
// again.
type hedges struct {
	share float64

	mu     sync.Mutex
	tokens float64 // guarded by mu
	worth  float64 // moving share of hedges that won; guarded by mu
}

const (
	hedgeBurst = 30
	// worthwhile is the share of hedges that must win for the full budget.
	worthwhile = 0.25
	trickle    = 0.02
	memory     = 1.0 / 16 // weight of the latest hedge
)

func newHedges(share float64) *hedges {
	return &hedges{share: share, tokens: min(5, 100*share), worth: 1}
}

// request counts a request that could be hedged.
func (h *hedges) request() {
	h.mu.Lock()
	h.tokens = min(hedgeBurst, h.tokens+h.share*min(1, max(trickle, h.worth/worthwhile)))
	h.mu.Unlock()
}

// take takes a token, if there is one.
func (h *hedges) take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tokens < 1 {
		return false
	}
	h.tokens--
	return true
}

// ended notes whether a hedge won.
func (h *hedges) ended(won bool) {
	h.mu.Lock()
	h.worth -= memory * h.worth
	if won {
		h.worth += memory
	}
	if h.worth < worthwhile {
		// What was saved up while hedging helped is not for the time when it
		// does not.
		h.tokens = min(h.tokens, 1)
	}
	h.mu.Unlock()
}

// failovers is how many requests may be sent on after a failure. It follows
// gRPC's retry throttling: ten tokens, a failover that fails takes one, and at
// half of them failovers stop. What differs is what brings them back. gRPC
// counts any success; but with one target dead for good every request fails
// once and must still be sent on, so here a failover that answers counts. And
// once stopped, every twenty-fifth request is sent on as a probe, one at a time;
// the first that answers ends the stop. When everything fails, upstreams get
// 1.04 attempts for each request, and those under way when it began.
type failovers struct {
	mu      sync.Mutex
	tokens  int     // guarded by mu
	stopped bool    // guarded by mu
	probe   float64 // what requests have saved for the next one; guarded by mu
	running int     // guarded by mu
}

const (
	failoverTokens = 10
	failoverStop   = failoverTokens / 2
	failoverProbe  = 0.04
)

func newFailovers() *failovers { return &failovers{tokens: failoverTokens} }

// request counts a request that could be sent on.
func (f *failovers) request() {
	f.mu.Lock()
	if f.stopped {
		f.probe = min(1, f.probe+failoverProbe)
	}
	f.mu.Unlock()
}

// take reports whether a failover may start. A free one always may: no upstream
// has been called for the request yet.
func (f *failovers) take(free bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped && !free {
		if f.running > 0 || f.probe < 1 {
			return false
		}
		f.probe = 0
	}
	f.running++
	return true
}

// ended notes how a failover that take allowed went. One that was cut short
// has neither answered nor failed.
func (f *failovers) ended(answered, failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	switch {
	case answered:
		f.tokens = min(failoverTokens, max(f.tokens+1, failoverStop+3))
		f.stopped = false
	case failed:
		f.tokens = max(0, f.tokens-1)
		f.stopped = f.tokens <= failoverStop
	}
}
