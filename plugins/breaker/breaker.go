// Package breaker leaves an upstream alone that keeps failing: it answers at
// once instead of asking, until a single request has shown that asking is worth
// it again.
//
// Each instance has one memory, for whatever the rest of its chain asks. Under
// the each of a race that is one target; where that stands for any model, each
// model that fails has a memory of its own. It tries nothing again and knows no
// other upstream: that is for the stage around it.
package breaker

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/attempt"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed breaker.go
var source string

// Plugin describes breaker to a registry.
var Plugin = config.Define[pipeline.Handler]("breaker", Config{
	Failures:    Threshold{InARow: 5},
	Window:      10 * time.Second,
	MinRequests: 20,
	Cooldown:    15 * time.Second,
	MaxCooldown: 2 * time.Minute,
	Probes:      1,
}, source)

// Config stops asking an upstream that keeps failing, and answers 503 with
// Retry-After meanwhile. Timeouts, broken connections and streams, 429 and 5xx
// are failures. What the client did wrong, or did not wait for, is not; nor is a
// 429 of a model's only target, which reaches the client as it is. Behind a target
// that stands for any model, one that cannot be reached counts for all of them
// and every other failure for the model asked for.
type Config struct {
	// Failures open the breaker: so many in a row, as in 5, or such a share of
	// all within window, as in 50%.
	Failures Threshold `yaml:"failures"`
	// Window is how far back a share of failures looks.
	Window time.Duration `yaml:"window" check:"min=100ms"`
	// MinRequests is how many requests within window it takes for a share of
	// them to mean anything.
	MinRequests int `yaml:"min_requests" check:"min=1"`
	// Cooldown is how long the upstream is left alone.
	Cooldown time.Duration `yaml:"cooldown" check:"min=10ms"`
	// MaxCooldown is how much longer an upstream's own Retry-After can make it
	// at most. Where it is the shorter of the two, cooldown stands.
	MaxCooldown time.Duration `yaml:"max_cooldown" check:"min=10ms"`
	// Probes is how many requests are let through after that. They must all
	// succeed; then every request is.
	Probes int `yaml:"probes" check:"min=1,max=1000"`
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &handler{}
	h.target.set(c, time.Now())
	h.target.log, h.target.refusal = env.Log, errors.New("the upstream keeps failing and is left alone for a while")
	if env.Target != nil {
		h.target.refusal = errors.New(env.Target.Name + " keeps failing and is left alone for a while")
	}
	h.target.connect(c.Probes)
	h.models = models{config: c, target: &h.target, list: map[string]*modelBreaker{}}
	return h, h.register(env.Metrics)
}

type handler struct {
	target breaker
	models models
}

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	if ex.Skips("breaker") {
		return next.Handle(ctx, ex)
	}
	target, err := h.target.admit()
	if err != nil {
		return err
	}
	s := subject{call: target}
	if name := modelOf(ex); len(name) > 0 {
		if s, err = h.models.admit(name); err != nil {
			target.settle(unknown, 0)
			return err
		}
	}
	settled := false
	defer func() {
		if !settled { // a panic is our fault, and a probe without a verdict would block the next for ever
			h.settle(&target, &s, unknown, unknown, 0)
		}
	}()
	err = next.Handle(ctx, ex)
	settled = true
	res := &ex.Response
	switch {
	case err != nil && pipeline.Gone(ctx, err):
		h.settle(&target, &s, unknown, unknown, 0)
	case err != nil && attempt.Unsent(err):
		h.settle(&target, &s, ofError(err), unknown, retryAfterOf(err))
	case err != nil:
		// A model may be slow, or die over its answer; the others need not.
		h.settle(&target, &s, unknown, ofError(err), retryAfterOf(err))
	case len(ex.Targets) == 1 && res.Header.StatusCode() == fasthttp.StatusTooManyRequests:
		h.settle(&target, &s, success, unknown, 0) // nobody else to ask, and its 429 tells the client more than ours would
	case res.Fault != pipeline.NoFault:
		h.settle(&target, &s, success, ofFault(res.Fault), res.RetryAfter())
	case res.Body == nil:
		h.settle(&target, &s, unknown, unknown, 0) // nobody answered
	default:
		if _, whole := res.Whole(); whole {
			h.settle(&target, &s, success, success, 0)
			return nil
		}
		if s.models != nil {
			target.settle(success, 0)
		}
		res.Body = follow(s, ex)
	}
	return err
}

// settle gives the verdicts on the target, as far as its connection goes, and on the
// model. Where models are not told apart the target has one verdict: that on its answer,
// or else on its connection.
func (h *handler) settle(target *call, s *subject, line, answer verdict, wait time.Duration) {
	switch {
	case s.models != nil:
		if line == failure {
			target.settle(line, wait)
			s.settle(answer, 0)
		} else {
			target.settle(line, 0)
			s.settle(answer, wait)
		}
	case line == failure:
		s.settle(line, wait)
	default:
		s.settle(answer, wait)
	}
}

// A verdict is what a request says about the upstream.
type verdict uint8

const (
	unknown verdict = iota // nothing: it ended for other reasons
	success
	failure
)

// ofFault judges by an answer of the upstream.
func ofFault(f pipeline.Fault) verdict {
	switch f {
	case pipeline.NoFault:
		return success
	case pipeline.OverloadFault, pipeline.TimeoutFault, pipeline.UpstreamFault:
		return failure
	}
	return unknown
}

// ofError judges by an error instead of an answer. One about overload was made
// here, by a limit of ours, and says nothing about the upstream.
func ofError(err error) verdict {
	if f := pipeline.FaultOfError(err); f != pipeline.OverloadFault {
		return ofFault(f)
	}
	return unknown
}

func retryAfterOf(err error) time.Duration {
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e != nil {
		return e.RetryAfter
	}
	return 0
}

// register publishes the breaker's metrics.
func (h *handler) register(r prometheus.Registerer) error {
	moves := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_breaker_transitions_total",
		Help: "Changes of state, by the new state.",
	}, []string{"to"})
	byModel := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_breaker_model_transitions_total",
		Help: "Changes of state of single models behind a target that stands for any, by the new state.",
	}, []string{"to"})
	for i := range h.target.moves {
		to := [...]string{"closed", "half_open", "open"}[i]
		h.target.moves[i], h.models.moves[i] = moves.WithLabelValues(to), byModel.WithLabelValues(to)
	}
	h.target.refused = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "headrace_breaker_refused_total",
		Help: "Requests answered without asking the upstream.",
	})
	state := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headrace_breaker_state",
		Help: "0 asks the upstream, 2 leaves it alone, 1 tries it. It goes from 2 to 1 with the first request after the cooldown.",
	}, func() float64 { return float64(h.target.state.Load()) })
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headrace_breaker_models_open",
		Help: "Models that are left alone while others of their target are asked.",
	}, h.models.open)
	for _, m := range []prometheus.Collector{moves, byModel, h.target.refused, state, open} {
		if err := r.Register(m); err != nil {
			return err
		}
	}
	return nil
}
