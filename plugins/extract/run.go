package extract

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/graphjson"
)

// A result is what came of asking one model.
type result struct {
	index    int
	graph    *graphjson.Graph // nil: nothing acceptable
	provider string           // who made the graph
	target   *pipeline.Target
	attempts []attempt
	wait     time.Duration // until the model may be asked again; zero: it has not said
}

// An attempt is one call to a model, as it is reported.
type attempt struct {
	Provider string `json:"provider"`
	Attempt  int    `json:"attempt"`
	Repair   bool   `json:"repair"`
	// Outcome is accepted, invalid, too_small, error or cancelled.
	Outcome string `json:"outcome"`
	Message string `json:"message,omitempty"`
	Millis  int64  `json:"ms"`
}

// A race is one request on its way. It belongs to the goroutine of the request;
// models are asked in goroutines of their own, which talk to it by results.
type race struct {
	h       *handler
	q       *query
	ex      *pipeline.Exchange
	next    pipeline.Chain
	results chan result
	running map[int]time.Time // when the models began that are being asked
	started int
}

// run asks the models as the mode says. It returns the first acceptable graph,
// or nil if there is none, and all that was tried. A result without a graph says when one
// of the models may be asked again, the first that may.
func (h *handler) run(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain, q *query) (*result, []attempt, error) {
	r := &race{
		h: h, q: q, ex: ex, next: next,
		results: make(chan result, len(q.chain)), // nobody who is late has to wait
		running: map[int]time.Time{},
	}
	// A branch belongs to the goroutine that releases it, which may be over
	// already: it is ended through the context that it was made with.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(pipeline.ErrLost)
	attempts := []attempt{}
	none := &result{}
	if q.maxAttempts < 1 {
		return none, attempts, nil
	}
	timer := time.NewTimer(h.After)
	defer timer.Stop()
	for {
		r.start(ctx)
		if len(r.running) == 0 {
			// Those asked may all have ended because the request has.
			if ctx.Err() != nil {
				return nil, nil, pipeline.Cause(ctx)
			}
			return none, attempts, nil
		}
		select {
		case res := <-r.results:
			delete(r.running, res.index)
			attempts = append(attempts, res.attempts...)
			if res.graph != nil {
				ex.Target = res.target
				return &res, append(attempts, r.cancelled()...), nil
			}
			if res.wait > 0 && (none.wait == 0 || res.wait < none.wait) {
				none.wait = res.wait
			}
			if q.mode == "hedge" {
				r.one(ctx)
			}
		case <-timer.C:
			if q.mode == "hedge" && len(r.running) < h.AtOnce {
				r.one(ctx)
			}
			timer.Reset(h.After)
		case <-ctx.Done():
			return nil, nil, pipeline.Cause(ctx)
		}
	}
}

// start asks those whose turn it is: with mode race as many as may run at once,
// else one if nobody is being asked.
func (r *race) start(ctx context.Context) {
	most := 1
	if r.q.mode == "race" {
		most = r.h.AtOnce
	}
	for len(r.running) < most && r.one(ctx) {
	}
}

// one asks the next model. It reports false if there is none.
func (r *race) one(ctx context.Context) bool {
	if r.started == len(r.q.chain) {
		return false
	}
	i := r.started
	r.started++
	branch := r.ex.Fork(ctx)
	r.running[i] = time.Now()
	alias := r.q.chain[i]
	r.h.lanes.Go(func() {
		res := result{index: i}
		defer branch.Release()
		defer func() {
			if p := recover(); p != nil {
				r.h.log.Error("asking a model panicked", "model", alias, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				res = result{index: i, attempts: []attempt{{Provider: alias, Attempt: 1, Outcome: "error", Message: "internal error"}}}
			}
			r.results <- res
		}()
		p := provider{h: r.h, q: r.q, alias: alias, branch: branch, next: r.next}
		p.ask(&res)
	})
	return true
}

// cancelled reports the models that are still being asked.
func (r *race) cancelled() (out []attempt) {
	for i := range r.started {
		if began, ok := r.running[i]; ok {
			out = append(out, attempt{Provider: r.q.chain[i], Attempt: 1, Outcome: "cancelled", Millis: time.Since(began).Milliseconds()})
		}
	}
	return out
}
