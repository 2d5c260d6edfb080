package rag

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
)

const (
	// grace is how much longer than its deadline a leg is listened to: a store
	// that ends in time hands over what it has.
	grace = 10 * time.Millisecond
	// retryAfter is when a client may try again what needs a store that fails.
	retryAfter = 2 * time.Second
)

// Legs keeps account of calls to stores that run beside each other. Its owner
// closes it, which waits for those that nobody waits for any more.
type Legs struct{ running sync.WaitGroup }

// Close waits for the calls that are still running. None may be started
// meanwhile.
func (l *Legs) Close() error {
	l.running.Wait()
	return nil
}

// A Leg is one call that runs.
type Leg[T any] struct {
	done  chan struct{}
	value T
	err   error
	took  time.Duration
}

// Start runs f in a goroutine of l. A panic of f is its error.
func Start[T any](l *Legs, f func() (T, error)) *Leg[T] {
	g := &Leg[T]{done: make(chan struct{})}
	began := time.Now()
	l.running.Go(func() {
		defer close(g.done)
		defer func() {
			if v := recover(); v != nil {
				g.err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
			g.took = time.Since(began)
		}()
		g.value, g.err = f()
	})
	return g
}

// whole is f, with an error where its time was up before it returned: stores return what
// they have then, which may be a part, and no error.
func whole[T any](ctx context.Context, f func() (T, error)) func() (T, error) {
	return func() (T, error) {
		v, err := f()
		if err == nil && ctx.Err() != nil {
			err = pipeline.Cause(ctx)
		}
		return v, err
	}
}

// Wait returns what the call returned, and how long it took. It gives up soon
// after ctx has ended, with the cause.
func (g *Leg[T]) Wait(ctx context.Context) (value T, took time.Duration, err error) {
	select {
	case <-g.done:
		return g.value, g.took, g.err
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-g.done:
		return g.value, g.took, g.err
	case <-late.C:
		return value, 0, pipeline.Cause(ctx)
	}
}

// Over is why a stage ends its request: nobody waits for it any more. The end of
// the time that all stages have together is no such reason: what was found until
// then is the answer, and each stage that is late is told of.
func Over(ctx context.Context) error {
	if cause := pipeline.Cause(ctx); cause != context.DeadlineExceeded && cause != pipeline.ErrHurried {
		return cause
	}
	return nil
}

// Reason says in one word why a stage is left out: timeout or error. ctx is the
// one that bounds the stage.
func Reason(ctx context.Context, err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) ||
		pipeline.FaultOfError(err) == pipeline.TimeoutFault {
		return "timeout"
	}
	return "error"
}

// hidden keeps an error for errors.Is without showing its text, which may hold
// the address of a store.
type hidden struct{ err error }

func (hidden) Error() string   { return "" }
func (h hidden) Unwrap() error { return h.err }
