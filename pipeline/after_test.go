package pipeline

import (
	"context"
	"testing"
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
