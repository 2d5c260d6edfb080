// Package retrieve finds the passages of a collection that a request for a chat, a
// response or a completion is about: by meaning, by words, or by both, fused by rank.
// The stages behind it rank them anew and put them into the prompt.
//
// A store or an embedder that fails costs the request what it would have found,
// within the stage's time, and the request is marked as degraded.
package retrieve

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/quiet"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed retrieve.go
var source string

// Plugin describes retrieve to a registry.
var Plugin = config.Define[pipeline.Handler]("retrieve", Config{
	Collection: "chunks", Mode: "hybrid", Prefetch: 50, Keep: 30, Weights: Weights{1, 1}, RRFK: 60,
	Timeout: 1500 * time.Millisecond, OnError: "skip",
}, source)

// Config finds passages for the last user's turn of a request, or for its only text.
type Config struct {
	// Store has the passages.
	Store config.Ref[pipeline.VectorStore] `yaml:"store" check:"required"`
	// Embedder turns the question into a vector; it has to be the one that the
	// collection was written with. Without it the search is by words only.
	Embedder config.Ref[pipeline.Embedder] `yaml:"embedder"`
	// Collection is searched, unless the request names another that its key may
	// search, with "rag": {"collection": "kb"}.
	Collection string `yaml:"collection" check:"min=1,max=200"`
	// Mode is dense to search by meaning, sparse to search by words, or hybrid
	// for both.
	Mode string `yaml:"mode" check:"enum=hybrid|dense|sparse"`
	// Prefetch is how many passages each of the two searches returns.
	Prefetch int `yaml:"prefetch" check:"min=1,max=1000"`
	// Keep is how many passages are left once both are fused.
	Keep int `yaml:"keep" check:"min=1,max=1000"`
	// Weights are what each search counts in the fusion.
	Weights Weights `yaml:"weights"`
	// RRFK is the constant of the fusion: a passage gains weight / (rrf_k + rank).
	RRFK float64 `yaml:"rrf_k" check:"min=0,max=1000"`
	// Threshold drops what the search by meaning finds less alike than this, on
	// the embedder's own scale. At 0 all is kept.
	Threshold float64 `yaml:"threshold" check:"min=0,max=1"`
	// Timeout bounds the stage.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms"`
	// OnError is what happens when nothing can be searched: skip goes on without
	// passages, fail refuses the request.
	OnError string `yaml:"on_error" check:"enum=skip|fail"`
	// OptIn leaves every request alone but those that ask for retrieval, with
	// "rag": {"enabled": true} or the header X-RAG: on.
	OptIn bool `yaml:"opt_in"`
}

// Weights are what the two searches count.
type Weights struct {
	// Dense is the weight of the search by meaning.
	Dense float64 `yaml:"dense" check:"min=0,max=1000"`
	// Sparse is the weight of the search by words.
	Sparse float64 `yaml:"sparse" check:"min=0,max=1000"`
}

// Validate refuses settings that contradict each other.
func (c Config) Validate() error {
	if c.Mode == "dense" && c.Embedder.IsZero() {
		return errors.New("mode dense needs an embedder: set embedder, or mode: sparse")
	}
	if c.Weights.Dense+c.Weights.Sparse == 0 {
		return errors.New("weights are both zero, so that nothing would be ranked: raise one of them")
	}
	return nil
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &handler{
		Config: c,
		search: &rag.Searcher{Store: c.Store.Get(), Fusion: rag.Fusion{K: c.RRFK, Dense: c.Weights.Dense, Sparse: c.Weights.Sparse}},
		log:    quiet.New(env.Log),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_retrieve_requests_total",
			Help: "Requests by what was found for them: hit, empty, degraded (a part is missing), failed, off.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "headrace_retrieve_seconds", Help: "Time that a search took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
	}
	h.mode, _ = rag.ModeOf(c.Mode)
	if !c.Embedder.IsZero() {
		h.search.Embedder = c.Embedder.Get()
	}
	if err := env.Metrics.Register(h.requests); err != nil {
		return nil, err
	}
	return h, env.Metrics.Register(h.seconds)
}

type handler struct {
	Config
	mode     rag.Mode
	search   *rag.Searcher
	log      *quiet.Log
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
}

// Close waits for searches that nobody waits for any more.
func (h *handler) Close() error { return h.search.Close() }

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	r, err := rag.Begin(ex)
	if err != nil {
		return err
	}
	if h.OptIn && r.Options.Switch == pipeline.RetrievalAuto {
		r.Off = true
	}
	if r.Off || ex.Skips("retrieve") {
		h.requests.WithLabelValues("off").Inc()
		return next.Handle(ctx, ex)
	}
	if r.Collection, err = rag.Collection(ex.Policy, r.Options.Collection, h.Collection); err != nil {
		return err
	}
	if err := h.find(ctx, ex, r); err != nil {
		return err
	}
	return next.Handle(ctx, ex)
}

// find searches and notes what came of it. Its error ends the request.
func (h *handler) find(ctx context.Context, ex *pipeline.Exchange, r *pipeline.Retrieval) error {
	began := time.Now()
	within, stop := context.WithTimeout(ctx, h.Timeout)
	defer stop()
	keep := max(h.Keep, r.Options.TopK)
	mode, ok := rag.ModeOf(r.Options.Mode)
	if !ok {
		mode = h.mode
	}
	found, err := h.search.Search(within, rag.SearchQuery{
		Tenant: rag.Tenant(ex), Collection: r.Collection, Text: r.Query, Filter: r.Filter, Mode: mode,
		Prefetch: max(h.Prefetch, keep), Keep: keep, Threshold: float32(h.Threshold),
	})
	took := time.Since(began)
	h.seconds.Observe(took.Seconds())
	if err := rag.Over(ctx); err != nil {
		return err
	}
	r.Stages = append(slices.Clip(r.Stages), found.Stages...)
	r.Stages = append(r.Stages, pipeline.StageTime{Stage: "retrieve", Took: took})
	if err != nil {
		h.requests.WithLabelValues("failed").Inc()
		h.log.Warn("nothing could be searched", "error", err)
		r.Degraded = append(slices.Clip(r.Degraded), "retrieve:"+rag.Reason(within, err))
		if h.OnError == "fail" || r.Options.Switch == pipeline.RetrievalRequired {
			return rag.Unavailable(err)
		}
		return nil
	}
	ex.Passages = append(ex.Passages[:0], found.Passages...)
	result := "hit"
	switch {
	case len(found.Degraded) > 0:
		result = "degraded"
		r.Degraded = append(slices.Clip(r.Degraded), found.Degraded...)
	case len(found.Passages) == 0:
		result = "empty"
	}
	h.requests.WithLabelValues(result).Inc()
	return nil
}
