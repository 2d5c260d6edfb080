// Package rerank sorts the passages that were found by how well they answer the
// question, and keeps the best. A reranker that fails or is late leaves them in
// the order that they had, and the request is marked as degraded.
package rerank

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

//go:embed rerank.go
var source string

// Plugin describes rerank to a registry.
var Plugin = config.Define[pipeline.Handler]("rerank", Config{
	Keep: 6, Candidates: 100, Timeout: 800 * time.Millisecond, OnError: "skip",
}, source)

// Config sorts the passages found by how well they answer the question.
type Config struct {
	// With scores them.
	With config.Ref[pipeline.Reranker] `yaml:"with" check:"required"`
	// Keep is how many passages are left. A request can ask for another number,
	// with "rag": {"top_k": 3}.
	Keep int `yaml:"keep" check:"min=1,max=1000"`
	// Candidates is how many passages are scored; the others are dropped.
	Candidates int `yaml:"candidates" check:"min=1,max=1000"`
	// Timeout bounds the stage.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms"`
	// OnError is what happens when nothing is scored: skip keeps the order that
	// there was, fail refuses the request.
	OnError string `yaml:"on_error" check:"enum=skip|fail"`
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &handler{
		Config: c, reranker: c.With.Get(), log: quiet.New(env.Log),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_rerank_requests_total", Help: "Requests by how reranking went: ok, failed, off.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "headrace_rerank_seconds", Help: "Time that reranking took.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
	}
	if err := env.Metrics.Register(h.requests); err != nil {
		return nil, err
	}
	return h, env.Metrics.Register(h.seconds)
}

type handler struct {
	Config
	reranker pipeline.Reranker
	legs     rag.Legs
	log      *quiet.Log
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
}

// Close waits for rerankings that nobody waits for any more.
func (h *handler) Close() error { return h.legs.Close() }

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	r, err := rag.Begin(ex)
	if err != nil {
		return err
	}
	keep := h.Keep
	if r.Options.TopK > 0 {
		keep = r.Options.TopK
	}
	switch {
	case r.Off || len(ex.Passages) == 0:
		h.requests.WithLabelValues("off").Inc()
	case ex.Skips("rerank") || r.Options.Rerank != nil && !*r.Options.Rerank:
		h.requests.WithLabelValues("off").Inc()
		ex.Passages = slices.Delete(ex.Passages, min(keep, len(ex.Passages)), len(ex.Passages))
	default:
		if err := h.rank(ctx, ex, r, keep); err != nil {
			return err
		}
	}
	return next.Handle(ctx, ex)
}

// rank sorts the passages. Its error ends the request.
func (h *handler) rank(ctx context.Context, ex *pipeline.Exchange, r *pipeline.Retrieval, keep int) error {
	began := time.Now()
	within, stop := context.WithTimeout(ctx, h.Timeout)
	defer stop()
	query, passages, by := r.Query, slices.Clone(ex.Passages), h.reranker
	if name := r.Options.RerankModel; name != "" {
		other, ok := by.(pipeline.ModelReranker)
		if !ok {
			return &pipeline.Error{
				Status: 400, Code: "invalid_value", Param: "rerank.model", Fault: pipeline.CallerFault,
				Err: errors.New("rerank.model: the reranker of this gateway has no models to choose from; leave it out"),
			}
		}
		by = other.WithModel(name)
	}
	leg := rag.Start(&h.legs, func() ([]pipeline.Passage, error) {
		return rag.Rank(within, by, query, passages, h.Candidates, keep)
	})
	ranked, _, err := leg.Wait(within)
	took := time.Since(began)
	h.seconds.Observe(took.Seconds())
	if err := rag.Over(ctx); err != nil {
		return err
	}
	r.Stages = append(slices.Clip(r.Stages), pipeline.StageTime{Stage: "rerank", Took: took})
	if err == nil {
		h.requests.WithLabelValues("ok").Inc()
		ex.Passages = append(ex.Passages[:0], ranked...)
		return nil
	}
	h.requests.WithLabelValues("failed").Inc()
	h.log.Warn("the passages could not be reranked", "error", err)
	r.Degraded = append(slices.Clip(r.Degraded), "rerank:"+rag.Reason(within, err))
	if h.OnError == "fail" {
		return rag.Unavailable(err)
	}
	ex.Passages = slices.Delete(ex.Passages, min(keep, len(ex.Passages)), len(ex.Passages))
	return nil
}
