// Package all runs several chains at the same time and joins what they found.
//
// Each branch works on a copy of the exchange. What counts is the passages that
// it adds: they are put together in the order in which the branches are
// written, whoever was first. A branch that answers, or changes the request,
// does so for itself only.
package all

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/quiet"
)

//go:embed all.go
var source string

// Plugin describes all to a registry.
var Plugin = config.Define[pipeline.Handler]("all", Config{Timeout: time.Second}, source)

// Config runs branches in parallel and collects the passages that they find.
type Config struct {
	// Timeout is how long to wait for the branches. What is late is stopped, and
	// the request goes on without it.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms"`
	// Branches are the chains that run side by side.
	Branches []pipeline.Chain `yaml:"branches" check:"required"`
	// Require refuses the request when a branch fails or is late, instead of
	// going on without it. One that cannot do without passages, such as that of
	// /retrieve, is refused in any case where all branches do.
	Require bool `yaml:"require"`
}

// Validate refuses branches that would do nothing.
func (c Config) Validate() error {
	for i, b := range c.Branches {
		if len(b) == 0 {
			return fmt.Errorf("branches[%d] is empty and would find nothing: give it a stage, or leave it out", i)
		}
	}
	return nil
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_all_branches_total",
		Help: "Branches run, by how they ended.",
	}, []string{"result"})
	if err := env.Metrics.Register(ended); err != nil {
		return nil, err
	}
	return &handler{
		timeout: c.Timeout, branches: c.Branches, require: c.Require, log: quiet.New(env.Log),
		ok: ended.WithLabelValues("ok"), failed: ended.WithLabelValues("failed"), late: ended.WithLabelValues("late"),
	}, nil
}

type handler struct {
	timeout          time.Duration
	branches         []pipeline.Chain
	require          bool
	log              *quiet.Log
	ok, failed, late prometheus.Counter
	running          sync.WaitGroup // goroutines that outlive their request
}

// errLate is why a branch is stopped that took too long.
var errLate = &pipeline.Error{
	Status: 504, Code: "upstream_timeout", Fault: pipeline.TimeoutFault,
	Err: errors.New("a part of the work that this request needs took too long"),
}

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	if !ex.Skips("all") {
		if err := h.join(ctx, ex); err != nil {
			return err
		}
	}
	return next.Handle(ctx, ex)
}

// join runs the branches and adds what they found. It returns an error if the
// request cannot go on.
func (h *handler) join(ctx context.Context, ex *pipeline.Exchange) error {
	r := start(ctx, ex, h.branches)
	timer := time.NewTimer(h.timeout)
	defer timer.Stop()
	err := r.wait(ctx, timer.C, h.require)
	if err == nil {
		r.collect(ex, h)
		err = r.wanted(ex)
	}
	r.leave(&h.running)
	return err
}

// Close implements io.Closer: it waits for branches that were stopped and have
// not ended yet.
func (h *handler) Close() error {
	h.running.Wait()
	return nil
}
