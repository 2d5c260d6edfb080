package attempt

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A try is one attempt. It belongs to the lane that runs it; afterwards to
// whoever the run's fields name.
type try struct {
	ex    *pipeline.Exchange // the caller's, for the first; a branch for any other
	head  *head
	index int
	why   Why

	began time.Time
	took  time.Duration
	err   error
	fault pipeline.Fault
}

var errPanic = errors.New("a stage failed in an unforeseen way")

// attempt runs t to its first useful event, or its failure.
func (r *run) attempt(t *try) {
	t.began = time.Now()
	t.err = r.answer(t)
	t.took = time.Since(t.began)
	t.fault = pipeline.FaultOf(t.ex, t.err)
	if t.err != nil && t.fault == pipeline.NoFault {
		t.fault = pipeline.GatewayFault // an error that does not say what it is
	}
}

// answer runs the chain and looks at what it answered.
func (r *run) answer(t *try) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.e.panicked(p)
			err = &pipeline.Error{Status: 500, Code: "internal_error", Fault: pipeline.GatewayFault, Err: errPanic}
		}
	}()
	chain := r.e.policy.Chain(t.ex, r.next, t.index)
	if err := chain.Handle(t.scope(), t.ex); err != nil {
		return err
	}
	if err := t.head.await(t.ex); err != nil {
		if err == errStream {
			r.e.log.Error("a stream returned empty frames, or a frame together with io.EOF; neither may be")
		}
		t.ex.Response.CloseBody()
		return err
	}
	return nil
}

func (e *Engine) panicked(p any) {
	e.log.Error("panic in an attempt", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// scope is what the attempt's context is: the branch's own, or, for the first,
// one that lives as long as its answer.
func (t *try) scope() *pipeline.Scope {
	if t.head.scoped {
		return &t.head.scope
	}
	return t.ex.Scope()
}

// cancel tells a running attempt that another has won.
func (t *try) cancel() { t.scope().Cancel(pipeline.ErrLost) }

// final reports whether no other attempt could do better.
func (t *try) final() bool {
	return t.fault == pipeline.NoFault || t.fault == pipeline.CallerFault || t.fault == pipeline.PolicyFault
}

func (t *try) outcome(class int) Outcome {
	return Outcome{Index: t.index, Class: class, Why: t.why, Target: t.ex.Target, Began: t.began, Took: t.took, Fault: t.fault}
}

// give makes t's answer that of ex and returns t's error.
func (t *try) give(ex *pipeline.Exchange) error {
	resp := &t.ex.Response
	if t.err != nil {
		resp.CloseBody()
	}
	if t.ex == ex {
		t.head.wrap(resp)
		return t.err
	}
	if t.err != nil {
		// The error may point into the branch, which therefore has to stay
		// until ex is done.
		resp.SetBody(nil)
	}
	t.head.wrap(resp)
	ex.Adopt(t.ex)
	return t.err
}

// drop closes t's answer and gives up what it holds.
func (t *try) drop() {
	branch := !t.head.scoped
	defer func() { // also if a stage's stream panics when it is closed
		t.head.free()
		if branch {
			t.ex.Release()
		}
	}()
	t.ex.Response.CloseBody()
}
