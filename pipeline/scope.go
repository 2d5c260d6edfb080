package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Why a scope ended. Each but ErrHurried is a context.Canceled to errors.Is.
var (
	// ErrClientGone means that the client has closed its connection.
	ErrClientGone = ended("the client has left")
	// ErrLost means that another branch has answered.
	ErrLost = ended("another branch has answered")
	// ErrShutdown means that the server stopped waiting for running answers.
	ErrShutdown = ended("the server is shutting down")
	// ErrDone means that the exchange is over.
	ErrDone = ended("the exchange is over")
	// ErrHurried means that the time is up that the client has set, which says nothing
	// about whom it was spent on. It is a context.DeadlineExceeded to errors.Is.
	ErrHurried error = &ending{"the time is up that the request has set", context.DeadlineExceeded}
)

type ending struct {
	why string
	is  error
}

func ended(why string) error           { return &ending{why, context.Canceled} }
func (e *ending) Error() string        { return e.why }
func (e *ending) Is(target error) bool { return target == e.is }

// A Scope is a context that can be pooled, nested and cancelled without
// allocating. Its Err is the cause itself, such as ErrClientGone, so that a
// cause survives contexts derived from it.
//
// Whoever must act when it ends attaches a Hook; Done and the functions of
// package context work too, at the usual cost.
type Scope struct {
	mu     sync.Mutex
	err    error         // guarded by mu; set once
	done   chan struct{} // guarded by mu; made on first use
	first  *Hook         // guarded by mu
	parent Hook          // ends this scope with its parent

	running sync.WaitGroup // functions that AfterFunc has started
}

// Canceler is told that a scope has ended.
type Canceler interface {
	// Cancel must return at once, and not use the scope that calls it.
	Cancel(cause error)
}

// A Hook is one attachment to a scope. It lives inside the attached object, so
// attaching allocates nothing. The zero value is ready.
type Hook struct {
	to         Canceler
	scope      *Scope      // written by OnDone and Detach only
	attached   bool        // guarded by scope.mu, as are the links
	prev, next *Hook       // neighbours while attached
	stop       func() bool // when attached to a context that is no Scope
}

// OnDone attaches h to ctx: to.Cancel is called once if ctx ends before h is
// detached. It reports false, and attaches nothing, if ctx has ended already.
func (h *Hook) OnDone(ctx context.Context, to Canceler) bool {
	h.to = to
	s, ok := ctx.(*Scope)
	if !ok {
		if ctx.Err() != nil {
			return false
		}
		if ctx.Done() != nil {
			h.stop = afterFunc(ctx, to)
		}
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	h.scope, h.attached, h.prev, h.next = s, true, nil, s.first
	if s.first != nil {
		s.first.prev = h
	}
	s.first = h
	return true
}

// Detach undoes OnDone. Once it has returned, Cancel neither runs nor will run
// because of h. Detaching a hook that is not attached does nothing.
func (h *Hook) Detach() {
	if stop := h.stop; stop != nil {
		h.stop = nil
		stop()
		return
	}
	s := h.scope
	if s == nil {
		return
	}
	h.scope = nil
	s.mu.Lock() // waits for a Cancel that is running
	defer s.mu.Unlock()
	if !h.attached {
		return
	}
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		s.first = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	}
	h.attached, h.prev, h.next = false, nil, nil
}

// afterFunc is context.AfterFunc whose stop waits for a call that has begun,
// so that the canceler may be reused afterwards.
func afterFunc(ctx context.Context, to Canceler) func() bool {
	var mu sync.Mutex
	stopped := false
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			to.Cancel(Cause(ctx))
		}
	})
	return func() bool {
		ok := stop()
		mu.Lock()
		stopped = true
		mu.Unlock()
		return ok
	}
}

// Cause is why ctx has ended, or nil.
func Cause(ctx context.Context) error {
	if s, ok := ctx.(*Scope); ok {
		return s.Err()
	}
	return context.Cause(ctx)
}

// Gone reports whether err, or the end of ctx, says that nobody wants the
// answer any more: the client left or waits no longer, or another branch won.
func Gone(ctx context.Context, err error) bool {
	if errors.Is(err, ErrClientGone) || errors.Is(err, ErrLost) || errors.Is(err, ErrHurried) {
		return true
	}
	cause := Cause(ctx)
	return cause == ErrClientGone || cause == ErrLost || cause == ErrHurried
}

// Begin makes the scope ready for a new life, as a child of ctx. A scope that
// belongs to an exchange has begun already.
func (s *Scope) Begin(ctx context.Context) {
	if ctx == nil || ctx == context.Background() {
		return
	}
	if !s.parent.OnDone(ctx, s) {
		s.Cancel(Cause(ctx))
	}
}

// End detaches the scope from its parent and makes it fit for reuse. What
// still derives from it ends with ErrDone. Nobody may use the scope meanwhile.
func (s *Scope) End() {
	s.parent.Detach()
	s.Cancel(ErrDone)
	// A derived context that has not ended yet is about to ask for Err, and
	// package context panics when that is nil.
	s.running.Wait()
	s.mu.Lock()
	s.err, s.done, s.first = nil, nil, nil
	s.mu.Unlock()
}

// Cancel ends the scope, and with it every scope and context derived from it.
// Only the first cause counts.
func (s *Scope) Cancel(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = cause
	if s.done != nil {
		close(s.done)
	}
	// Cancelling under the lock is what makes Detach wait for it.
	for h := s.first; h != nil; {
		next := h.next
		h.attached, h.prev, h.next = false, nil, nil
		h.to.Cancel(cause)
		h = next
	}
	s.first = nil
}

// Err implements context.Context. It returns the cause.
func (s *Scope) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Done implements context.Context.
func (s *Scope) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.err != nil {
			close(s.done)
		}
	}
	return s.done
}

// Deadline implements context.Context. A scope has none.
func (s *Scope) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context. A scope carries no data.
func (s *Scope) Value(any) any { return nil }

// AfterFunc runs f in its own goroutine when the scope ends. Package context
// uses it to derive from a scope without a goroutine that waits.
func (s *Scope) AfterFunc(f func()) (stop func() bool) {
	a := &after{scope: s, f: f}
	if !a.hook.OnDone(s, a) {
		a.Cancel(nil)
	}
	return a.stop
}

type after struct {
	scope *Scope
	hook  Hook
	once  sync.Once
	f     func()
}

func (a *after) Cancel(error) { a.once.Do(func() { a.scope.running.Go(a.f) }) }

// stop may be called by several at once: a context derived with a deadline does so when its
// time is up, and when it is cancelled. The one that keeps f from running detaches; if nobody
// does, there is nothing attached any more.
func (a *after) stop() bool {
	stopped := false
	a.once.Do(func() { stopped = true })
	if stopped {
		a.hook.Detach() // not within once, which Cancel waits for with the lock that this takes
	}
	return stopped
}
