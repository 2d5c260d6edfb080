// Package race is the plugin that asks a model's targets: the first one, the
// next as well if an answer takes too long, and the next at once if one fails.
// The first to say something useful answers the client; the other is cancelled
// and its connection closed.
//
// The rules of what has won and what may be tried again are those of package
// attempt. This package adds when, by a live quantile, and how often, by two
// budgets. It does not order targets and does not ask the same one twice.
package race

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/attempt"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed race.go
var source string

// Plugin describes race to a registry.
var Plugin = config.Define[pipeline.Handler]("race", Config{
	After:    Quantile(0.95),
	Floor:    50 * time.Millisecond,
	Budget:   0.05,
	Attempts: 8,
}, source)

// Config asks the targets of the requested model until one of them answers:
// the first; beside it the next, when an answer takes unusually long; and
// another at once when one fails. What the client waits for decides: the first
// piece of content of a stream, or a whole answer. Whoever loses is cancelled.
//
// Nobody pays twice unasked: with a single target there is no race. A request
// that leaves something behind upstream runs once only: one with `store: true`,
// one to the Responses API without `store: false`, an upload, anything but a
// read on a path that the gateway does not know. Another target gets it only if
// the first one provably did not.
type Config struct {
	// After is how long the client waits for one target before another is asked
	// as well: a time, a quantile of the last minute's answers such as p95, or
	// never, which leaves plain fallback.
	After After `yaml:"after"`
	// Floor is the least delay that a quantile may come to. Before the first
	// answer the delay is twenty times as long.
	Floor time.Duration `yaml:"floor" check:"min=1ms,max=1m"`
	// Budget is the share of requests that may be sent to another target for
	// being slow. When that rarely helps, because all are slow, it shrinks by
	// itself. Fallback after a failure has a budget of its own.
	Budget config.Ratio `yaml:"budget" check:"min=0,max=1"`
	// Attempts bounds how many targets one request is sent to. Each is asked
	// once at most, and no more than two at a time.
	Attempts int `yaml:"attempts" check:"min=1,max=64"`
	// Each is run in front of each target, with a memory of its own for each.
	Each config.Each `yaml:"each"`
	// Branches race instead of the model's targets: complete chains, the
	// preferred first.
	Branches []pipeline.Chain `yaml:"branches"`
}

// Validate implements the cross-field rules.
func (c Config) Validate() error {
	switch {
	case len(c.Branches) == 1:
		return errors.New("one branch has nobody to race against: write its stages without a race, or add a branch")
	case len(c.Branches) > 0 && !c.Each.IsZero():
		return errors.New("each stands before targets and has no effect with branches: write its stages into the branches")
	}
	return nil
}

// Targeted implements config.Targeted.
func (c Config) Targeted() bool { return len(c.Branches) == 0 }

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &handler{
		after:     c.After,
		floor:     c.Floor,
		attempts:  c.Attempts,
		branches:  c.Branches,
		hedges:    newHedges(float64(c.Budget)),
		failovers: newFailovers(),
		metrics:   newMetrics(env.Metrics),
	}
	h.engine = attempt.New(h, env.Log)
	if len(c.Branches) > 0 {
		h.times = make([]times, len(c.Branches))
		return h, nil
	}
	h.times = make([]times, len(env.Targets))
	for _, t := range env.Targets {
		h.chains = append(h.chains, append(slices.Clip(c.Each.For(t)), pipeline.CallTarget))
	}
	return h, nil
}

// handler is the plugin, and the policy of its attempts.
type handler struct {
	engine   *attempt.Engine
	after    After
	floor    time.Duration
	attempts int
	branches []pipeline.Chain
	chains   []pipeline.Chain // by target
	times    []times          // by target, or by branch

	hedges    *hedges
	failovers *failovers
	metrics   *metrics
}

// Close waits for the losers of the last races.
func (h *handler) Close() error { return h.engine.Close() }

var errNoTarget = errors.New("no upstream serves this model")

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	n := len(h.branches)
	if n == 0 {
		n = len(ex.Targets)
	}
	if n == 0 {
		return &pipeline.Error{
			Status: 404, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
			Fault: pipeline.CallerFault, Err: errNoTarget,
		}
	}
	if n == 1 || h.attempts == 1 || ex.Skips("race") {
		return h.engine.Run(ctx, ex, next, attempt.Plan{Attempts: 1})
	}
	plan := attempt.Plan{Attempts: min(n, h.attempts), After: -1, Class: classOf(ex)}
	h.failovers.request()
	switch {
	case attempt.Once(ex):
		plan.Once = true
		h.metrics.once.Inc()
	case !h.after.never:
		h.hedges.request()
		plan.After = h.delay(ex, plan.Class)
	}
	return h.engine.Run(ctx, ex, next, plan)
}

// delay is how long the first candidate may take.
func (h *handler) delay(ex *pipeline.Exchange, class int) time.Duration {
	if h.after.quantile == 0 {
		return h.after.fixed
	}
	var first *pipeline.Target
	if len(h.branches) == 0 {
		first = ex.Targets[0]
	}
	return h.latency(first, 0, class).after(time.Now(), h.after.quantile, h.floor)
}

// Chain implements attempt.Policy.
func (h *handler) Chain(ex *pipeline.Exchange, _ pipeline.Chain, i int) pipeline.Chain {
	if len(h.branches) > 0 {
		return h.branches[i]
	}
	ex.Target = ex.Targets[i]
	return h.chains[ex.Target.Index]
}

// Allow implements attempt.Policy.
func (h *handler) Allow(a attempt.Ask) (time.Duration, bool) {
	ok := false
	if a.Why == attempt.Hedge {
		ok = h.hedges.take()
	} else if ok = h.failovers.take(a.Unasked); ok {
		h.metrics.failovers.Inc()
	}
	if !ok {
		h.metrics.budget.Inc()
	}
	return 0, ok
}

// Ended implements attempt.Policy.
func (h *handler) Ended(o attempt.Outcome) {
	answered := o.Fault == pipeline.NoFault
	failed := !o.Won && !o.Lost && o.Fault != pipeline.GoneFault
	switch o.Why {
	case attempt.Hedge:
		if o.Won || o.Lost || failed {
			h.hedges.ended(o.Won)
		}
		h.metrics.hedge(o.Won, failed).Inc()
	case attempt.Failover:
		h.failovers.ended(o.Won, failed)
	}
	if h.after.quantile == 0 {
		return
	}
	l, now := h.latency(o.Target, o.Index, o.Class), o.Began.Add(o.Took)
	switch {
	case answered:
		l.add(now, o.Took)
	case o.Lost || o.Fault == pipeline.TimeoutFault:
		// Given up sooner than an answer usually comes, it tells nothing.
		if o.Took >= time.Duration(l.delay.Load()) {
			l.addLost(now)
		}
	}
}
