package embedded

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/headrace/headrace/pipeline"
)

// maxLinked bounds the words of a text in which names are looked for.
const maxLinked = 256

// Link implements pipeline.GraphStore. Names are looked for word by word, or
// character by character, so that a text says nothing but what it says: no
// character of it means anything to a query language.
func (s *store) Link(ctx context.Context, q pipeline.LinkQuery) ([]pipeline.Seed, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g := s.graphs[q.Tenant]
	if err := ended(ctx); err != nil || g == nil || q.Limit <= 0 {
		return nil, err
	}
	text := clip(q.Text, 64<<10)
	found := g.named(text)
	if len(found) == 0 {
		found = g.alike(ctx, text)
	}
	slices.SortFunc(found, compareWeighed)
	found = found[:min(len(found), q.Limit)]
	seeds := make([]pipeline.Seed, len(found))
	for i, w := range found {
		seeds[i] = pipeline.Seed{ID: w.ID, Weight: w.score}
	}
	return seeds, nil
}

// named returns the entities whose whole names stand in a text. A name within a
// longer one does not count: New York is not meant by New York University.
func (g *graph) named(text string) []weighed {
	s := spanOf(text, maxLinked)
	n := len(s.ends)
	var out []weighed
	at := map[*entity]int{}
	covered := 0 // up to which word the names found so far reach
	for i := range n {
		for j := min(n, i+maxName); j > i && j > covered; j-- {
			list := g.names[string(s.words(i, j))]
			if len(list) == 0 || j == i+1 && n > 1 && s.runes[i] == 1 {
				continue // one character says too little, except by itself
			}
			covered = j
			runes := 0
			for _, r := range s.runes[i:j] {
				runes += r
			}
			for _, e := range list {
				// Long and rare names tell most; those that several share, less.
				w := math.Sqrt(float64(runes)) / (1 + math.Log1p(float64(e.degree()))) / float64(len(list))
				if k, ok := at[e]; ok {
					out[k].score = max(out[k].score, w)
					continue
				}
				at[e] = len(out)
				out = append(out, weighed{e, w})
			}
			break
		}
	}
	return out
}

// alike returns the entities that share words with a text, by how rare the
// words are and how much of the name they are.
func (g *graph) alike(ctx context.Context, text string) []weighed {
	scores := map[*entity]float64{}
	seen := map[string]bool{}
	var order []*entity
	terms(text, func(t string) {
		if seen[t] || len(seen) >= maxTerms || ctx.Err() != nil {
			return
		}
		seen[t] = true
		list := g.words[t]
		idf := math.Log1p(float64(len(g.entities)) / float64(len(list)+1))
		for _, e := range list {
			if scores[e] == 0 {
				order = append(order, e)
			}
			scores[e] += idf
		}
	})
	out := make([]weighed, len(order))
	for i, e := range order {
		out[i] = weighed{e, scores[e]}
	}
	// The length of names matters among the best alone, and costs.
	slices.SortFunc(out, compareWeighed)
	out = out[:min(len(out), 200)]
	for i := range out {
		out[i].score /= math.Sqrt(float64(len(wordsOf(&out[i].Entity))))
	}
	slices.SortFunc(out, func(a, b weighed) int { return cmp.Compare(b.score, a.score) })
	return out
}
