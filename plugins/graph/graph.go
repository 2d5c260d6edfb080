// Package graph finds, over the knowledge graph, chunks that no search finds
// because the question does not name what they are about, and facts about what
// it does name.
//
// It goes from the best passages to the entities that they mention, the rarer
// the better, and on to further chunks. It needs no reranker: what the search
// ranked first keeps its place. What fails or is late is left out, and the
// request marked as degraded.
package graph

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

//go:embed graph.go
var source string

// Plugin describes graph to a registry.
var Plugin = config.Define[pipeline.Handler]("graph", Config{
	Collection: "chunks", From: "both", Merge: "after", After: 5, Anchors: 5, Add: 5, Hops: 1, HubCap: 200, MaxSeeds: 20,
	Fanout: 20, MaxNodes: 200, MaxEdges: 400, Timeout: 300 * time.Millisecond, OnError: "skip",
}, source)

// Config adds chunks and facts from the knowledge graph.
type Config struct {
	// Store is the knowledge graph.
	Store config.Ref[pipeline.GraphStore] `yaml:"store" check:"required"`
	// Passages has the texts of the chunks. Without it only facts are found.
	Passages config.Ref[pipeline.VectorStore] `yaml:"passages"`
	// Collection holds the chunks, where no stage before has searched one.
	Collection string `yaml:"collection" check:"min=1,max=200"`
	// From is where the way over the graph begins: hits are the passages found
	// so far, query is what the question names, both is both.
	From string `yaml:"from" check:"enum=both|hits|query"`
	// Merge is where the chunks go: after puts them behind the first passages,
	// of which the setting after says how many; pool puts them behind all, for
	// a reranker to sort.
	Merge string `yaml:"merge" check:"enum=after|pool"`
	// After is how many passages stay in front.
	After int `yaml:"after" check:"min=0,max=100"`
	// Anchors is how many of the best passages the way begins at.
	Anchors int `yaml:"anchors" check:"min=1,max=50"`
	// Add is how many chunks are added.
	Add int `yaml:"add" check:"min=0,max=100"`
	// Hops is how far from an entity facts are collected. At 0 there are none.
	Hops int `yaml:"hops" check:"min=0,max=3"`
	// Types are the relations to follow. Without any, all are.
	Types []string `yaml:"types"`
	// HubCap leaves out entities with more neighbours, which lead everywhere.
	HubCap int `yaml:"hub_cap" check:"min=1,max=10000"`
	// MaxSeeds is how many entities are followed in one step.
	MaxSeeds int `yaml:"max_seeds" check:"min=1,max=1000"`
	// Fanout is how many relations of one entity are followed.
	Fanout int `yaml:"fanout" check:"min=1,max=1000"`
	// MaxNodes bounds the entities among the facts.
	MaxNodes int `yaml:"max_nodes" check:"min=1,max=10000"`
	// MaxEdges bounds the facts.
	MaxEdges int `yaml:"max_edges" check:"min=1,max=10000"`
	// Timeout bounds the stage.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms"`
	// OnError is what happens when the graph cannot be asked: skip goes on
	// without it, fail refuses the request.
	OnError string `yaml:"on_error" check:"enum=skip|fail"`
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &handler{
		Config: c, walker: &rag.Walker{Graph: c.Store.Get()}, log: quiet.New(env.Log),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headrace_graph_requests_total",
			Help: "Requests by what the graph had for them: hit, empty, degraded (a part is missing), failed, off.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "headrace_graph_seconds", Help: "Time that the way over the graph took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}),
	}
	h.from, _ = rag.FromOf(c.From)
	if !c.Passages.IsZero() {
		h.walker.Passages = c.Passages.Get()
	}
	if err := env.Metrics.Register(h.requests); err != nil {
		return nil, err
	}
	return h, env.Metrics.Register(h.seconds)
}

type handler struct {
	Config
	from     rag.From
	walker   *rag.Walker
	log      *quiet.Log
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
}

// Close waits for questions to the graph that nobody waits for any more.
func (h *handler) Close() error { return h.walker.Close() }

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	r, err := rag.Begin(ex)
	if err != nil {
		return err
	}
	if r.Off || ex.Skips("graph") || r.Options.MaxHops != nil && *r.Options.MaxHops == 0 {
		h.requests.WithLabelValues("off").Inc()
		return next.Handle(ctx, ex)
	}
	if r.Collection == "" {
		if r.Collection, err = rag.Collection(ex.Policy, r.Options.Collection, h.Collection); err != nil {
			return err
		}
	}
	if err := h.walk(ctx, ex, r); err != nil {
		return err
	}
	return next.Handle(ctx, ex)
}

// walk asks the graph and notes what came of it. Its error ends the request.
func (h *handler) walk(ctx context.Context, ex *pipeline.Exchange, r *pipeline.Retrieval) error {
	began := time.Now()
	within, stop := context.WithTimeout(ctx, h.Timeout)
	defer stop()
	q := h.query(ex, r)
	found, err := h.walker.Walk(within, q)
	took := time.Since(began)
	h.seconds.Observe(took.Seconds())
	if err := rag.Over(ctx); err != nil {
		return err
	}
	r.Stages = append(slices.Clip(r.Stages), pipeline.StageTime{Stage: "graph", Took: took})
	if err == nil {
		err = errors.Join(found.Failed...)
	}
	if err != nil {
		h.log.Warn("the graph could not be asked", "error", err)
		r.Degraded = append(slices.Clip(r.Degraded), "graph:"+rag.Reason(within, err))
		if h.OnError == "fail" {
			h.requests.WithLabelValues("failed").Inc()
			return rag.Unavailable(err)
		}
	}
	ex.Passages = append(ex.Passages[:0], rag.Merge(q.Hits, found.Passages, q.After)...)
	r.Seeds = append(slices.Clip(r.Seeds), found.Seeds...)
	r.Graph.Entities = append(slices.Clip(r.Graph.Entities), found.Facts.Entities...)
	r.Graph.Relations = append(slices.Clip(r.Graph.Relations), found.Facts.Relations...)
	some := len(found.Passages)+len(found.Facts.Relations) > 0
	switch {
	case err != nil && some:
		h.requests.WithLabelValues("degraded").Inc()
	case err != nil:
		h.requests.WithLabelValues("failed").Inc()
	case some:
		h.requests.WithLabelValues("hit").Inc()
	default:
		h.requests.WithLabelValues("empty").Inc()
	}
	return nil
}

func (h *handler) query(ex *pipeline.Exchange, r *pipeline.Retrieval) rag.WalkQuery {
	q := rag.WalkQuery{
		Tenant: rag.Tenant(ex), Collection: r.Collection, Text: r.Query, Filter: r.Filter,
		Hits: slices.Clone(ex.Passages), From: h.from, Anchors: h.Anchors, After: h.After, Add: h.Add,
		Hops: h.Hops, Types: h.Types, HubCap: h.HubCap, MaxSeeds: h.MaxSeeds, Fanout: h.Fanout,
		MaxNodes: h.MaxNodes, MaxEdges: h.MaxEdges,
	}
	if h.Merge == "pool" {
		q.After = len(q.Hits)
	}
	if n := r.Options.MaxHops; n != nil {
		q.Hops = *n
	}
	narrow(&q, &r.Options.Graph)
	return q
}

// narrow keeps the walk within what the request asks for.
func narrow(q *rag.WalkQuery, to *pipeline.GraphOptions) {
	for _, bound := range [...]struct {
		at *int
		to int
	}{{&q.MaxNodes, to.MaxNodes}, {&q.MaxEdges, to.MaxEdges}, {&q.HubCap, to.HubCap}} {
		if bound.to > 0 {
			*bound.at = min(*bound.at, bound.to)
		}
	}
	switch {
	case len(to.Types) == 0:
	case len(q.Types) == 0:
		q.Types = to.Types
	default:
		q.Types = slices.DeleteFunc(slices.Clone(q.Types), func(t string) bool { return !slices.Contains(to.Types, t) })
		if len(q.Types) == 0 {
			q.Hops = 0 // there is nothing to follow
		}
	}
}
