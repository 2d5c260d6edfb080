package service

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/cypher"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/graphjson"
	"github.com/headrace/headrace/pipeline/quiet"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed graph.go
var graphSource string

// Upsert describes serve_upsert to a registry.
var Upsert = config.Define[pipeline.Handler]("serve_upsert", UpsertConfig{Collection: "chunks"}, graphSource)

// UpsertConfig answers POST /graph/upsert: it adds nodes and edges to the
// knowledge graph. It stands alone in its route.
type UpsertConfig struct {
	// Graph is written to. Without it every request is refused with 503.
	Graph config.Ref[pipeline.GraphStore] `yaml:"graph"`
	// Collection holds the chunk that a request names, where it does not say
	// which.
	Collection string `yaml:"collection" check:"min=1,max=200"`
}

// Build implements config.Builder.
func (c UpsertConfig) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &upsertEndpoint{UpsertConfig: c, graph: get(c.Graph), log: quiet.New(env.Log)}, nil
}

type upsertEndpoint struct {
	endpoint
	UpsertConfig
	graph pipeline.GraphStore
	log   *quiet.Log
}

// Handle implements pipeline.Handler.
func (h *upsertEndpoint) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	g := &graphjson.Graph{}
	if data := r.NeedObject("data"); data != nil {
		g = graphOf(data)
		if r.Err() == nil {
			if err := g.Validate(); err != nil {
				data.Refuse("nodes", "value_error", err.Error(), nil)
			}
		}
	}
	from := graphjson.Source{Tenant: rag.Tenant(ex), Collection: r.String("collection", h.Collection)}
	if s := r.OptString("doc_id"); s != nil {
		from.DocID = *s
	}
	if s := r.OptString("chunk_id"); s != nil {
		from.ChunkID = *s
	}
	if err := r.Err(); err != nil {
		return err
	}
	if err := allowed(ex, from.Collection); err != nil {
		return err
	}
	if h.graph == nil {
		return detail.Unavailable("neo4j")
	}
	changed := g.Retype() // clients send what models have written
	done, err := h.graph.Write(ctx, g.Write(from))
	if err != nil {
		h.log.Warn("a graph could not be written", "error", err)
		return gone(ex, "neo4j_error", err)
	}
	out := upsertReply{OK: true, Nodes: done.Entities, Edges: done.Relations, Skipped: []graphjson.Edge{}, Changed: changed}
	for _, s := range done.Skipped {
		out.Skipped = append(out.Skipped, graphjson.Edge{Src: s.Src, Dst: s.Dst, Type: s.Type, Props: []graphjson.Prop{}})
	}
	return reply(ex, out)
}

type upsertReply struct {
	OK      bool              `json:"ok"`
	Nodes   int               `json:"nodes"`
	Edges   int               `json:"edges"`
	Skipped []graphjson.Edge  `json:"skipped_edges"`
	Changed map[string]string `json:"changed_types,omitempty"` // what was no type, and the type it became
}

// graphOf reads a graph, strictly as the schema has it but for values, which
// may be lists and objects: they are kept as their text.
func graphOf(data *detail.Reader) *graphjson.Graph {
	g := &graphjson.Graph{}
	for n := range data.NeedObjects("nodes", graphjson.MaxNodes) {
		g.Nodes = append(g.Nodes, graphjson.Node{ID: n.NeedString("id"), Type: n.NeedString("type"), Props: propsIn(n)})
	}
	for e := range data.NeedObjects("edges", graphjson.MaxEdges) {
		g.Edges = append(g.Edges, graphjson.Edge{Src: e.NeedString("src"), Dst: e.NeedString("dst"), Type: e.NeedString("type"), Props: propsIn(e)})
	}
	return g
}

// maxProps is how many properties a node or an edge may have.
const maxProps = 1000

func propsIn(r *detail.Reader) (out []graphjson.Prop) {
	for p := range r.NeedObjects("props", maxProps) {
		key, v := p.NeedString("key"), p.NeedAny("value")
		if len(v) > 0 && (v[0] == '{' || v[0] == '[') {
			v = chat.AppendString(nil, string(v))
		}
		out = append(out, graphjson.Prop{Key: key, Value: v})
	}
	return out
}

// Query describes serve_query to a registry.
var Query = config.Define[pipeline.Handler]("serve_query", QueryConfig{
	Timeout: 5 * time.Second, MaxRows: 1000, MaxBytes: 4 << 20,
}, graphSource)

// QueryConfig answers POST /graph/query: a query that only reads, in the graph
// store's own language. Such a query sees every tenant's graph: where tenants
// have keys of their own, a key needs the scope graph:query. It stands alone in
// its route.
type QueryConfig struct {
	// Graph is asked. Without it every query is refused with 503.
	Graph config.Ref[pipeline.GraphQuerier] `yaml:"graph"`
	// Procedures may be called, by their full names. All others are refused.
	Procedures []string `yaml:"procedures"`
	// Timeout bounds a query.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms,max=1m"`
	// MaxRows bounds what a query returns.
	MaxRows int `yaml:"max_rows" check:"min=1,max=100000"`
	// MaxBytes bounds what a query returns, too.
	MaxBytes config.Size `yaml:"max_bytes" check:"min=1KiB,max=64MiB"`
}

// Build implements config.Builder.
func (c QueryConfig) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &queryEndpoint{QueryConfig: c, graph: get(c.Graph), log: quiet.New(env.Log)}
	for _, p := range c.Procedures {
		h.procedures = append(h.procedures, strings.ToLower(p))
	}
	return h, nil
}

type queryEndpoint struct {
	endpoint
	QueryConfig
	graph      pipeline.GraphQuerier
	procedures []string
	log        *quiet.Log
}

// scope is what a key needs for queries.
const scope = "graph:query"

var errUnsafe = errors.New("write_or_unsafe_query_not_allowed")

// Handle implements pipeline.Handler.
func (h *queryEndpoint) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	q := pipeline.GraphQuery{Text: r.NeedString("query"), Timeout: h.Timeout, MaxRows: h.MaxRows, MaxBytes: int(h.MaxBytes)}
	params := r.Dict("params")
	if err := r.Err(); err != nil {
		return err
	}
	switch {
	case strings.TrimSpace(q.Text) == "":
		return detail.FailField("query", "missing_field", "query is required")
	case ex.Policy != nil && !slices.Contains(ex.Policy.Scopes, scope):
		return &pipeline.Error{
			Status: 403, Code: "missing_scope", Fault: pipeline.CallerFault,
			Err: fmt.Errorf("this key lacks the scope %s", scope),
		}
	}
	if err := cypher.Check(q.Text, h.procedures...); err != nil {
		h.log.Warn("a query was refused", "error", err)
		return &pipeline.Error{Status: 400, Code: "unsafe_cypher", Fault: pipeline.CallerFault, Err: errUnsafe}
	}
	if h.graph == nil {
		return detail.Unavailable("neo4j")
	}
	q.Params = withTenant(params, rag.Tenant(ex))
	records, cut, err := h.graph.QueryGraph(ctx, q)
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "unsafe_cypher" {
		return &pipeline.Error{Status: 400, Code: "unsafe_cypher", Fault: pipeline.CallerFault, Err: errUnsafe}
	}
	if err != nil {
		return gone(ex, "neo4j_error", err)
	}
	out := queryReply{OK: true, Records: []json.RawMessage{}, Truncated: cut}
	for _, rec := range records {
		out.Records = append(out.Records, rec)
	}
	return reply(ex, out)
}

type queryReply struct {
	OK        bool              `json:"ok"`
	Records   []json.RawMessage `json:"records"`
	Truncated bool              `json:"truncated,omitempty"` // there are more, beyond the bounds
}

// withTenant is params with the tenant of the key as tenant_id, whatever the
// caller sent under that name.
func withTenant(params json.RawMessage, tenant string) []byte {
	b := []byte{'{'}
	for k, v := range chat.Object(params) {
		if string(k) == "tenant_id" {
			continue
		}
		b = append(chat.AppendString(b, string(k)), ':')
		b = append(append(b, v...), ',')
	}
	b = append(b, `"tenant_id":`...)
	return append(chat.AppendString(b, tenant), '}')
}
