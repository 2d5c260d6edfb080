// Package reranker scores texts by how well they answer a query: reranker asks an
// upstream, lexical_reranker compares words by itself.
package reranker

import (
	"context"
	_ "embed"
	"sync/atomic"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed reranker.go
var source string

// Component describes reranker to a registry.
var Component = config.Define[pipeline.Reranker]("reranker", Config{
	Format: "auto", MaxDocuments: 100, MaxChars: 8000, Timeout: 5 * time.Second,
}, source)

// Config scores texts by asking an upstream.
type Config struct {
	// Provider is asked, if it is one that is asked by itself.
	Provider config.Ref[pipeline.Provider] `yaml:"provider"`
	// Chain is asked in its place: stages as in a route, such as a breaker, or a
	// race between branches that call different providers.
	Chain pipeline.Chain `yaml:"chain"`
	// Model is the upstream's name of the model.
	Model string `yaml:"model" check:"required"`
	// Format is how the upstream wants to be asked: cohere is what Cohere, Jina,
	// LiteLLM, vLLM and Infinity share, tei that of Text Embeddings Inference, and auto
	// the one that it does not refuse, cohere first.
	Format string `yaml:"format" check:"enum=auto|cohere|tei"`
	// MaxDocuments is how many texts go into one call, or fewer where an upstream
	// refuses so many with 413. More are sent in several, at the same time.
	MaxDocuments int `yaml:"max_documents" check:"min=1,max=1000"`
	// MaxChars is how much of each text is sent, in characters.
	MaxChars int `yaml:"max_chars" check:"min=1"`
	// Timeout bounds a call.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms"`
}

// Validate implements the cross-field rule.
func (c Config) Validate() error {
	if c.Provider.IsZero() == (len(c.Chain) == 0) {
		return ask.ErrWhom
	}
	return nil
}

// Build implements config.Builder.
func (c Config) Build(context.Context, config.Env) (pipeline.Reranker, error) {
	r := &reranker{Config: c, chain: c.Chain, learnt: &learnt{}}
	if len(c.Chain) == 0 {
		r.chain = ask.Provider(c.Provider.Get())
	}
	return r, nil
}

type reranker struct {
	Config
	chain pipeline.Chain
	model *pipeline.Model // of the requests; nil for the one of the file
	*learnt
}

// learnt is what the upstream has shown of itself.
type learnt struct {
	portion ask.Portion
	tei     atomic.Bool // that this is the format that it takes
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
