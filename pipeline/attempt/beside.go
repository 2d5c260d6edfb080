package attempt

import "github.com/headrace/headrace/pipeline"

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
	if t.fault == pipeline.NoFault || t.final() && r.inline == nil {
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
