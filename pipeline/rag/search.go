package rag

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// patience is how long the one call of both legs, and the vector that it needs, are waited
// for at most before each leg has a call of its own.
const patience = time.Second

// Search looks by meaning and by words in one call to the store. Where that fails, or is not over within
// half of the time that there is, each leg has a call of its own: one that fails or is late then is
// told of in Degraded, and left out but for what it has found; the error is that all have failed. A
// collection that nobody has written to holds nothing, which is no error.
func (s *Searcher) Search(ctx context.Context, q SearchQuery) (Found, error) {
	if s.Embedder == nil {
		if q.Mode == Dense {
			return Found{}, errors.New("search by meaning: there is no embedder")
		}
		q.Mode = Sparse
	}
	if q.Keep > 0 && q.Mode != Hybrid {
		q.Prefetch = q.Keep // nothing else will move one up
	}
	if q.Mode == Sparse {
		return s.apart(ctx, q, nil)
	}
	question := Start(&s.Legs, func() ([]float32, error) {
		vectors, err := s.Embedder.Embed(ctx, []string{q.Text}, pipeline.ForAsking)
		if err != nil {
			return nil, err
		}
		if len(vectors) != 1 {
			return nil, fmt.Errorf("embed a question: got %d vectors", len(vectors))
		}
		return vectors[0], nil
	})
	if q.Mode == Hybrid {
		return s.together(ctx, q, question)
	}
	return s.apart(ctx, q, question)
}

// together makes one call of both legs, which sees the collection at one moment, and has
// each leg asked for alone where that fails. A call that is late goes on beside those: it
// may be the first that is over, and is, where the store is as slow for all.
func (s *Searcher) together(ctx context.Context, q SearchQuery, question *Leg[[]float32]) (Found, error) {
	within := patience
	if end, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(end)/2)
	}
	half, stop := context.WithTimeout(ctx, within)
	defer stop()
	vector, embedding, err := question.Wait(half)
	if err != nil { // also of an embedder with too much to do: the words do not need it
		return s.apart(ctx, q, question)
	}
	both := Start(&s.Legs, whole(ctx, func() (pipeline.Legs, error) { return s.legs(ctx, q, vector, q.Text) }))
	select {
	case <-both.done:
		if both.err != nil && pipeline.FaultOfError(both.err) != pipeline.OverloadFault {
			return s.apart(ctx, q, question)
		}
	case <-half.Done():
		rest, leave := context.WithCancel(ctx)
		defer leave()
		parts := Start(&s.Legs, func() (Found, error) { return s.apart(rest, q, question) })
		if !first(ctx, both, parts) {
			return parts.value, parts.err
		}
	}
	if both.err != nil {
		return Found{}, both.err
	}
	return Found{
		Passages: s.Fusion.Fuse(similar(both.value.Dense, q.Threshold), both.value.Sparse, q.Keep),
		Stages:   []pipeline.StageTime{{Stage: "embed", Took: embedding}, {Stage: "vector", Took: both.took}, {Stage: "sparse", Took: both.took}},
	}, nil
}

// first waits for the one call or for those of each leg, and reports whether the one is the
// first to find something. Where either fails, the other counts.
func first(ctx context.Context, one *Leg[pipeline.Legs], parts *Leg[Found]) bool {
	select {
	case <-one.done:
		if one.err == nil {
			return true
		}
		<-parts.done
		return false
	case <-parts.done:
		if parts.err == nil {
			return false
		}
		_, _, err := one.Wait(ctx)
		return err == nil
	}
}

// apart makes a call for each leg, beside each other.
func (s *Searcher) apart(ctx context.Context, q SearchQuery, question *Leg[[]float32]) (found Found, err error) {
	var words *Leg[pipeline.Legs]
	if q.Mode != Dense {
		words = Start(&s.Legs, whole(ctx, func() (pipeline.Legs, error) { return s.legs(ctx, q, nil, q.Text) }))
	}
	var dense, sparse []pipeline.Passage
	var failed []error
	alive := false // there is a leg that has not failed
	ended := func(leg string, list []pipeline.Passage, err error) {
		if err != nil {
			found.Degraded = append(found.Degraded, leg+":"+Reason(ctx, err))
			failed = append(failed, err)
		}
		alive = alive || err == nil || len(list) > 0
	}
	if question != nil {
		vector, took, err := question.Wait(ctx)
		found.Stages = append(found.Stages, pipeline.StageTime{Stage: "embed", Took: took})
		if err == nil {
			var near pipeline.Legs
			meaning := Start(&s.Legs, whole(ctx, func() (pipeline.Legs, error) { return s.legs(ctx, q, vector, "") }))
			near, took, err = meaning.Wait(ctx)
			found.Stages = append(found.Stages, pipeline.StageTime{Stage: "vector", Took: took})
			dense = near.Dense
		}
		ended("dense", dense, err)
	}
	if words != nil {
		near, took, err := words.Wait(ctx)
		found.Stages = append(found.Stages, pipeline.StageTime{Stage: "sparse", Took: took})
		sparse = near.Sparse
		ended("sparse", sparse, err)
	}
	if !alive {
		return Found{Stages: found.Stages}, errors.Join(failed...)
	}
	found.Passages = s.Fusion.Fuse(similar(dense, q.Threshold), sparse, q.Keep)
	return found, nil
}

// legs asks the store: by meaning where there is a vector, by words where there are some.
func (s *Searcher) legs(ctx context.Context, q SearchQuery, vector []float32, words string) (pipeline.Legs, error) {
	asked := pipeline.SearchQuery{
		Tenant: q.Tenant, Collection: q.Collection, Vector: vector, Text: words, Limit: q.Prefetch, Filter: q.Filter,
	}
	if vector != nil {
		asked.Model = s.Embedder.Model()
	}
	found, err := s.Store.Search(ctx, asked)
	if vector != nil {
		Refused(err, s.Embedder, []string{q.Text}, pipeline.ForAsking)
	}
	return found, missing(err)
}

// Refused has vectors made anew that a store refused for what they are. An upstream that
// answered with another model once would be remembered for as long as they are kept.
func Refused(err error, by pipeline.Embedder, texts []string, purpose pipeline.Purpose) {
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok || e == nil || e.Code != "dimension_mismatch" && e.Code != "bad_vector" {
		return
	}
	if keeper, ok := by.(pipeline.Forgetter); ok {
		keeper.Forget(texts, purpose)
	}
}

// missing forgives that a collection is not there yet.
func missing(err error) error {
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e != nil && e.Code == "collection_not_found" {
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
		if a.score != b.score {
			return cmp.Compare(b.score, a.score)
		}
		return strings.Compare(a.ID, b.ID)
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
