package attempt

import (
	"context"
	"slices"
	"time"

	"github.com/headrace/headrace/pipeline"
)

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
	if ctx.Err() != nil || !after.fault.Retryable() || r.plan.Once && !Unsent(after.err) && !after.turnedAway() {
		return nil
	}
	r.mu.Lock()
	open := r.spare != nil && !slices.ContainsFunc(r.failed, (*try).final)
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
		r.drop(f)
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
			r.drop(t)
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
