// Package extract is the endpoint that makes a knowledge graph of a text: POST
// /graph/extract. It asks the models of its provider chain and answers with the
// first graph that is acceptable: well-formed, and with enough nodes and edges.
// Whoever else is still at work is cancelled at once.
//
// Each model is asked through the stages that follow in the route, so breakers,
// caches and fallbacks work here as in a chat.
package extract

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/graphjson"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed extract.go
var source string

// Plugin describes extract to a registry.
var Plugin = config.Define[pipeline.Handler]("serve_extract", Config{
	Chain:    []string{"graph-extractor", "graph-extractor-o1mini", "graph-extractor-gemini"},
	Mode:     "race",
	After:    500 * time.Millisecond,
	MinNodes: 1, MinEdges: 1,
	MaxAttempts: 2,
	Format:      "json_object",
	MaxContext:  64 << 10,
	AtOnce:      4,
	Collection:  "chunks",
}, source)

// Config answers POST /graph/extract. It stands first in its route; the stages
// behind it are run for each model that is asked.
type Config struct {
	// Chain names the models to ask, the preferred first, where the request
	// names none. Names that the file does not declare are passed over.
	Chain []string `yaml:"chain"`
	// Mode says who is asked when: race asks all at once; hedge the first, and
	// the next when one fails or takes too long; chain one after the other.
	Mode string `yaml:"mode" check:"enum=race|hedge|chain"`
	// After is how long mode hedge waits for an answer before the next model is
	// asked as well.
	After time.Duration `yaml:"after" check:"min=1ms,max=5m"`
	// MinNodes is how many nodes a graph must have, unless the request says so.
	MinNodes int `yaml:"min_nodes" check:"min=0,max=5000"`
	// MinEdges is how many edges a graph must have, unless the request says so.
	MinEdges int `yaml:"min_edges" check:"min=0,max=10000"`
	// AllowEmpty takes a graph of any size, unless the request says otherwise.
	AllowEmpty bool `yaml:"allow_empty"`
	// MaxAttempts is how often each model is asked, repairs not counted.
	MaxAttempts int `yaml:"max_attempts" check:"min=1,max=5"`
	// Format is how JSON is asked for: json_schema gives the model the schema of a
	// graph, which small models need and whoever enforces it keeps to; json_object
	// asks for JSON; text does so in words only. A model that refuses the one is asked
	// in the next, and from then on so.
	Format string `yaml:"format" check:"enum=json_schema|json_object|text"`
	// MaxContext bounds the text.
	MaxContext config.Size `yaml:"max_context" check:"min=1KiB,max=4MiB"`
	// AtOnce bounds how many models are asked at the same time.
	AtOnce int `yaml:"at_once" check:"min=1,max=16"`
	// Graph is the store that a request with upsert writes to.
	Graph config.Ref[pipeline.GraphStore] `yaml:"graph"`
	// Collection holds the chunk that a request with upsert names, where it
	// does not say which.
	Collection string `yaml:"collection" check:"min=1,max=200"`
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &handler{Config: c, log: env.Log}
	if !c.Graph.IsZero() {
		h.graph = c.Graph.Get()
	}
	return h, nil
}

type handler struct {
	Config
	graph   pipeline.GraphStore // nil: nothing can be written
	log     *slog.Logger
	formats formats
	lanes   sync.WaitGroup // models that are being asked
}

// Close waits for the models whose answer came too late.
func (h *handler) Close() error {
	h.lanes.Wait()
	return nil
}

// Refuse implements pipeline.Endpoint.
func (h *handler) Refuse(e *pipeline.Error) (int, []byte) { return detail.Refuse(e) }

// A query is what one request asks for.
type query struct {
	context        string
	strict, repair bool
	minNodes       int
	minEdges       int
	allowEmpty     bool
	maxAttempts    int
	chain          []string
	mode           string
	upsert         bool
	from           graphjson.Source
}

// maxChain bounds how many models one request may name, and maxTries how often each is
// asked, however often a request would have it.
const (
	maxChain = 16
	maxTries = 5
)

// parse reads the request.
func (h *handler) parse(ex *pipeline.Exchange) (*query, error) {
	r, err := detail.Read(ex)
	if err != nil {
		return nil, err
	}
	q := &query{
		context: r.NeedString("context"),
		strict:  r.Bool("strict", true), repair: r.Bool("repair_if_invalid", true),
		minNodes: r.OptInt("min_nodes", h.MinNodes), minEdges: r.OptInt("min_edges", h.MinEdges),
		allowEmpty:  r.OptBool("allow_empty", h.AllowEmpty),
		maxAttempts: r.OptInt("max_attempts", h.MaxAttempts),
		chain:       r.OptStrings("provider_chain", maxChain),
		mode:        h.Mode,
		upsert:      r.OptBool("upsert", false),
	}
	if m := r.OptString("mode"); m != nil {
		q.mode = *m
		if *m != "race" && *m != "hedge" && *m != "chain" {
			r.Refuse("mode", "enum", "Input should be 'race', 'hedge' or 'chain'", map[string]string{"expected": "'race', 'hedge' or 'chain'"})
		}
	}
	if s := r.OptString("doc_id"); s != nil {
		q.from.DocID = *s
	}
	if s := r.OptString("chunk_id"); s != nil {
		q.from.ChunkID = *s
	}
	collection := r.String("collection", h.Collection)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if len(q.chain) == 0 {
		q.chain = h.Chain
	}
	q.from.Tenant = rag.Tenant(ex)
	if q.from.Collection, err = rag.Collection(ex.Policy, collection, h.Collection); err != nil {
		return nil, err
	}
	return q, h.check(q)
}

func (h *handler) check(q *query) error {
	switch {
	case strings.TrimSpace(q.context) == "":
		return detail.FailField("context", "missing_field", "context must be a non-empty string")
	case len(q.context) > int(h.MaxContext):
		return detail.Fail(413, "request_too_large", fmt.Sprintf("context is longer than %d bytes", h.MaxContext))
	case q.upsert && h.graph == nil:
		return detail.Unavailable("neo4j")
	}
	return nil
}

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	q, err := h.parse(ex)
	if err != nil {
		return err
	}
	won, attempts, err := h.run(ctx, ex, next, q)
	if err != nil {
		return err
	}
	if won.graph == nil {
		return failed(q, "no provider produced acceptable output", attempts, won.wait)
	}
	if q.upsert {
		won.graph.Retype() // the answer is what is written
	}
	answer := answer{OK: true, Data: won.graph, Provider: won.provider, SchemaHash: graphjson.SchemaHash, Attempts: attempts}
	if q.upsert {
		answer.Upserted, err = h.write(ctx, q, won.graph)
		if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Fault == pipeline.CallerFault {
			// What the store does not take, such as an id of kilobytes, a model wrote.
			return failed(q, "the graph cannot be written: "+detail.Sentence(e), attempts, 0)
		}
		if err != nil {
			return err
		}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	ask.Set(ex, 200, body)
	return nil
}

type answer struct {
	OK         bool             `json:"ok"`
	Data       *graphjson.Graph `json:"data"`
	Provider   string           `json:"provider"`
	SchemaHash string           `json:"schema_hash"`
	Attempts   []attempt        `json:"attempts"`
	Upserted   *upserted        `json:"upserted,omitempty"`
}

type upserted struct {
	Nodes   int              `json:"nodes"`
	Edges   int              `json:"edges"`
	Skipped []graphjson.Edge `json:"skipped_edges"`
}

func (h *handler) write(ctx context.Context, q *query, g *graphjson.Graph) (*upserted, error) {
	done, err := h.graph.Write(ctx, g.Write(q.from))
	if err != nil {
		if e, ok := errors.AsType[*pipeline.Error](err); ok {
			return nil, e
		}
		h.log.Warn("a graph could not be written", "error", err)
		return nil, detail.Fail(502, "store_error", "neo4j_error: the graph was extracted and could not be written")
	}
	out := &upserted{Nodes: done.Entities, Edges: done.Relations, Skipped: []graphjson.Edge{}}
	for _, r := range done.Skipped {
		out.Skipped = append(out.Skipped, graphjson.Edge{Src: r.Src, Dst: r.Dst, Type: r.Type, Props: []graphjson.Prop{}})
	}
	return out, nil
}

// failed is the refusal that says what was tried.
func failed(q *query, message string, attempts []attempt, wait time.Duration) error {
	body, err := json.Marshal(map[string]any{"detail": map[string]any{
		"error": "graph_extraction_failed", "message": message,
		"min_nodes": q.minNodes, "min_edges": q.minEdges, "allow_empty": q.allowEmpty, "max_attempts": q.maxAttempts,
		"provider_chain": q.chain, "schema_hash": graphjson.SchemaHash, "attempts": attempts[:min(len(attempts), 50)],
	}})
	if err != nil {
		return fmt.Errorf("write the refusal: %w", err)
	}
	return &pipeline.Error{Status: 422, Code: "graph_extraction_failed", Fault: pipeline.UpstreamFault, RetryAfter: wait, Body: body, Err: errors.New(message)}
}
