package service

import (
	"context"
	_ "embed"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed retrieve.go
var retrieveSource string

// Retrieve describes serve_retrieve to a registry.
var Retrieve = config.Define[pipeline.Handler]("serve_retrieve", RetrieveConfig{
	Collection: "chunks", TopK: 5, MaxHops: 1, Timeout: 1500 * time.Millisecond,
}, retrieveSource)

// RetrieveConfig answers POST /retrieve: passages and facts for a query. It
// stands first in its route; the stages behind it, retrieve, graph and rerank,
// do the finding.
type RetrieveConfig struct {
	// Collection is searched where the request names none.
	Collection string `yaml:"collection" check:"min=1,max=200"`
	// TopK is how many passages are given where the request does not say.
	TopK int `yaml:"top_k" check:"min=1,max=100"`
	// MaxHops is how far from an entity facts are collected where the request
	// does not say.
	MaxHops int `yaml:"max_hops" check:"min=0,max=3"`
	// Timeout bounds it all where the request does not say.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms,max=1m"`
}

// Build implements config.Builder.
func (c RetrieveConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return &retrieveEndpoint{RetrieveConfig: c}, nil
}

type retrieveEndpoint struct {
	endpoint
	RetrieveConfig
}

// asked is what one request asks for.
type asked struct {
	retrieval *pipeline.Retrieval
	topK      int
	subgraph  bool
	text      bool
	timeout   time.Duration
}

// maxGraph is the most that a request may ask of the graph, whose stage has bounds of
// its own; maxTypes is how many relations it may name.
const (
	maxGraph = 10_000
	maxTypes = 1000
)

func (h *retrieveEndpoint) parse(ex *pipeline.Exchange) (*asked, error) {
	if err := detail.Only(ex, "POST"); err != nil {
		return nil, err
	}
	r, err := detail.Read(ex)
	if err != nil {
		return nil, err
	}
	o := &pipeline.RetrievalOptions{Switch: pipeline.RetrievalRequired}
	query := r.NeedString("query")
	a := &asked{topK: topK(r, h.TopK), timeout: h.Timeout}
	o.Collection = r.String("collection", h.Collection)
	a.subgraph = r.Bool("include_subgraph", true)
	hops := r.Within("max_hops", r.Int("max_hops", h.MaxHops), 0, rag.MaxHops)
	filters := r.Dict("filters")
	a.text = r.OptBool("include_text", true)
	if ms := r.OptWithin("timeout_ms", 1, math.MaxInt); ms > 0 {
		a.timeout = min(time.Duration(ms)*time.Millisecond, time.Minute)
	}
	h.options(r, a, o)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if strings.TrimSpace(query) == "" {
		return nil, detail.FailField("query", "missing_field", "query must be non-empty")
	}
	if err := allowed(ex, o.Collection); err != nil {
		return nil, err
	}
	if filters != nil {
		if o.Filter, err = rag.ParseFilter(filters, "filters"); err != nil {
			return nil, err
		}
	}
	if !a.subgraph {
		hops = 0
	}
	o.TopK, o.MaxHops = a.topK, &hops
	a.retrieval = &pipeline.Retrieval{Query: query, Filter: o.Filter, Options: o}
	return a, nil
}

// options reads the fields that the replaced service did not have.
func (h *retrieveEndpoint) options(r *detail.Reader, a *asked, o *pipeline.RetrievalOptions) {
	if m := r.OptString("mode"); m != nil {
		mode(r, *m)
		o.Mode = *m
	}
	if raw := r.Raw("rerank"); raw != nil {
		on := true
		if raw[0] != '{' {
			on = r.Bool("rerank", true)
		} else if v := r.OptObject("rerank"); v != nil {
			a.topK = min(a.topK, v.Within("top_n", v.OptInt("top_n", maxTopK), 1, maxTopK))
			if m := v.OptString("model"); m != nil {
				o.RerankModel = *m
			}
		}
		o.Rerank = &on
	}
	if v := r.OptObject("graph"); v != nil {
		g := &o.Graph
		g.Types = v.OptStrings("types", maxTypes)
		g.MaxNodes = v.OptWithin("max_nodes", 1, maxGraph)
		g.MaxEdges = v.OptWithin("max_edges", 1, maxGraph)
		g.HubCap = v.OptWithin("hub_cap", 1, maxGraph)
	}
}

// Handle implements pipeline.Handler.
func (h *retrieveEndpoint) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	a, err := h.parse(ex)
	if err != nil {
		return err
	}
	if len(next) == 0 {
		return detail.Unavailable("qdrant")
	}
	began := time.Now()
	ex.Retrieval = a.retrieval
	// An upstream is not slow because a client is in a hurry: breakers in front of
	// it are everybody's.
	why := context.DeadlineExceeded
	if a.timeout < h.Timeout {
		why = pipeline.ErrHurried
	}
	within, stop := context.WithTimeoutCause(ctx, a.timeout, why)
	defer stop()
	if err := next.Handle(within, ex); err != nil {
		return gone(ex, "retrieve_error", err)
	}
	return reply(ex, a.reply(ex, time.Since(began)))
}

func (a *asked) reply(ex *pipeline.Exchange, took time.Duration) retrieveReply {
	r := ex.Retrieval
	out := retrieveReply{OK: true, Hits: []retrieved{}, Millis: took.Milliseconds(), Degraded: append([]string{}, r.Degraded...), Timings: timings(r)}
	asked := r.Options.Rerank
	if asked != nil && *asked && !slices.ContainsFunc(r.Stages, func(s pipeline.StageTime) bool { return s.Stage == "rerank" }) && len(ex.Passages) > 0 {
		out.Degraded = append(out.Degraded, "rerank:unavailable") // no such stage here
	}
	for i := range ex.Passages {
		if i == a.topK {
			break
		}
		p := &ex.Passages[i]
		hit := retrieved{
			Text: p.Text, Metadata: metadata(p), Citations: []citation{citationOf(p)}, Score: score(p),
			ID: p.ID, ChunkID: orNull(p.ChunkID), DocID: orNull(p.DocID), Scores: scoresOf(p), Via: append([]string{}, p.Via...),
		}
		if !a.text {
			hit.Text = ""
		}
		out.Hits = append(out.Hits, hit)
	}
	if a.subgraph {
		out.Subgraph = subgraphOf(&r.Graph)
	}
	return out
}

// timings are the milliseconds that the stages took, by the names of the API.
func timings(r *pipeline.Retrieval) map[string]float64 {
	out := map[string]float64{"embed": 0, "vector": 0, "graph": 0, "rerank": 0}
	for _, s := range r.Stages {
		if _, ok := out[s.Stage]; ok {
			out[s.Stage] += float64(s.Took.Microseconds()) / 1000
		}
	}
	return out
}

type retrieveReply struct {
	OK       bool               `json:"ok"`
	Hits     []retrieved        `json:"hits"`
	Subgraph *subgraph          `json:"subgraph"`
	Millis   int64              `json:"query_time_ms"`
	Degraded []string           `json:"degraded"`
	Timings  map[string]float64 `json:"timings"`
}

type retrieved struct {
	Text      string          `json:"text"`
	Metadata  json.RawMessage `json:"metadata"`
	Citations []citation      `json:"citations"`
	Score     float32         `json:"score"`
	ID        string          `json:"id"`
	ChunkID   *string         `json:"chunk_id"`
	DocID     *string         `json:"doc_id"`
	Scores    scores          `json:"scores"`
	Via       []string        `json:"via"`
}

// citation says where a passage comes from.
type citation struct {
	Source   string   `json:"source"` // vector, graph or hybrid
	DocID    *string  `json:"doc_id"`
	ChunkID  *string  `json:"chunk_id"`
	NodeID   *string  `json:"node_id"`
	EdgeType *string  `json:"edge_type"`
	Score    *float32 `json:"score"`
}

func citationOf(p *pipeline.Passage) citation {
	s := score(p)
	c := citation{Source: "vector", DocID: orNull(p.DocID), ChunkID: orNull(p.ChunkID), Score: &s}
	if len(p.Via) > 0 {
		c.NodeID, c.Source = &p.Via[0], "graph"
		if p.Scores.Dense.Set || p.Scores.Sparse.Set {
			c.Source = "hybrid"
		}
	}
	return c
}

type subgraph struct {
	Nodes []subgraphNode `json:"nodes"`
	Edges []subgraphEdge `json:"edges"`
}

type subgraphNode struct {
	ID    string                     `json:"id"`
	Type  string                     `json:"type"`
	Props map[string]json.RawMessage `json:"props"`
}

type subgraphEdge struct {
	Src   string                     `json:"src"`
	Dst   string                     `json:"dst"`
	Type  string                     `json:"type"`
	Props map[string]json.RawMessage `json:"props"`
}

// subgraphOf is g as the answer has it, nil if there is nothing in it.
func subgraphOf(g *pipeline.Subgraph) *subgraph {
	if len(g.Entities)+len(g.Relations) == 0 {
		return nil
	}
	out := &subgraph{Nodes: []subgraphNode{}, Edges: []subgraphEdge{}}
	for _, e := range g.Entities {
		props := propsOf(e.Props)
		if _, ok := props["name"]; !ok && e.Name != "" {
			props["name"] = chat.AppendString(nil, e.Name)
		}
		out.Nodes = append(out.Nodes, subgraphNode{e.ID, e.Type, props})
	}
	for _, e := range g.Relations {
		out.Edges = append(out.Edges, subgraphEdge{e.Src, e.Dst, e.Type, propsOf(e.Props)})
	}
	return out
}

func propsOf(props []pipeline.Prop) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(props))
	for _, p := range props {
		out[p.Key] = p.Value
	}
	return out
}
