// Package call asks an upstream. It is the last stage of a chain: what follows
// it never runs.
//
// A chain that works over the targets of the requested model, such as a race
// with each, asks them by itself and needs no call. Use this plugin at the end
// of a chain without one, and to ask one particular provider whatever the
// model.
package call

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed call.go
var source string

// Plugin describes call to a registry.
var Plugin = config.Define[pipeline.Handler]("call", Config{}, source)

// Config sends the request upstream and takes what comes back for the answer.
type Config struct {
	// Provider is asked, whatever the model. Without it the first target of
	// the requested model is.
	Provider config.Ref[pipeline.Provider] `yaml:"provider"`
}

// Targeted implements config.Targeted.
func (c Config) Targeted() bool { return c.Provider.IsZero() }

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &handler{target: env.Target}
	if !c.Provider.IsZero() {
		h.provider = c.Provider.Get()
	}
	return h, nil
}

type handler struct {
	provider pipeline.Provider // nil: ask a target
	target   *pipeline.Target  // the only one served here; nil outside each
}

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	if h.provider != nil {
		// The model's targets are other providers' business: their name for
		// the model must not reach this one.
		ex.Target = nil
		if err := pipeline.Undocumented(ex); err != nil {
			return err
		}
		ex.CountAttempt()
		return h.provider.Call(ctx, ex)
	}
	switch {
	case h.target != nil:
		ex.Target = h.target
	case len(ex.Targets) > 0:
		ex.Target = ex.Targets[0]
	default:
		return &pipeline.Error{
			Status: 404, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
			Fault: pipeline.CallerFault, Err: missing(ex),
		}
	}
	return pipeline.CallTarget.Handle(ctx, ex, nil)
}

// missing says what nothing can answer to.
func missing(ex *pipeline.Exchange) error {
	if r, err := ex.Chat(); err == nil && r.Model() != nil {
		return fmt.Errorf("no upstream serves the model %q", r.Model())
	}
	return fmt.Errorf("no upstream serves %s requests without a model", ex.Op)
}
