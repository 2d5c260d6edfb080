package embedded

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/headrace/headrace/pipeline"
)

// A weighed entity is one with what it counts for.
type weighed struct {
	*entity
	score float64
}

func compareWeighed(a, b weighed) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.ID, b.ID))
}

// An expansion collects what surrounds some entities.
type expansion struct {
	q       pipeline.ExpandQuery
	out     pipeline.Subgraph
	reached map[*entity]bool
	taken   map[*relation]bool
}

// A step is an edge that may be taken, with the score of where it starts.
type step struct {
	from *entity
	edge
	score float64
}

// Expand implements pipeline.GraphStore.
func (s *store) Expand(ctx context.Context, q pipeline.ExpandQuery) (pipeline.Subgraph, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := expansion{q: q, reached: map[*entity]bool{}, taken: map[*relation]bool{}}
	g := s.graphs[q.Tenant]
	if err := ended(ctx); err != nil || g == nil {
		return x.out, err
	}
	var frontier []weighed
	for _, seed := range q.Seeds {
		e := g.entities[seed.ID]
		if e == nil || !(seed.Weight > 0) || math.IsInf(seed.Weight, 0) {
			continue
		}
		if i := slices.IndexFunc(frontier, func(w weighed) bool { return w.entity == e }); i >= 0 {
			frontier[i].score += seed.Weight
		} else {
			frontier = append(frontier, weighed{e, seed.Weight})
		}
	}
	slices.SortFunc(frontier, compareWeighed)
	for _, w := range frontier {
		x.reach(w.entity)
	}
	for range q.Hops {
		if len(frontier) == 0 || len(x.out.Relations) >= q.MaxEdges || ctx.Err() != nil {
			break
		}
		frontier = x.take(x.steps(ctx, frontier))
	}
	return x.out, nil
}

// reach adds an entity to the answer, if there is room or it is there.
func (x *expansion) reach(e *entity) bool {
	if x.reached[e] {
		return true
	}
	if len(x.out.Entities) >= x.q.MaxNodes {
		return false
	}
	x.reached[e] = true
	x.out.Entities = append(x.out.Entities, shown(e))
	return true
}

// shown is an entity as it is handed out.
func shown(e *entity) pipeline.Entity {
	out := e.Entity
	if out.Name == "" {
		out.Name = out.ID
	}
	return out
}

// steps returns the edges to take from a frontier, the best first: of the
// entities that matter most and are no hubs, the heaviest edges of each.
func (x *expansion) steps(ctx context.Context, frontier []weighed) []step {
	var from []weighed
	for _, w := range frontier {
		if deg := w.degree(); deg > 0 && deg <= x.q.HubCap {
			from = append(from, weighed{w.entity, w.score / float64(deg)})
		}
	}
	slices.SortFunc(from, compareWeighed)
	from = from[:min(len(from), max(x.q.MaxSeeds, 0))]
	var steps []step
	for i, w := range from {
		if i%64 == 63 && ctx.Err() != nil {
			break
		}
		n := 0
		for _, e := range w.edges {
			if n >= x.q.Fanout {
				break
			}
			if x.q.Types != nil && !slices.Contains(x.q.Types, e.Type) {
				continue
			}
			n++
			steps = append(steps, step{w.entity, e, w.score})
		}
	}
	// Stable: what is equal stays in the order of entities and edges.
	slices.SortStableFunc(steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.weight, a.weight))
	})
	return steps
}

// take adds the relations of steps, as long as there is room, and returns the
// entities reached for the first time.
func (x *expansion) take(steps []step) []weighed {
	var next []weighed
	at := map[*entity]int{}
	for _, s := range steps {
		known := x.reached[s.to]
		if !x.taken[s.relation] {
			if len(x.out.Relations) >= x.q.MaxEdges {
				break
			}
			if !x.reach(s.to) {
				continue
			}
			x.taken[s.relation] = true
			x.out.Relations = append(x.out.Relations, s.Relation)
		}
		if i, ok := at[s.to]; ok {
			next[i].score += s.score
		} else if !known {
			at[s.to] = len(next)
			next = append(next, weighed{s.to, s.score})
		}
	}
	return next
}

// via is how many entities are named that led to a chunk.
const via = 5

// Related implements pipeline.GraphStore.
func (s *store) Related(ctx context.Context, q pipeline.RelatedQuery) ([]pipeline.Related, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g := s.graphs[q.Tenant]
	if err := ended(ctx); err != nil || g == nil {
		return nil, err
	}
	anchors := map[*chunk]bool{}
	weight := map[*entity]float64{}
	var named []*entity // in the order met: sums of floats depend on theirs
	for i, id := range q.Chunks {
		c := g.chunks[id]
		if c == nil || anchors[c] {
			continue
		}
		anchors[c] = true
		for _, e := range c.entities {
			if weight[e] == 0 {
				named = append(named, e)
			}
			weight[e] += 1 / float64(i+1)
		}
	}
	var from []weighed
	for _, e := range named {
		if df := len(e.chunks); df > 1 && df <= q.HubCap {
			from = append(from, weighed{e, weight[e] / float64(df)})
		}
	}
	slices.SortFunc(from, compareWeighed)
	from = from[:min(len(from), max(q.MaxSeeds, 0))]
	reached := collect(ctx, from, anchors)
	slices.SortFunc(reached, func(a, b reach) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id))
	})
	reached = reached[:min(len(reached), max(q.Limit, 0))]
	out := make([]pipeline.Related, len(reached))
	for i, r := range reached {
		out[i] = pipeline.Related{ID: r.id, DocID: r.doc, Score: r.score, Via: make([]string, r.ways)}
		for k, way := range r.via[:r.ways] {
			out[i].Via[k] = from[way].ID
		}
	}
	return out, nil
}

// A reach is a chunk that some entities lead to: the first few of them, as places in
// their list.
type reach struct {
	*chunk
	score float64
	via   [via]int32
	ways  int32
}

// collect follows entities, the best first, to the chunks that mention them and are no
// anchors. It ends early with ctx.
func collect(ctx context.Context, from []weighed, anchors map[*chunk]bool) []reach {
	most := 0
	for _, w := range from {
		most += len(w.chunks)
	}
	most = min(most, 1024)
	at := make(map[*chunk]int, most)
	out := make([]reach, 0, most)
	for i, w := range from {
		if i%64 == 63 && ctx.Err() != nil {
			break
		}
		for _, c := range w.chunks {
			if anchors[c] {
				continue
			}
			k, ok := at[c]
			if !ok {
				k = len(out)
				at[c] = k
				out = append(out, reach{chunk: c})
			}
			r := &out[k]
			r.score += w.score
			if r.ways < via {
				r.via[r.ways] = int32(i)
				r.ways++
			}
		}
	}
	return out
}
