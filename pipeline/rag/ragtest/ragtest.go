// Package ragtest is a store of passages and entities for tests: small, in
// memory, and as slow or broken as a test wants it.
package ragtest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/rag"
)

// A Store is a VectorStore and a GraphStore in memory. Its fields must not
// change while calls run.
type Store struct {
	Points    []Point
	Relations []pipeline.Relation
	Mentions  map[string][]string // entity ids by the id of a passage

	// Delay is waited before a call answers, by the name of the call: "dense",
	// "sparse", "fetch", "link", "related", "expand". It ends with the context.
	Delay map[string]time.Duration
	// Deaf are calls whose delay does not end with the context.
	Deaf map[string]bool
	Part map[string]bool // what it has when its time is up is returned
	// Fail are errors that calls return, by the same names.
	Fail map[string]error

	mu    sync.Mutex
	calls []string // guarded by mu
}

// A Point is a passage as it is kept.
type Point struct {
	Tenant, Collection string
	Vector             []float32
	pipeline.Passage
}

// Calls returns the names of the calls made so far, in order.
func (s *Store) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// begin notes a call, waits and fails as the test wants it.
func (s *Store) begin(ctx context.Context, name string) error {
	s.note(name)
	return s.take(ctx, name)
}

func (s *Store) note(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
}

// take is as slow as a call, and fails as it does.
func (s *Store) take(ctx context.Context, name string) error {
	if d := s.Delay[name]; d > 0 {
		done := ctx.Done()
		if s.Deaf[name] {
			done = nil
		}
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-done:
			if s.Part[name] {
				return nil
			}
			return pipeline.Cause(ctx)
		}
	}
	return s.Fail[name]
}

// Search implements pipeline.VectorStore. Legs wait and fail together, as slow as the
// slower one. Words count by how many the texts share.
func (s *Store) Search(ctx context.Context, q pipeline.SearchQuery) (pipeline.Legs, error) {
	var out pipeline.Legs
	var near, literal error
	var both sync.WaitGroup
	switch {
	case q.Vector == nil:
		literal = s.begin(ctx, "sparse")
	case q.Text == "":
		near = s.begin(ctx, "dense")
	default:
		s.note("dense+sparse")
		both.Go(func() { near = s.take(ctx, "dense") })
		both.Go(func() { literal = s.take(ctx, "sparse") })
		both.Wait()
	}
	if err := cmp.Or(near, literal); err != nil {
		return out, err
	}
	asked := words(q.Text)
	known := false
	for i := range s.Points {
		p := &s.Points[i]
		if p.Collection != q.Collection {
			continue
		}
		known = true
		if p.Tenant != q.Tenant || !rag.Matches(q.Filter, &p.Passage) {
			continue
		}
		if q.Vector != nil && len(p.Vector) == len(q.Vector) {
			found := p.Passage
			for k, x := range q.Vector {
				found.Scores.Dense.Value += x * p.Vector[k]
			}
			found.Scores.Dense.Set = true
			out.Dense = append(out.Dense, found)
		}
		shared := 0
		for w := range words(p.Text) {
			if asked[w] {
				shared++
			}
		}
		if shared > 0 {
			found := p.Passage
			found.Scores.Sparse = pipeline.Score{Value: float32(shared), Set: true}
			out.Sparse = append(out.Sparse, found)
		}
	}
	if !known {
		return out, &pipeline.Error{Status: 404, Code: "collection_not_found"}
	}
	best(&out.Dense, q.Limit, func(p *pipeline.Passage) float32 { return p.Scores.Dense.Value })
	best(&out.Sparse, q.Limit, func(p *pipeline.Passage) float32 { return p.Scores.Sparse.Value })
	return out, nil
}

func best(list *[]pipeline.Passage, limit int, score func(*pipeline.Passage) float32) {
	slices.SortFunc(*list, func(a, b pipeline.Passage) int {
		return cmp.Or(cmp.Compare(score(&b), score(&a)), strings.Compare(a.ID, b.ID))
	})
	*list = (*list)[:min(limit, len(*list))]
}

func words(text string) map[string]bool {
	out := map[string]bool{}
	rag.EachWord(text, func(w []byte, pair int) {
		if pair != 1 && !rag.IsStopWord(w) {
			out[string(rag.Stem(w))] = true
		}
	})
	return out
}

// Fetch implements pipeline.VectorStore.
func (s *Store) Fetch(ctx context.Context, tenant, collection string, ids []string) ([]pipeline.Passage, error) {
	if err := s.begin(ctx, "fetch"); err != nil {
		return nil, err
	}
	var out []pipeline.Passage
	for _, id := range ids {
		for i := range s.Points {
			if p := &s.Points[i]; p.ID == id && p.Tenant == tenant && p.Collection == collection {
				out = append(out, p.Passage)
			}
		}
	}
	return out, nil
}

// Upsert implements pipeline.VectorStore. It adds the points and replaces none.
func (s *Store) Upsert(ctx context.Context, u pipeline.Upsert) (pipeline.Upserted, error) {
	for _, p := range u.Points {
		s.Points = append(s.Points, Point{u.Tenant, u.Collection, p.Vector, p.Passage})
	}
	n, err := s.Remove(ctx, u.Tenant, u.Collection, u.Remove)
	return pipeline.Upserted{Written: len(u.Points), Removed: n}, err
}

// Delete implements pipeline.VectorStore.
func (s *Store) Delete(_ context.Context, tenant, collection, docID string) (int, error) {
	before := len(s.Points)
	s.Points = slices.DeleteFunc(s.Points, func(p Point) bool {
		return p.Tenant == tenant && p.Collection == collection && (docID == "" || p.DocID == docID)
	})
	return before - len(s.Points), nil
}

// Collection implements pipeline.VectorStore.
func (s *Store) Collection(_ context.Context, tenant, collection string) (pipeline.CollectionInfo, error) {
	info := pipeline.CollectionInfo{Sparse: true}
	known := false
	for i := range s.Points {
		if p := &s.Points[i]; p.Collection == collection {
			known = true
			info.Dimensions = len(p.Vector)
			if p.Tenant == tenant {
				info.Points++
			}
		}
	}
	if !known {
		return info, &pipeline.Error{Status: 404, Code: "collection_not_found"}
	}
	return info, nil
}

// Chunks implements pipeline.VectorStore.
func (s *Store) Chunks(_ context.Context, tenant, collection, docID string) ([]pipeline.Passage, error) {
	if _, err := s.Collection(context.Background(), tenant, collection); err != nil {
		return nil, err
	}
	var out []pipeline.Passage
	for i := range s.Points {
		if p := &s.Points[i]; p.Tenant == tenant && p.Collection == collection && p.DocID == docID {
			out = append(out, pipeline.Passage{ID: p.ID, DocID: docID, ChunkID: p.ChunkID, Index: p.Index})
		}
	}
	slices.SortStableFunc(out, func(a, b pipeline.Passage) int { return cmp.Compare(a.Index, b.Index) })
	return out, nil
}

// Remove implements pipeline.VectorStore.
func (s *Store) Remove(_ context.Context, tenant, collection string, ids []string) (int, error) {
	was := len(s.Points)
	s.Points = slices.DeleteFunc(s.Points, func(p Point) bool {
		return p.Tenant == tenant && p.Collection == collection && slices.Contains(ids, p.ID)
	})
	return was - len(s.Points), nil
}

// Link implements pipeline.GraphStore: it finds entities whose id is a word of
// the text.
func (s *Store) Link(ctx context.Context, q pipeline.LinkQuery) ([]pipeline.Seed, error) {
	if err := s.begin(ctx, "link"); err != nil {
		return nil, err
	}
	var out []pipeline.Seed
	asked := words(q.Text)
	for _, id := range s.entities() {
		if asked[strings.ToLower(id)] && len(out) < q.Limit {
			out = append(out, pipeline.Seed{ID: id, Weight: 1})
		}
	}
	return out, nil
}

func (s *Store) entities() []string {
	var ids []string
	for _, m := range s.Mentions {
		ids = append(ids, m...)
	}
	for _, r := range s.Relations {
		ids = append(ids, r.Src, r.Dst)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Related implements pipeline.GraphStore.
func (s *Store) Related(ctx context.Context, q pipeline.RelatedQuery) ([]pipeline.Related, error) {
	if err := s.begin(ctx, "related"); err != nil {
		return nil, err
	}
	df := map[string]float64{}
	for _, m := range s.Mentions {
		for _, e := range m {
			df[e]++
		}
	}
	weight := map[string]float64{}
	for rank, id := range q.Chunks {
		for _, e := range s.Mentions[id] {
			if df[e] > 1 && df[e] <= float64(q.HubCap) {
				weight[e] += 1 / float64(rank+1) / df[e]
			}
		}
	}
	var out []pipeline.Related
	for id, m := range s.Mentions {
		r := pipeline.Related{ID: id}
		for _, e := range m {
			if weight[e] > 0 {
				r.Score += weight[e]
				r.Via = append(r.Via, e)
			}
		}
		if r.Score > 0 && !slices.Contains(q.Chunks, id) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b pipeline.Related) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.ID, b.ID))
	})
	return out[:min(q.Limit, len(out))], nil
}

// Expand implements pipeline.GraphStore, one hop far.
func (s *Store) Expand(ctx context.Context, q pipeline.ExpandQuery) (pipeline.Subgraph, error) {
	if err := s.begin(ctx, "expand"); err != nil {
		return pipeline.Subgraph{}, err
	}
	var out pipeline.Subgraph
	for _, r := range s.Relations {
		if q.Types != nil && !slices.Contains(q.Types, r.Type) {
			continue
		}
		for _, seed := range q.Seeds {
			if (r.Src == seed.ID || r.Dst == seed.ID) && len(out.Relations) < q.MaxEdges {
				out.Relations = append(out.Relations, r)
				out.Entities = append(out.Entities, pipeline.Entity{ID: r.Src}, pipeline.Entity{ID: r.Dst})
				break
			}
		}
	}
	return out, nil
}

// Write implements pipeline.GraphStore.
func (s *Store) Write(_ context.Context, w pipeline.GraphWrite) (pipeline.GraphWritten, error) {
	if s.Mentions == nil {
		s.Mentions = map[string][]string{}
	}
	s.Relations = append(s.Relations, w.Relations...)
	for _, m := range w.Mentions {
		s.Mentions[m.PointID] = append(s.Mentions[m.PointID], m.Entity)
	}
	return pipeline.GraphWritten{Entities: len(w.Entities), Relations: len(w.Relations), Mentions: len(w.Mentions)}, nil
}

// DeleteDocument implements pipeline.GraphStore. It deletes nothing.
func (s *Store) DeleteDocument(context.Context, string, string) (int, error) { return 0, nil }

// An Embedder makes vectors by a function, as slow or broken as a test wants it.
type Embedder struct {
	Vector func(text string) []float32
	Delay  time.Duration
	Err    error
}

// Embed implements pipeline.Embedder.
func (e Embedder) Embed(ctx context.Context, texts []string, _ pipeline.Purpose) ([][]float32, error) {
	if e.Delay > 0 {
		t := time.NewTimer(e.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, pipeline.Cause(ctx)
		}
	}
	if e.Err != nil {
		return nil, e.Err
	}
	out := make([][]float32, len(texts))
	for i, t := range texts {
		out[i] = e.Vector(t)
	}
	return out, nil
}

// Model implements pipeline.Embedder.
func (Embedder) Model() string { return "test" }

// A Reranker scores by a function, as slow or broken as a test wants it.
type Reranker struct {
	Score func(query, text string) float32
	Delay time.Duration
	Err   error
}

// Rerank implements pipeline.Reranker.
func (r Reranker) Rerank(ctx context.Context, query string, texts []string) ([]float32, error) {
	if r.Delay > 0 {
		t := time.NewTimer(r.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, pipeline.Cause(ctx)
		}
	}
	if r.Err != nil {
		return nil, r.Err
	}
	out := make([]float32, len(texts))
	for i, t := range texts {
		out[i] = r.Score(query, t)
	}
	return out, nil
}
