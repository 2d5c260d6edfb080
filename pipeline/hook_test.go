package pipeline

import (
	"context"
	"testing"
)

// counter is not safe for concurrent use: the race detector sees a Cancel that
// runs beside, or after, Detach.
type counter struct {
	hook  Hook
	calls int
}

func (c *counter) Cancel(error) { c.calls++ }

func TestDetachWaitsForCancel(t *testing.T) {
	f := func(ctx context.Context, cancel func()) {
		t.Helper()
		var c counter
		attached := c.hook.OnDone(ctx, &c)
		done := make(chan struct{})
		go func() { defer close(done); cancel() }()
		c.hook.Detach()
		c.calls++
		<-done
		if c.calls > 2 || !attached {
			t.Fatalf("cancelled %d times, attached: %v", c.calls-1, attached)
		}
	}
	for range 2000 {
		var s Scope
		s.Begin(context.Background())
		f(&s, func() { s.Cancel(ErrLost) })
		s.End()
		ctx, cancel := context.WithCancel(context.Background())
		f(ctx, cancel)
	}
}

func TestScopeEndsWithItsParentOnce(t *testing.T) {
	var parent, child Scope
	parent.Begin(context.Background())
	for range 3 {
		child.Begin(&parent)
		if err := child.Err(); err != nil {
			t.Fatalf("a scope that has begun anew: %v", err)
		}
		child.End()
	}
	child.Begin(&parent)
	parent.Cancel(ErrClientGone)
	if child.Err() != ErrClientGone {
		t.Fatalf("child of a cancelled scope: %v", child.Err())
	}
	child.End()
	if child.Begin(&parent); child.Err() != ErrClientGone {
		t.Fatalf("child of a scope that had ended before: %v", child.Err())
	}
	child.End()
	parent.End()
}
