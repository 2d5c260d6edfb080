// Package offline is a language model that needs none: it answers by rule, inside
// the gateway, with the shapes of the OpenAI API. It is what the gateway runs on
// when no upstream is set, and what tests and benchmarks call.
//
// It repeats what the user said last, word by word where the answer is streamed.
// It calls tools where the request demands it or the user names one, and fills in
// arguments, and structured answers, that are valid for their JSON Schema. Its
// embeddings are hashed features of the text, so similar texts lie close; its
// reranker counts the features that query and document share. It knows chat
// completions, completions, embeddings, responses, rerank and models, and keeps
// nothing: a response cannot be retrieved or continued.
//
// The same request gets the same answer, byte for byte, times included. Only which
// answers are slow and which are errors goes by the count of requests. The usage
// figures take four bytes for a token.
package offline

import (
	"context"
	_ "embed"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed offline.go
var source string

// Component is the provider, for a registry.
var Component = config.Define[pipeline.Provider]("offline", Config{
	Models:     []string{"offline"},
	Latency:    20 * time.Millisecond,
	Slow:       400 * time.Millisecond,
	WordDelay:  10 * time.Millisecond,
	MaxWords:   200,
	Dimensions: 384,
}, source)

// Config is a deterministic model inside the gateway, for trying things out, for
// tests and for benchmarks. It answers any model name.
type Config struct {
	// Models are the names in its list of models.
	Models []string `yaml:"models"`
	// Latency is how long an answer takes to begin.
	Latency time.Duration `yaml:"latency" check:"min=0s,max=1h"`
	// SlowShare is the share of answers that take longer.
	SlowShare config.Ratio `yaml:"slow_share" check:"max=1"`
	// Slow is how long these take to begin.
	Slow time.Duration `yaml:"slow" check:"min=0s,max=1h"`
	// ErrorShare is the share of requests that are answered with status 500.
	ErrorShare config.Ratio `yaml:"error_share" check:"max=1"`
	// WordDelay is the pause between two words of a streamed answer.
	WordDelay time.Duration `yaml:"word_delay" check:"min=0s,max=1m"`
	// MaxWords is how many words of a message are repeated, counted from its end.
	MaxWords int `yaml:"max_words" check:"min=1,max=100000"`
	// Dimensions is the length of an embedding, unless the request asks for another.
	Dimensions int `yaml:"dimensions" check:"min=1,max=4096"`
	// Seed chooses which requests are slow and which fail. With the same seed, the
	// same ones are, counted from the start.
	Seed int `yaml:"seed"`
}

// Build implements config.Builder.
func (c Config) Build(context.Context, config.Env) (pipeline.Provider, error) {
	p := &provider{Config: c, listing: listing(c.Models)}
	// The pool is the provider's own, not the package's: a call keeps a timer,
	// and a timer belongs to one clock, which in a test need not be the world's.
	p.calls.New = func() any { return &call{p: p} }
	return p, nil
}

type provider struct {
	Config
	listing  []byte // the list of models
	requests atomic.Uint64
	calls    sync.Pool
}

// Call implements pipeline.Provider.
func (p *provider) Call(ctx context.Context, ex *pipeline.Exchange) error {
	c := p.calls.Get().(*call)
	if err := c.answer(ctx, ex); err != nil {
		_ = c.Close() // never fails
		return err
	}
	ex.Response.CloseBody()
	ex.Response.Body = c
	return nil
}

// fate says whether the request that is number n shall be slow and shall fail.
func (p *provider) fate(n uint64) (slow, fails bool) {
	n = n<<1 + uint64(p.Seed)<<32
	return share(n) < float64(p.SlowShare), share(n+1) < float64(p.ErrorShare)
}

// share maps a count to a number from 0 to below 1, evenly and without a pattern.
func share(n uint64) float64 { return float64(mix(n)>>11) / (1 << 53) }

// mix spreads the bits of n over all of the result (the finaliser of splitmix64).
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
