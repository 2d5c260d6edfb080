package attempt

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A run is one call of Run. Two lanes work on it: the caller's goroutine, and
// at most one other, which the timer starts.
type run struct {
	e     *Engine
	ex    *pipeline.Exchange
	next  pipeline.Chain
	plan  Plan
	timer *time.Timer // runs hedges; stopped between runs
	wake  chan struct{}
	refs  atomic.Int32 // the caller, and the timer or what it started
	first try          // the attempt on ex itself

	// ctx is what branches derive from. It is kept only while the caller's
	// frame stands, for the lane that the timer starts.
	ctx context.Context

	mu      sync.Mutex
	spare   *pipeline.Exchange // what the next attempt runs on, as the request came; guarded by mu
	started int                // attempts begun; guarded by mu
	armed   bool               // the timer may start an attempt; guarded by mu
	pending bool               // the timer is set, or what it started not yet done; guarded by mu
	over    bool               // somebody has won, or nobody wants an answer; guarded by mu
	inline  *try               // runs on the caller's goroutine; guarded by mu
	beside  *try               // runs on the other; guarded by mu
	won     *try               // has won there, for the caller to deliver; guarded by mu
	failed  []*try             // for the caller to drop or report; guarded by mu
	asked   bool               // an upstream has been called; guarded by mu
}

// begin takes a run from the pool. The branch for a second attempt is made now,
// because stages may change the request as soon as the first one runs.
func (e *Engine) begin(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain, plan Plan) *run {
	r, ok := e.runs.Get().(*run)
	if !ok {
		r = &run{e: e, wake: make(chan struct{}, 1)}
	}
	r.ex, r.next, r.plan, r.ctx = ex, next, plan, ctx
	r.refs.Store(1)
	r.spare = ex.Fork(ctx)
	r.first = try{ex: ex, head: newHead()}
	r.first.head.begin(ctx)
	r.started, r.inline = 1, &r.first
	if !plan.Once {
		r.arm()
	}
	return r
}

// arm sets the timer, unless hedging is off or an earlier hedge is still about.
// Nobody else may hold the run, or mu must be held.
func (r *run) arm() {
	if r.plan.After < 0 || r.pending || r.spare == nil {
		return
	}
	r.armed, r.pending = true, true
	r.refs.Add(1)
	if r.timer == nil {
		r.timer = time.AfterFunc(r.plan.After, r.hedge)
		return
	}
	r.timer.Reset(r.plan.After)
}

// disarm stops the timer. mu must be held.
func (r *run) disarm() {
	r.armed = false
	if r.pending && r.beside == nil && r.timer.Stop() {
		r.pending = false
		r.refs.Add(-1) // never the last: the caller has one
	}
}

// end is the caller's farewell: nothing starts any more, and what still runs is
// cancelled.
func (r *run) end() {
	r.mu.Lock()
	r.over = true
	r.disarm()
	if r.beside != nil {
		r.beside.cancel()
	}
	spare := r.spare
	r.spare = nil
	r.mu.Unlock()
	if spare != nil {
		spare.Release()
	}
	r.unref()
}

// unref recycles the run with its last reference.
func (r *run) unref() {
	if r.refs.Add(-1) != 0 {
		return
	}
	select {
	case <-r.wake:
	default:
	}
	r.ex, r.next, r.ctx, r.first = nil, nil, nil, try{}
	r.started, r.armed, r.pending, r.over, r.asked = 0, false, false, false, false
	r.inline, r.beside, r.won, r.failed = nil, nil, nil, nil
	r.e.runs.Put(r)
}

// take begins the next attempt, on a branch, and prepares the one after it. It
// returns nil when there is none or the run is over.
func (r *run) take(why Why) *try {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.spare == nil || why == Hedge && (r.inline == nil || !r.armed) {
		return nil
	}
	t := &try{ex: r.spare, head: newHead(), index: r.started, why: why}
	r.spare = nil
	r.started++
	if r.started < r.plan.Attempts {
		r.spare = t.ex.Fork(r.ctx)
	}
	if why == Hedge {
		r.beside = t
		r.e.lanes.Add(1)
		return t
	}
	r.inline = t
	if !r.plan.Once {
		r.arm()
	}
	return t
}

// fail leaves a failed attempt to the caller's lane, which alone may touch the
// caller's exchange. mu must be held.
func (r *run) fail(t *try) {
	r.failed = append(r.failed, t)
	r.asked = r.asked || !unasked(t.err)
}

// drop has t let go. A panic of its stream then concerns nobody who still has an answer to come.
func (r *run) drop(t *try) {
	defer func() {
		if p := recover(); p != nil {
			r.e.panicked(p)
		}
	}()
	t.drop()
}

// lose ends an attempt that another has beaten.
func (r *run) lose(t *try) {
	o := t.outcome(r.plan.Class)
	cause := t.scope().Err()
	o.Lost = cause == nil || cause == pipeline.ErrLost
	r.drop(t)
	r.e.policy.Ended(o)
}
