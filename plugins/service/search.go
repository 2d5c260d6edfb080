package service

import (
	"context"
	"crypto/sha1" //nolint:gosec // a name for a text that clients know, and no protection
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/quiet"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed search.go
var searchSource string

// Search describes serve_search to a registry.
var Search = config.Define[pipeline.Handler]("serve_search", SearchConfig{
	Collection: "chunks", TopK: 5, Mode: "hybrid", DenseWeight: 1, Prefetch: 50, Timeout: 5 * time.Second,
}, searchSource)

// SearchConfig answers POST /search: the passages of one collection that are
// nearest to a query. It stands alone in its route.
type SearchConfig struct {
	// Store has the passages. Without it every search is refused with 503.
	Store config.Ref[pipeline.VectorStore] `yaml:"store"`
	// Embedder turns the query into a vector. Without it the search is by words
	// only.
	Embedder config.Ref[pipeline.Embedder] `yaml:"embedder"`
	// Collection is searched where the request names none.
	Collection string `yaml:"collection" check:"min=1,max=200"`
	// TopK is how many passages are found where the request does not say.
	TopK int `yaml:"top_k" check:"min=1,max=100"`
	// Mode is dense to search by meaning, sparse to search by words, or hybrid
	// for both, unless the request says so.
	Mode string `yaml:"mode" check:"enum=hybrid|dense|sparse"`
	// DenseWeight is what the search by meaning counts in hybrid mode, next to 1
	// for the search by words.
	DenseWeight float64 `yaml:"dense_weight" check:"min=0,max=1000"`
	// Prefetch is how many passages each of the two searches returns.
	Prefetch int `yaml:"prefetch" check:"min=1,max=1000"`
	// Timeout bounds a search.
	Timeout time.Duration `yaml:"timeout" check:"min=1ms"`
}

// Build implements config.Builder.
func (c SearchConfig) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	h := &searchEndpoint{SearchConfig: c, log: quiet.New(env.Log)}
	if !c.Store.IsZero() {
		h.searcher = &rag.Searcher{Store: c.Store.Get(), Embedder: get(c.Embedder), Fusion: rag.Fusion{K: 60, Dense: c.DenseWeight, Sparse: 1}}
	}
	return h, nil
}

type searchEndpoint struct {
	endpoint
	SearchConfig
	searcher *rag.Searcher // nil: there is no store
	log      *quiet.Log
}

// Close waits for searches that nobody waits for any more.
func (h *searchEndpoint) Close() error {
	if h.searcher == nil {
		return nil
	}
	return h.searcher.Close()
}

// maxTopK bounds what one request may find.
const maxTopK = 100

// topK reads how many passages are wanted.
func topK(r *detail.Reader, otherwise int) int {
	return r.Within("top_k", r.Int("top_k", otherwise), 1, maxTopK)
}

// mode reads which searches are wanted.
func mode(r *detail.Reader, otherwise string) rag.Mode {
	name := otherwise
	if s := r.OptString("mode"); s != nil {
		name = *s
	}
	m, ok := rag.ModeOf(name)
	if !ok {
		const want = "'dense', 'sparse' or 'hybrid'"
		r.Refuse("mode", "enum", "Input should be "+want, map[string]string{"expected": want})
	}
	return m
}

// Handle implements pipeline.Handler.
func (h *searchEndpoint) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	q := rag.SearchQuery{Tenant: rag.Tenant(ex), Text: r.NeedString("query"), Keep: topK(r, h.TopK)}
	q.Collection = r.String("collection", h.Collection)
	filters := r.Dict("filters")
	q.Mode = mode(r, h.Mode)
	threshold := r.OptFloat("score_threshold")
	if err := r.Err(); err != nil {
		return err
	}
	if strings.TrimSpace(q.Text) == "" {
		return detail.FailField("query", "missing_field", "query must be non-empty")
	}
	if err := allowed(ex, q.Collection); err != nil {
		return err
	}
	if filters != nil {
		if q.Filter, err = rag.ParseFilter(filters, "filters"); err != nil {
			return err
		}
	}
	if h.searcher == nil {
		return detail.Unavailable("qdrant")
	}
	if threshold != nil {
		q.Threshold = float32(*threshold)
	}
	q.Prefetch = max(h.Prefetch, q.Keep)
	within, stop := context.WithTimeout(ctx, h.Timeout)
	defer stop()
	found, err := h.searcher.Search(within, q)
	if err := rag.Over(ctx); err != nil {
		return err // and no answer that lacks what ended with the request
	}
	if err != nil {
		h.log.Warn("nothing could be searched", "error", err)
		return failed("search_error", err)
	}
	out := searchReply{OK: true, Hits: []searchHit{}, Degraded: found.Degraded}
	for i := range found.Passages {
		p := &found.Passages[i]
		if q.Mode != rag.Hybrid { // one search has scores that mean something, and its places do not
			p.Scores.Fused = pipeline.Score{}
		}
		out.Hits = append(out.Hits, hitOf(p, q.Tenant))
	}
	return reply(ex, out)
}

type searchReply struct {
	OK       bool        `json:"ok"`
	Hits     []searchHit `json:"hits"`
	Degraded []string    `json:"degraded,omitempty"`
}

type searchHit struct {
	ID      string  `json:"id"`
	Score   float32 `json:"score"`
	Payload payload `json:"payload"`
	Scores  scores  `json:"scores"`
}

// payload is a passage as the replaced service stored it.
type payload struct {
	DocID    string          `json:"doc_id"`
	ChunkID  *string         `json:"chunk_id"`
	Hash     string          `json:"hash"`
	Metadata json.RawMessage `json:"metadata"`
	TenantID string          `json:"tenant_id"`
	Text     string          `json:"text"`
}

func hitOf(p *pipeline.Passage, tenant string) searchHit {
	sum := sha1.Sum([]byte(p.Text)) //nolint:gosec // as above
	return searchHit{
		ID: p.ID, Score: score(p), Scores: scoresOf(p),
		Payload: payload{DocID: p.DocID, ChunkID: orNull(p.ChunkID), Hash: hex.EncodeToString(sum[:]), Metadata: metadata(p), TenantID: tenant, Text: p.Text},
	}
}

func metadata(p *pipeline.Passage) json.RawMessage {
	if p.Metadata == nil {
		return json.RawMessage("{}")
	}
	return p.Metadata
}

// orNull is s, or null in its place.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// scores are what each ranking made of a passage; null where it had no say.
type scores struct {
	Vector *float32 `json:"vector"`
	Sparse *float32 `json:"sparse"`
	Graph  *float32 `json:"graph"`
	Rerank *float32 `json:"rerank"`
}

func scoresOf(p *pipeline.Passage) scores {
	of := func(s pipeline.Score) *float32 {
		if !s.Set {
			return nil
		}
		return &s.Value
	}
	return scores{of(p.Scores.Dense), of(p.Scores.Sparse), of(p.Scores.Graph), of(p.Scores.Rerank)}
}

// score is that of the last ranking that had a say.
func score(p *pipeline.Passage) float32 {
	s := p.Scores
	for _, one := range [...]pipeline.Score{s.Rerank, s.Fused, s.Dense, s.Sparse, s.Graph} {
		if one.Set {
			return one.Value
		}
	}
	return 0
}
