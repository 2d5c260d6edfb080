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

// serve is the caller's lane.
func (r *run) serve(ctx context.Context) error {
	t := &r.first
	for {
		r.attempt(t)
		r.mu.Lock()
		r.inline = nil
		if won := r.won; won != nil {
			r.mu.Unlock()
			r.lose(t)
			return r.deliver(won)
		}
		if t.final() {
			r.over = true
			r.mu.Unlock()
			return r.deliver(t)
		}
		r.fail(t)
		r.mu.Unlock()
		r.e.policy.Ended(t.outcome(r.plan.Class))
		if won := r.others(ctx); won != nil {
			return r.deliver(won)
		}
		if t = r.failover(ctx, t); t == nil {
			return r.giveUp(ctx)
		}
	}
}

// others waits for the attempt that runs beside a failed one, and returns it if
// it has won.
func (r *run) others(ctx context.Context) *try {
	for {
		r.mu.Lock()
		won, busy := r.won, r.beside != nil
		if !busy {
			r.disarm()
		}
		r.mu.Unlock()
		if won != nil || !busy {
			return won
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			r.mu.Lock()
			won = r.won
			r.over = true
			r.mu.Unlock()
			return won
		}
	}
}

// failover begins the attempt that follows a failed one, or returns nil.
func (r *run) failover(ctx context.Context, after *try) *try {
	if ctx.Err() != nil || !after.fault.Retryable() || r.plan.Once && !Unsent(after.err) {
		return nil
	}
	r.mu.Lock()
	open := r.spare != nil
	ask := Ask{Index: r.started, Class: r.plan.Class, Why: Failover, Err: after.err, Fault: after.fault, Unasked: !r.asked}
	r.mu.Unlock()
	if !open {
		return nil
	}
	pause, ok := r.e.policy.Allow(ask)
	if !ok || pause > 0 && !sleep(ctx, pause) {
		return nil
	}
	return r.take(Failover)
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

// hedge is the other lane: the timer has run out. When its attempt fails while
// the caller's still runs, the next one follows at once.
func (r *run) hedge() {
	defer r.unref()
	for r.hedging() {
		if _, ok := r.e.policy.Allow(r.askHedge()); !ok {
			break
		}
		t := r.take(Hedge)
		if t == nil || !r.runBeside(t) {
			break
		}
	}
	r.mu.Lock()
	r.pending = false
	r.mu.Unlock()
}

// hedging reports whether the caller's attempt still wants company.
func (r *run) hedging() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.armed && !r.over && r.inline != nil && r.spare != nil
}

func (r *run) askHedge() Ask {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Ask{Index: r.started, Class: r.plan.Class, Why: Hedge}
}

// runBeside runs t and reports whether another may follow it. Once mu is free,
// t belongs to the caller's lane, unless it lost.
func (r *run) runBeside(t *try) bool {
	defer r.e.lanes.Done()
	r.attempt(t)
	r.mu.Lock()
	r.beside = nil
	if r.over {
		r.mu.Unlock()
		r.lose(t)
		return false
	}
	if t.final() {
		r.won, r.over = t, true
		if r.inline != nil {
			r.inline.cancel()
		}
		r.mu.Unlock()
		r.notify()
		return false
	}
	outcome, again := t.outcome(r.plan.Class), t.fault.Retryable()
	r.fail(t)
	r.mu.Unlock()
	r.e.policy.Ended(outcome)
	r.notify()
	return again
}

// notify wakes the caller's lane, should it wait.
func (r *run) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// fail leaves a failed attempt to the caller's lane, which alone may touch the
// caller's exchange. mu must be held.
func (r *run) fail(t *try) {
	r.failed = append(r.failed, t)
	r.asked = r.asked || !Unasked(t.err)
}

// lose ends an attempt that another has beaten.
func (r *run) lose(t *try) {
	o := t.outcome(r.plan.Class)
	cause := t.scope().Err()
	o.Lost = cause == nil || cause == pipeline.ErrLost
	t.drop()
	r.e.policy.Ended(o)
}

// finish ends the run and returns the attempts that have failed.
func (r *run) finish() []*try {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	failed := r.failed
	r.failed = nil
	return failed
}

// deliver makes t's answer that of the caller's exchange.
func (r *run) deliver(t *try) error {
	o := t.outcome(r.plan.Class)
	o.Won = true
	for _, f := range r.finish() {
		f.drop()
	}
	err := t.give(r.ex)
	r.e.policy.Ended(o)
	return err
}

// giveUp reports the best of the failures, or why nobody waits any more.
func (r *run) giveUp(ctx context.Context) error {
	failed := r.finish()
	best := failed[0]
	for _, t := range failed[1:] {
		if t.outranks(best) {
			best = t
		}
	}
	cause := pipeline.Cause(ctx)
	for _, t := range failed {
		if t != best || cause != nil {
			t.drop()
		}
	}
	if cause != nil {
		return cause
	}
	return best.give(r.ex)
}

// sleep waits for d and reports whether ctx is still alive then.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
