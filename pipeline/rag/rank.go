package rag

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/headrace/headrace/pipeline"
)

// Rank scores the passages by how well they answer the query and returns the
// best of them, the best first; equals keep their order. Only the first
// candidates are scored, and the others dropped. The passages given stay as
// they are.
func Rank(ctx context.Context, by pipeline.Reranker, query string, passages []pipeline.Passage, candidates, keep int) ([]pipeline.Passage, error) {
	out := slices.Clone(passages[:min(candidates, len(passages))])
	texts := make([]string, len(out))
	for i := range out {
		texts[i] = out[i].Text
	}
	scores, err := Scores(ctx, by, query, texts)
	if err != nil {
		return nil, err
	}
	for i, s := range scores {
		out[i].Scores.Rerank = pipeline.Score{Value: s, Set: true}
	}
	slices.SortStableFunc(out, func(a, b pipeline.Passage) int {
		return cmp.Compare(b.Scores.Rerank.Value, a.Scores.Rerank.Value)
	})
	return out[:min(keep, len(out))], nil
}

// Scores are those of a reranker that does what it should: one for each text, and finite.
func Scores(ctx context.Context, by pipeline.Reranker, query string, texts []string) ([]float32, error) {
	scores, err := by.Rerank(ctx, query, texts)
	if err != nil {
		return nil, err
	}
	if len(scores) != len(texts) {
		return nil, fmt.Errorf("rerank %d texts: got %d scores", len(texts), len(scores))
	}
	for i, s := range scores {
		if math.IsNaN(float64(s)) || math.IsInf(float64(s), 0) {
			return nil, fmt.Errorf("rerank %d texts: the score of the %d. is not finite", len(texts), i+1)
		}
	}
	return scores, nil
}
