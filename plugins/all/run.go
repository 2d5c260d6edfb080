package all

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
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
			return pipeline.Cause(ctx)
		}
	}
	// Branches end with the request, so it may be their common cause.
	return pipeline.Cause(ctx)
}

// collect adds the branches' new passages to ex in the order written, and
// reports the others.
func (r *run) collect(ex *pipeline.Exchange, h *handler) {
	had := ex.Passages
	for i := range r.branches {
		switch b := &r.branches[i]; {
		case !b.over:
			h.late.Inc()
			h.warn("branch is late; going on without it", "branch", i+1, "timeout", h.timeout)
		case b.err != nil:
			h.failed.Inc()
			h.warn("branch failed; going on without it", "branch", i+1, "err", b.err, "stack", string(b.panic))
		default:
			h.ok.Inc()
			ex.Passages = appendNew(ex.Passages, had, b.ex.Passages)
		}
	}
}

// appendNew appends to dst the passages of found that are not among had. A
// branch starts with those, and may have reordered or dropped some.
func appendNew(dst, had, found []pipeline.Passage) []pipeline.Passage {
next:
	for _, p := range found {
		for i := range had {
			if had[i].ID == p.ID && had[i].Source == p.Source && had[i].Text == p.Text {
				continue next
			}
		}
		dst = append(dst, p)
	}
	return dst
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
