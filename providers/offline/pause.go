package offline

import (
	"context"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A pause waits, and stops waiting when the context that it is attached to ends.
// It is made for reuse and does not allocate.
type pause struct {
	hook  pipeline.Hook
	timer *time.Timer
	ended chan struct{} // holds one
	over  bool          // the context has ended, and sleep has seen it
	cause error
}

// attach makes ctx the one whose end cuts sleep short. It returns the cause if
// ctx has ended already.
func (p *pause) attach(ctx context.Context) error {
	if p.ended == nil {
		p.ended = make(chan struct{}, 1)
	}
	if !p.hook.OnDone(ctx, p) {
		return pipeline.Cause(ctx)
	}
	return nil
}

// Cancel implements pipeline.Canceler.
func (p *pause) Cancel(cause error) {
	p.cause = cause
	select {
	case p.ended <- struct{}{}:
	default:
	}
}

// sleep waits for d and returns nil, or the cause of the context's end.
func (p *pause) sleep(d time.Duration) error {
	if p.over {
		return p.cause
	}
	if d <= 0 {
		select {
		case <-p.ended:
			p.over = true
			return p.cause
		default:
			return nil
		}
	}
	if p.timer == nil {
		p.timer = time.NewTimer(d)
	} else {
		p.timer.Reset(d)
	}
	select {
	case <-p.timer.C:
		return nil
	case <-p.ended:
		p.timer.Stop()
		p.over = true
		return p.cause
	}
}

// detach undoes attach and makes the pause fit for another context.
func (p *pause) detach() {
	p.hook.Detach()
	select {
	case <-p.ended:
	default:
	}
	p.over, p.cause = false, nil
}
