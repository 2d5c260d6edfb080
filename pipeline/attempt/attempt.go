// Package attempt runs a request against several candidates until one of them
// has answered. It is the one engine under hedging, failover and retry, so that
// the rules below hold in every phase of an answer and are written down once.
//
// # The commit point
//
// An attempt has won when it has produced something that the client waits for:
// an answer that was read whole, the header of an answer that is only passed
// through, or, of a stream of events, the first event that carries content.
// Events before it, such as one that only names the assistant's role, are held
// back. Until that moment nothing of any attempt has left the engine, and
// another attempt may still replace it. From that moment nothing is tried
// again: Run returns, the client gets the bytes of one attempt and of no other,
// and a stream that breaks later breaks for the client too.
//
// # What an attempt's end means
//
// An answer without fault wins. One that is the caller's own fault, or a
// refusal, ends the run too: a 400 is an answer, and nothing else is tried. Only
// when it comes from an attempt beside a running one, whose upstream may have
// other limits, is that one heard first. An answer or error whose fault is
// Retryable, a stream that breaks before its first useful event, and one that
// ends without any event are failures, after which the policy is asked for
// another attempt. Any other error ends the run once nobody else is running. An
// error that an upstream reports inside its stream breaks that stream: providers
// see to it.
//
// # How the attempts run
//
// The first attempt runs on the caller's exchange and goroutine: as long as it
// answers in time, the engine costs one pooled branch and one pooled timer, and
// nothing is allocated. When Plan.After has passed, the next attempt starts
// beside it, on a branch, in a goroutine that Close waits for. A failover runs
// on the caller's goroutine again. At most two attempts run at a time. The
// winner cancels the other with pipeline.ErrLost, and Run does not wait for the
// loser: whoever ran it closes its answer and releases its branch.
//
// # Policies
//
// A Policy decides what runs and whether it may. Hedging and failover over
// targets are a policy whose Chain picks another target for each attempt;
// fallback is the same with Plan.After below zero; retry returns next itself
// from Chain, and a pause from Allow.
package attempt

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A Policy says what the attempts of a run are. It serves many runs at once.
type Policy interface {
	// Chain returns what attempt i of a run has to run, and sets ex.Target
	// where the attempt is to ask a certain target. next is the chain that Run
	// was given. It is called again for no i.
	Chain(ex *pipeline.Exchange, next pipeline.Chain, i int) pipeline.Chain
	// Allow is asked before each attempt but the first, and may take what the
	// attempt costs out of a budget. The pause is waited for before a failover;
	// should the client leave meanwhile, what was allowed does not start.
	Allow(a Ask) (pause time.Duration, ok bool)
	// Ended is told once how an attempt went.
	Ended(o Outcome)
}

// Why an attempt is made.
type Why uint8

// The reasons.
const (
	First    Why = iota // as the request asks
	Hedge               // those running take too long
	Failover            // those before have failed
)

// A Plan is what one request may cost.
type Plan struct {
	// Attempts bounds how many are made. With 1 the engine stays out of the
	// way: no timer, no branch, no look at the answer.
	Attempts int
	// After is how long an attempt may take before another starts beside it;
	// below zero none ever does.
	After time.Duration
	// Once says that the request must not run twice: there is no hedge, and a
	// failover only after a failure which proves that no upstream saw the
	// request.
	Once bool
	// Class is for the policy: it comes back in Ask and Outcome.
	Class int
}

// An Ask is the question whether another attempt may start.
type Ask struct {
	Index int // of the attempt to start
	Class int
	Why   Why
	Err   error          // the failure that a Failover follows, if it was an error
	Fault pipeline.Fault // and whose it was
	// Unasked says that no upstream has been called for the request so far:
	// each attempt was refused by a breaker or a limit on our side.
	Unasked bool
}

// An Outcome is how an attempt went.
type Outcome struct {
	Index  int
	Class  int
	Why    Why
	Target *pipeline.Target // that was asked; nil where Chain set none
	Began  time.Time
	Took   time.Duration // to the first useful event, the failure, or the cancellation
	Fault  pipeline.Fault
	Won    bool // the client gets its answer
	Lost   bool // another had won before it was done
}

// An Engine runs attempts as its policy says.
type Engine struct {
	policy Policy
	log    *slog.Logger
	runs   sync.Pool      // of *run. Not shared by engines: a timer stays where it was made
	lanes  sync.WaitGroup // attempts that run beside a caller, until they have released their branch
}

// New returns an engine. log is told of panics.
func New(policy Policy, log *slog.Logger) *Engine {
	return &Engine{policy: policy, log: log}
}

// Close waits until every attempt that lost has stopped. No Run may be under
// way.
func (e *Engine) Close() error {
	e.lanes.Wait()
	return nil
}

// Run answers ex by as many attempts as the policy and the plan allow. Its
// error, or the faulty answer that it leaves in ex, is that of the attempt that
// says most about when to come back.
func (e *Engine) Run(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain, plan Plan) error {
	if plan.Attempts <= 1 {
		return e.policy.Chain(ex, next, 0).Handle(ctx, ex)
	}
	r := e.begin(ctx, ex, next, plan)
	err := r.serve(ctx)
	r.end()
	return err
}
