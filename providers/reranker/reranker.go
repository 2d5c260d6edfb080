// Package reranker scores texts by how well they answer a query: reranker asks an
// upstream, lexical_reranker compares words by itself.
package reranker

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed reranker.go
var source string

// Component describes reranker to a registry.
var Component = config.Define[pipeline.Reranker]("reranker", Config{
	MaxDocuments: 100, MaxChars: 8000, Timeout: 5 * time.Second,
}, source)

// Config scores texts by asking an upstream, in the format that Cohere, Jina and
// LiteLLM share.
type Config struct {
	// Provider is asked, if it is one that is asked by itself.
	Provider config.Ref[pipeline.Provider] `yaml:"provider"`
	// Chain is asked in its place: stages as in a route, such as a breaker, or a
	// race between branches that call different providers.
	Chain pipeline.Chain `yaml:"chain"`
	// Model is the upstream's name of the model.
	Model string `yaml:"model" check:"required"`
	// MaxDocuments is how many texts go into one call. More are sent in several,
	// at the same time.
	MaxDocuments int `yaml:"max_documents" check:"min=1,max=1000"`
	// MaxChars is how much of each text is sent, in characters.
	MaxChars int `yaml:"max_chars" check:"min=1"`
	// Timeout bounds a call.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms"`
}

// Validate implements the cross-field rule.
func (c Config) Validate() error {
	if c.Provider.IsZero() == (len(c.Chain) == 0) {
		return errors.New("set either provider or chain: it says who is asked")
	}
	return nil
}

// stages are what is asked.
func (c *Config) stages() pipeline.Chain {
	if len(c.Chain) > 0 {
		return c.Chain
	}
	p := c.Provider.Get()
	return pipeline.Chain{pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error { return p.Call(ctx, ex) })}
}

// Build implements config.Builder.
func (c Config) Build(context.Context, config.Env) (pipeline.Reranker, error) {
	return &reranker{Config: c, chain: c.stages()}, nil
}

type reranker struct {
	Config
	chain pipeline.Chain
	model *pipeline.Model // of the requests; nil for the one of the file
}

// anyModel is what a request asks whose model a client has named: breakers tell models
// apart behind a target that stands for any, so that one that fails does not close the way
// to the others.
var anyModel = &pipeline.Model{Name: "*", Targets: []*pipeline.Target{{}}}

// WithModel implements pipeline.ModelReranker.
func (r *reranker) WithModel(name string) pipeline.Reranker {
	if name == r.Model {
		return r
	}
	other := *r
	other.Model, other.model = name, anyModel
	return &other
}
