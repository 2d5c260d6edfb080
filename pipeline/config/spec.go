package config

import (
	_ "embed"
	"time"

	"github.com/headrace/headrace/pipeline"
)

//go:embed spec.go
var specSource string

// onOff decides whether an entry counts.
type onOff struct {
	// When switches the entry off if its value is empty, false, off, no or 0.
	When string `yaml:"when"`
	// Unless switches the entry off if its value is anything else.
	Unless string `yaml:"unless"`
}

// A targetSpec is one way to answer for a model.
type targetSpec struct {
	onOff `yaml:",inline"`
	// Provider is asked. If it is switched off the target is left out.
	Provider Ref[pipeline.Provider] `yaml:"provider" check:"required"`
	// Model is the provider's name of the model; a "*" in it stands for what
	// the client's name has in the place of the "*" of the declared one.
	// Without it the client's name is passed on.
	Model string `yaml:"model"`
	// FirstByte is the longest wait for the header of the answer, in place of
	// the provider's own.
	FirstByte time.Duration `yaml:"first_byte" check:"min=1ms"`
	// Idle is the longest pause within the answer, in place of the provider's
	// own.
	Idle time.Duration `yaml:"idle" check:"min=1ms"`
}

// modelSpec is a model that clients can ask for: a name, a prefix with a * behind
// it, or * for every name. A model that needs its targets alone is written as a
// list of them.
type modelSpec struct {
	onOff `yaml:",inline"`
	// Targets are asked for an answer. A target whose provider is switched off
	// is left out, and so is a model without any target left.
	Targets []targetSpec `yaml:"targets"`
	// Chain names the chain that requests for the model take instead of the
	// route's.
	Chain string `yaml:"chain"`
	// ContextWindow is how many tokens fit in, prompt and answer together.
	ContextWindow int `yaml:"context_window" check:"min=1"`
}

// routeSpec is which requests take which chain. The routes are tried in their
// order.
type routeSpec struct {
	onOff `yaml:",inline"`
	// Name is for logs and metrics, and for those who read the file. Without
	// one it is the first path.
	Name string `yaml:"name"`
	// Match says which requests take the route.
	Match matchSpec `yaml:"match" check:"required"`
	// Chain is the stages that the requests run through.
	Chain pipeline.Chain `yaml:"chain" check:"required"`
}

// A matchSpec says which requests take a route.
type matchSpec struct {
	// Path is matched whole, or, with /* at its end, with everything below.
	Path string `yaml:"path"`
	// Paths are several of them.
	Paths []string `yaml:"paths"`
	// Methods are the HTTP methods that match. Without any, all do.
	Methods []string `yaml:"methods"`
}
