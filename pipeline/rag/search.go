package rag

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A Mode says which legs a search has.
type Mode uint8

// The modes. Hybrid is by meaning and by words.
const (
	Hybrid Mode = iota
	Dense
	Sparse
)

// ModeOf reads a mode as it is written: hybrid, dense or sparse.
func ModeOf(name string) (Mode, bool) {
	switch name {
	case "hybrid":
		return Hybrid, true
	case "dense":
		return Dense, true
	case "sparse":
		return Sparse, true
	}
	return 0, false
}

// A Searcher finds passages by meaning and by words, both at once, and fuses
// what they find. Close it after the last search.
type Searcher struct {
	Store    pipeline.VectorStore
	Embedder pipeline.Embedder // nil: there is no search by meaning
	Fusion   Fusion
	Legs
}

// A SearchQuery is one search. The deadline is that of the context.
type SearchQuery struct {
	Tenant, Collection string
	Text               string
	Filter             *pipeline.Filter
	Mode               Mode
	Prefetch           int     // passages of each leg
	Keep               int     // passages in the end
	Threshold          float32 // least likeness of what is found by meaning alone; 0 for none
}

// Found is what a search has found.
type Found struct {
	Passages []pipeline.Passage
	Degraded []string             // legs that are missing, as "dense:timeout"
	Stages   []pipeline.StageTime // embed, vector and sparse
}

// Search runs the legs beside each other. One that fails or is late is told of in Degraded, and
// left out but for what it has found; the error is that all have failed. A collection that nobody has
// written to holds nothing, which is no error.
func (s *Searcher) Search(ctx context.Context, q SearchQuery) (Found, error) {
	var found Found
	if s.Embedder == nil && q.Mode == Dense {
		return found, errors.New("search by meaning: there is no embedder")
	}
	if q.Keep > 0 && (q.Mode != Hybrid || s.Embedder == nil) {
		q.Prefetch = q.Keep // nothing else will move one up
	}
	var words *Leg[pipeline.Legs]
	if q.Mode != Dense {
		words = Start(&s.Legs, whole(ctx, func() (pipeline.Legs, error) { return s.byWords(ctx, q) }))
	}
	var meaning *Leg[dense]
	if q.Mode != Sparse && s.Embedder != nil {
		meaning = Start(&s.Legs, whole(ctx, func() (dense, error) { return s.byMeaning(ctx, q) }))
	}
	var near dense
	var literal pipeline.Legs
	var failed []error
	if meaning != nil {
		var took time.Duration
		var err error
		if near, took, err = meaning.Wait(ctx); err != nil {
			found.Degraded = append(found.Degraded, "dense:"+Reason(ctx, err))
			if len(near.Dense) == 0 {
				failed = append(failed, err)
			}
		}
		if near.embedding > 0 {
			found.Stages = append(found.Stages, pipeline.StageTime{Stage: "embed", Took: near.embedding})
		}
		found.Stages = append(found.Stages, pipeline.StageTime{Stage: "vector", Took: max(0, took-near.embedding)})
	}
	if words != nil {
		var took time.Duration
		var err error
		if literal, took, err = words.Wait(ctx); err != nil {
			found.Degraded = append(found.Degraded, "sparse:"+Reason(ctx, err))
			if len(literal.Sparse) == 0 {
				failed = append(failed, err)
			}
		}
		found.Stages = append(found.Stages, pipeline.StageTime{Stage: "sparse", Took: took})
	}
	if len(failed) == legs(meaning != nil, words != nil) {
		return Found{Stages: found.Stages}, errors.Join(failed...)
	}
	if near.vector != nil && words != nil && len(found.Degraded) == 0 && near.Change != literal.Change {
		near.Legs, literal = s.again(ctx, q, near, literal)
	}
	found.Passages = s.Fusion.Fuse(similar(near.Dense, q.Threshold), literal.Sparse, q.Keep)
	return found, nil
}

// again searches once more, both legs at one moment, where documents have been changed
// between the two: one half would be of what they were, the other of what they are. If
// that fails, what was found before has to do.
func (s *Searcher) again(ctx context.Context, q SearchQuery, near dense, literal pipeline.Legs) (byMeaning, byWords pipeline.Legs) {
	both := Start(&s.Legs, whole(ctx, func() (pipeline.Legs, error) {
		return s.Store.Search(ctx, pipeline.SearchQuery{
			Tenant: q.Tenant, Collection: q.Collection, Vector: near.vector, Model: s.Embedder.Model(), Text: q.Text, Limit: q.Prefetch, Filter: q.Filter,
		})
	}))
	found, _, err := both.Wait(ctx)
	if err != nil {
		return near.Legs, literal
	}
	return found, found
}

func legs(have ...bool) int {
	n := 0
	for _, h := range have {
		if h {
			n++
		}
	}
	return n
}

// dense is what the search by meaning returns.
type dense struct {
	pipeline.Legs
	vector    []float32 // of the question, once the store has taken it
	embedding time.Duration
}

func (s *Searcher) byMeaning(ctx context.Context, q SearchQuery) (dense, error) {
	began := time.Now()
	vectors, err := s.Embedder.Embed(ctx, []string{q.Text}, pipeline.ForAsking)
	d := dense{embedding: time.Since(began)}
	if err != nil {
		return d, err
	}
	found, err := s.Store.Search(ctx, pipeline.SearchQuery{
		Tenant: q.Tenant, Collection: q.Collection, Vector: vectors[0], Model: s.Embedder.Model(), Limit: q.Prefetch, Filter: q.Filter,
	})
	d.Legs = found
	if err == nil {
		d.vector = vectors[0]
	}
	Refused(err, s.Embedder, []string{q.Text}, pipeline.ForAsking)
	return d, missing(err)
}

func (s *Searcher) byWords(ctx context.Context, q SearchQuery) (pipeline.Legs, error) {
	found, err := s.Store.Search(ctx, pipeline.SearchQuery{
		Tenant: q.Tenant, Collection: q.Collection, Text: q.Text, Limit: q.Prefetch, Filter: q.Filter,
	})
	return found, missing(err)
}

// Refused has vectors made anew that a store refused for what they are. An upstream that
// answered with another model once would be remembered for as long as they are kept.
func Refused(err error, by pipeline.Embedder, texts []string, purpose pipeline.Purpose) {
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok || e.Code != "dimension_mismatch" && e.Code != "bad_vector" {
		return
	}
	if keeper, ok := by.(pipeline.Forgetter); ok {
		keeper.Forget(texts, purpose)
	}
}

// missing forgives that a collection is not there yet.
func missing(err error) error {
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "collection_not_found" {
		return nil
	}
	return err
}

// similar drops what is less alike than threshold.
func similar(list []pipeline.Passage, threshold float32) []pipeline.Passage {
	if threshold <= 0 {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(p pipeline.Passage) bool {
		return p.Scores.Dense.Set && p.Scores.Dense.Value < threshold
	})
}

// Fusion joins two rankings by rank: a passage scores weight / (K + rank) in
// each that has it.
type Fusion struct {
	K             float64
	Dense, Sparse float64 // weights
}

// Fuse returns the passages of both legs, the best first, ties in the order of
// ids: the first keep of them, all at 0. Each has its scores of both. A leg without
// the other keeps its order.
func (f Fusion) Fuse(dense, sparse []pipeline.Passage, keep int) []pipeline.Passage {
	type scored struct {
		*pipeline.Passage
		literal *pipeline.Passage // the same, as the search by words has it
		score   float64
	}
	all := make([]scored, 0, len(dense)+len(sparse))
	at := make(map[string]int, len(dense)+len(sparse))
	for i := range dense {
		p := &dense[i]
		if _, ok := at[p.ID]; !ok {
			at[p.ID] = len(all)
			all = append(all, scored{Passage: p, score: f.Dense / (f.K + float64(i+1))})
		}
	}
	for i := range sparse {
		p := &sparse[i]
		k, ok := at[p.ID]
		if !ok {
			k = len(all)
			at[p.ID] = k
			all = append(all, scored{Passage: p})
		}
		if all[k].literal == nil {
			all[k].literal = p
			all[k].score += f.Sparse / (f.K + float64(i+1))
		}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(a.ID, b.ID))
	})
	if keep > 0 {
		all = all[:min(len(all), keep)]
	}
	out := make([]pipeline.Passage, len(all))
	for i, s := range all {
		out[i] = *s.Passage
		out[i].Scores.Fused = pipeline.Score{Value: float32(s.score), Set: true}
		if s.literal != nil {
			out[i].Scores.Sparse = s.literal.Scores.Sparse
		}
	}
	return out
}
