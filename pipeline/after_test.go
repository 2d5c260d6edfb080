package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A context derived from a scope learns why it ended, though the scope is
// recycled at once.
func TestDerivedContextOutlivesScope(t *testing.T) {
	for range 2000 {
		var s Scope
		s.Begin(context.Background())
		cancelled, stop := context.WithCancel(&s)
		forgotten, stop2 := context.WithCancel(cancelled)
		s.Cancel(ErrLost)
		s.End()
		if cancelled.Err() != ErrLost || forgotten.Err() != ErrLost {
			t.Fatalf("got %v, %v", cancelled.Err(), forgotten.Err())
		}
		stop()
		stop2()
	}
}

// A derived context whose time is up while it is cancelled lets go of the scope twice at
// once, and of a scope that may have begun another life.
func TestDerivedContextEndsTwice(t *testing.T) {
	var s Scope
	for i := range 2000 {
		s.Begin(context.Background())
		ctx, stop := context.WithTimeout(&s, time.Microsecond*time.Duration(i%50))
		if i%2 == 0 {
			<-ctx.Done()
		}
		stop()
		if i%3 == 0 {
			s.Cancel(ErrLost)
		}
		s.End()
	}
	var again *after
	f := func() { t.Error("a stopped function ran") }
	for range 200 {
		s.Begin(context.Background())
		again = &after{scope: &s, f: f}
		again.hook.OnDone(&s, again)
		var calls sync.WaitGroup
		var stopped atomic.Int32
		for range 4 {
			calls.Go(func() {
				if again.stop() {
					stopped.Add(1)
				}
			})
		}
		calls.Wait()
		if s.first != nil || stopped.Load() != 1 {
			t.Fatalf("still attached: %v, stopped by %d", s.first != nil, stopped.Load())
		}
		s.End()
	}
}
