package rag

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// From says where a walk over the graph begins.
type From uint8

// Where it can begin: at the chunks found, at the entities that the question
// names, or at both.
const (
	FromBoth From = iota
	FromHits
	FromQuery
)

// FromOf reads where to begin as it is written: both, hits or query.
func FromOf(name string) (From, bool) {
	switch name {
	case "both":
		return FromBoth, true
	case "hits":
		return FromHits, true
	case "query":
		return FromQuery, true
	}
	return 0, false
}

// A Walker finds further chunks over the graph, and facts about what a question
// names. Close it after the last walk.
type Walker struct {
	Graph    pipeline.GraphStore
	Passages pipeline.VectorStore // has the texts of chunks; nil: facts only
	Legs
}

// A WalkQuery is one walk. The deadline is that of the context.
type WalkQuery struct {
	Tenant, Collection string
	Text               string
	Filter             *pipeline.Filter
	Hits               []pipeline.Passage // found so far, the best first
	From               From
	Anchors            int // of the hits, from which to go on
	// After is how many hits stay in front of what the graph adds. Chunks
	// further down count as not yet found, so that the graph can raise them. At
	// or above len(Hits) only chunks beyond all hits are added.
	After    int
	Add      int      // chunks to add
	Hops     int      // for the facts; 0: none
	Types    []string // of relations; nil for all
	HubCap   int
	MaxSeeds int
	Fanout   int
	MaxNodes int
	MaxEdges int
}

// Walked is what a walk has found.
type Walked struct {
	Passages []pipeline.Passage // at most Add, the best first
	Facts    pipeline.Subgraph
	Seeds    []pipeline.Seed // entities that the question names
	Failed   []error         // of parts that are missing, or may lack something
	Stages   []pipeline.StageTime
}

// Walk finds what it can. Parts that fail are missing, with their errors in
// Failed; the error is that nothing worked at all.
func (w *Walker) Walk(ctx context.Context, q WalkQuery) (Walked, error) {
	began := time.Now()
	var out Walked
	tried := 0
	var link *Leg[[]pipeline.Seed]
	if q.From != FromHits && q.Hops > 0 && q.Text != "" {
		tried++
		link = Start(&w.Legs, whole(ctx, func() ([]pipeline.Seed, error) {
			return w.Graph.Link(ctx, pipeline.LinkQuery{Tenant: q.Tenant, Text: q.Text, Limit: q.MaxSeeds})
		}))
	}
	var related *Leg[[]pipeline.Related]
	if anchors := anchors(q); len(anchors) > 0 && q.From != FromQuery {
		tried++
		limit := spare(q.Add) + max(0, len(q.Hits)-len(anchors))
		related = Start(&w.Legs, whole(ctx, func() ([]pipeline.Related, error) {
			return w.Graph.Related(ctx, pipeline.RelatedQuery{
				Tenant: q.Tenant, Chunks: anchors, Limit: limit, HubCap: q.HubCap, MaxSeeds: q.MaxSeeds,
			})
		}))
	}
	var near []pipeline.Related
	var err error
	if related != nil {
		if near, _, err = related.Wait(ctx); err != nil {
			out.Failed = append(out.Failed, err)
		}
	}
	if link != nil {
		if out.Seeds, _, err = link.Wait(ctx); err != nil {
			out.Failed = append(out.Failed, err)
		}
	}
	if tried > 0 && len(out.Failed) == tried && len(near)+len(out.Seeds) == 0 {
		return out, errors.Join(out.Failed...)
	}
	w.gather(ctx, q, near, &out)
	out.Stages = append(out.Stages, pipeline.StageTime{Stage: "graph", Took: time.Since(began)})
	return out, nil
}

// gather fetches the chunks and the facts, beside each other.
func (w *Walker) gather(ctx context.Context, q WalkQuery, near []pipeline.Related, out *Walked) {
	var facts *Leg[pipeline.Subgraph]
	if seeds := seeds(out.Seeds, near, q.MaxSeeds); len(seeds) > 0 && q.Hops > 0 {
		facts = Start(&w.Legs, whole(ctx, func() (pipeline.Subgraph, error) {
			return w.Graph.Expand(ctx, pipeline.ExpandQuery{
				Tenant: q.Tenant, Seeds: seeds, Types: q.Types, Hops: q.Hops, Fanout: q.Fanout,
				HubCap: q.HubCap, MaxSeeds: q.MaxSeeds, MaxNodes: q.MaxNodes, MaxEdges: q.MaxEdges,
			})
		}))
	}
	if len(near) > 0 && w.Passages != nil && q.Add > 0 {
		chunks := Start(&w.Legs, whole(ctx, func() ([]pipeline.Passage, error) { return w.chunks(ctx, q, near) }))
		var err error
		if out.Passages, _, err = chunks.Wait(ctx); err != nil {
			out.Failed = append(out.Failed, err)
		}
	}
	if facts != nil {
		var err error
		if out.Facts, _, err = facts.Wait(ctx); err != nil {
			out.Failed = append(out.Failed, err)
		}
	}
}

// anchors are the ids of the best hits.
func anchors(q WalkQuery) []string {
	var ids []string
	for i := range q.Hits[:min(q.Anchors, len(q.Hits))] {
		if id := q.Hits[i].ID; id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// seeds are the entities to expand: what the question names, and, with half the
// weight, what led from the hits to further chunks.
func seeds(named []pipeline.Seed, near []pipeline.Related, most int) []pipeline.Seed {
	out := slices.Clone(named)
	top := 0.0
	for i := range out {
		top = max(top, out[i].Weight)
	}
	if top == 0 {
		top = 1
	}
	have := make(map[string]bool, len(out))
	for i := range out {
		have[out[i].ID] = true
	}
	for i := range near {
		best := near[0].Score
		for _, id := range near[i].Via {
			if have[id] || len(out) >= most {
				continue
			}
			have[id] = true
			weight := top / 2
			if best > 0 && !math.IsInf(best, 0) {
				weight *= min(1, near[i].Score/best)
			}
			out = append(out, pipeline.Seed{ID: id, Weight: max(weight, 1e-9)})
		}
	}
	return out
}

// chunks returns the first Add of near that are not among the hits in front,
// with their texts. Those that no search has seen must meet the filter.
func (w *Walker) chunks(ctx context.Context, q WalkQuery, near []pipeline.Related) ([]pipeline.Passage, error) {
	after := min(q.After, len(q.Hits))
	known := make(map[string]*pipeline.Passage, len(q.Hits))
	front := make(map[string]bool, after)
	for i := range q.Hits {
		if i < after {
			front[q.Hits[i].ID] = true
		} else {
			known[q.Hits[i].ID] = &q.Hits[i]
		}
	}
	near = slices.DeleteFunc(slices.Clone(near), func(r pipeline.Related) bool { return front[r.ID] })
	wanted := near
	if q.Filter == nil {
		wanted = near[:min(len(near), spare(q.Add))]
	}
	var ids []string
	for i := range wanted {
		if known[wanted[i].ID] == nil {
			ids = append(ids, wanted[i].ID)
		}
	}
	var err error
	if len(ids) > 0 {
		var fetched []pipeline.Passage
		fetched, err = w.Passages.Fetch(ctx, q.Tenant, q.Collection, ids)
		for i := range fetched {
			if Matches(q.Filter, &fetched[i]) {
				known[fetched[i].ID] = &fetched[i]
			}
		}
		err = missing(err)
	}
	var out []pipeline.Passage
	for i := range wanted {
		p := known[wanted[i].ID]
		if p == nil {
			continue
		}
		found := *p
		found.Via = wanted[i].Via
		found.Scores.Graph = pipeline.Score{Value: float32(wanted[i].Score), Set: true}
		if out = append(out, found); len(out) == q.Add {
			break
		}
	}
	return out, err
}

// spare is how many chunks are looked at to find n: the graph knows nothing of
// collections, so that some may belong to another.
func spare(n int) int { return 2*n + 5 }

// Merge puts what the graph has found behind the first after hits, and takes it
// out further down. What is in front keeps its place, so that the graph can
// only win ranks below.
func Merge(hits, graph []pipeline.Passage, after int) []pipeline.Passage {
	after = min(after, len(hits))
	out := make([]pipeline.Passage, 0, len(hits)+len(graph))
	out = append(out, hits[:after]...)
	moved := make(map[string]bool, len(graph))
	for i := range graph {
		moved[graph[i].ID] = true
	}
	for i := range out {
		delete(moved, out[i].ID)
	}
	for i := range graph {
		if moved[graph[i].ID] {
			out = append(out, graph[i])
		}
	}
	for i := after; i < len(hits); i++ {
		if !moved[hits[i].ID] {
			out = append(out, hits[i])
		}
	}
	return out
}
