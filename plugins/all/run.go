package all

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/rag"
)

// A run is one request's branches. Its owner is the goroutine that called
// start, until leave.
type run struct {
	branches []branch
	ended    chan int // takes the index of each branch once
	open     int      // branches whose end has not been received
}

type branch struct {
	ex    *pipeline.Exchange
	err   error // once over
	over  bool
	panic []byte // where it was, if it panicked
}

// start runs every branch in a goroutine of its own. Branches end with ctx.
func start(ctx context.Context, ex *pipeline.Exchange, chains []pipeline.Chain) *run {
	n := len(chains)
	r := &run{branches: make([]branch, n), ended: make(chan int, n), open: n}
	for i := range r.branches {
		b := ex.Fork(ctx)
		// An upload can be read once, and not by several.
		b.Request.Upload = nil
		if r := b.Retrieval; r != nil {
			// A branch that appends must not write where another does.
			r.Seeds, r.Degraded, r.Stages = slices.Clip(r.Seeds), slices.Clip(r.Degraded), slices.Clip(r.Stages)
			r.Graph.Entities, r.Graph.Relations = slices.Clip(r.Graph.Entities), slices.Clip(r.Graph.Relations)
		}
		r.branches[i].ex = b
	}
	for i, c := range chains {
		go func() {
			b := &r.branches[i]
			defer func() {
				if v := recover(); v != nil {
					b.err = &pipeline.Error{
						Status: 500, Code: "internal_error", Fault: pipeline.GatewayFault,
						Err: fmt.Errorf("branch %d panicked: %v", i+1, v),
					}
					b.panic = debug.Stack()
				}
				r.ended <- i
			}()
			b.err = c.Handle(b.ex.Context(), b.ex)
		}()
	}
	return r
}

// wait returns when all branches are over, when the time is up, or, with an
// error, when the request is over. If all are required it returns the first
// failure at once, and being late is one.
func (r *run) wait(ctx context.Context, timeout <-chan time.Time, require bool) error {
	for r.open > 0 {
		select {
		case i := <-r.ended:
			b := &r.branches[i]
			b.over = true
			r.open--
			if require && b.err != nil {
				return b.err
			}
		case <-timeout:
			if require {
				return errLate
			}
			return nil
		case <-ctx.Done():
			return over(ctx, require)
		}
	}
	// Branches end with the request, so it may be their common cause.
	return over(ctx, require)
}

// over is why the request is over, if it is. The end of the time that all stages have
// together is no reason to give up what was found until then, unless all is required.
func over(ctx context.Context, require bool) error {
	if cause := pipeline.Cause(ctx); cause != context.DeadlineExceeded && cause != pipeline.ErrHurried || require {
		return cause
	}
	return nil
}

// collect adds what the branches found to ex, in the order written, and
// reports those that are left out.
func (r *run) collect(ex *pipeline.Exchange, h *handler) {
	j := newJoint(ex)
	for i := range r.branches {
		switch b := &r.branches[i]; {
		case !b.over:
			h.late.Inc()
			h.log.Warn("branch is late; going on without it", "branch", i+1, "timeout", h.timeout)
			j.degraded = append(j.degraded, "all:timeout")
		case b.err != nil:
			h.failed.Inc()
			h.log.Warn("branch failed; going on without it", "branch", i+1, "error", b.err, "stack", string(b.panic))
			j.degraded = append(j.degraded, "all:error")
		default:
			h.ok.Inc()
			j.add(b.ex)
		}
	}
	j.finish()
}

// wanted is the refusal of a request that cannot do without retrieval, if every branch has
// failed or is late.
func (r *run) wanted(ex *pipeline.Exchange) error {
	asked := ex.Retrieval
	if asked == nil || asked.Options == nil || asked.Options.Switch != pipeline.RetrievalRequired || asked.Off {
		return nil
	}
	var failed []error
	for i := range r.branches {
		switch b := &r.branches[i]; {
		case !b.over:
			failed = append(failed, errStopped)
		case b.err != nil:
			failed = append(failed, b.err)
		default:
			return nil
		}
	}
	return rag.Unavailable(errors.Join(failed...))
}

// leave releases the branches: those that are over at once, the others when
// they have stopped, by a goroutine that running counts.
func (r *run) leave(running *sync.WaitGroup) {
	for i := range r.branches {
		if b := &r.branches[i]; b.over {
			b.ex.Release()
		} else {
			b.ex.Scope().Cancel(errStopped)
		}
	}
	if r.open == 0 {
		return
	}
	running.Go(func() {
		for range r.open {
			r.branches[<-r.ended].ex.Release()
		}
	})
}

// errStopped is why a branch ends that is not waited for any more. It counts
// as a timeout: the branch took longer than it may.
var errStopped = fmt.Errorf("the branch took too long: %w", context.DeadlineExceeded)
