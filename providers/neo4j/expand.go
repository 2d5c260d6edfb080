package neo4j

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/headrace/headrace/pipeline"
)

// What is known of a frontier, and one hop from it. What counts the connections of an
// entity, relations and mentions, is the store of degrees: the edges of a hub are never
// walked. That store does not tell whether it is documents that name an entity: one with
// nothing but such edges comes last.
const oneHop = `
UNWIND $p.seeds AS s MATCH (e:Entity {key: s.key})
WITH e, toFloat(s.w) AS w, COUNT { (e)--() } AS deg, COUNT { (e)<-[:NAMES]-() } AS named
WITH e, w, CASE WHEN deg > named THEN deg - named ELSE named END AS deg, deg > named AS more
WITH e, CASE WHEN deg = 0 OR deg > $p.hub_cap THEN -1.0 WHEN more THEN w / deg ELSE 1e-9 * w / deg END AS score
WITH collect(e) AS es, collect(score) AS scores
CALL (es, scores) {
  UNWIND range(0, size(es) - 1) AS i
  WITH es[i] AS e, scores[i] AS score WHERE score >= 0
  WITH e, score ORDER BY score DESC, e.key LIMIT $p.max_seeds
  CALL (e) { MATCH (e)-[r]-(n:Entity)
    WHERE n.tenant = $p.tenant AND ($p.types IS NULL OR type(r) IN $p.types)
    RETURN r, n ORDER BY coalesce(r.weight, 1.0) DESC, n.key, type(r) LIMIT $p.fanout }
  WITH e, r, n, score ORDER BY score DESC, coalesce(r.weight, 1.0) DESC, e.key, n.key, type(r) LIMIT $p.max_edges
  RETURN collect([n.key, n.id, n.type, n.name, n.props_json, e.id, type(r), startNode(r) = e, r.props_json, score]) AS edges }
RETURN [[e IN es | [e.key, e.id, e.type, e.name, e.props_json]], edges] AS rows`

// leastEdges is how many edges a hop may return, however few are wanted.
const leastEdges = 1000

// An expansion collects what surrounds some entities.
type expansion struct {
	q       pipeline.ExpandQuery
	out     pipeline.Subgraph
	reached map[string]bool // by key
	taken   map[[3]string]bool
	next    map[string]float64 // keys reached by the last hop for the first time, with their weights
}

func expand(q pipeline.ExpandQuery) expansion {
	return expansion{q: q, reached: map[string]bool{}, taken: map[[3]string]bool{}}
}

// Expand implements pipeline.GraphStore: a statement for each hop, with the
// frontier kept here, so that each has caps and a deadline of its own.
func (s *Store) Expand(ctx context.Context, q pipeline.ExpandQuery) (pipeline.Subgraph, error) {
	x := expand(q)
	frontier := map[string]float64{}
	for _, seed := range q.Seeds {
		if seed.Weight > 0 && !math.IsInf(seed.Weight, 0) {
			frontier[keyOf(q.Tenant, seed.ID)] += seed.Weight
		}
	}
	if len(frontier) == 0 || q.MaxNodes <= 0 {
		return x.out, ended(ctx)
	}
	err := s.hop(ctx, &x, frontier)
	for hop := 1; err == nil && hop < q.Hops && len(x.next) > 0 && len(x.out.Relations) < q.MaxEdges; hop++ {
		err = s.hop(ctx, &x, x.next)
	}
	// Entities that were asked about are no answer by themselves.
	return x.out, partly(ctx, len(x.out.Relations) > 0, err)
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// reach adds an entity to the answer, if there is room or it is there.
func (x *expansion) reach(key string, e pipeline.Entity) bool {
	if x.reached[key] {
		return true
	}
	if len(x.out.Entities) >= x.q.MaxNodes {
		return false
	}
	x.reached[key] = true
	x.out.Entities = append(x.out.Entities, e)
	return true
}

// hop takes the edges around a frontier, and leaves the entities reached for the first
// time as the next one.
func (s *Store) hop(ctx context.Context, x *expansion, frontier map[string]float64) error {
	seeds := make([]any, 0, len(frontier))
	keys := slices.SortedFunc(maps.Keys(frontier), func(a, b string) int {
		return cmp.Or(cmp.Compare(frontier[b], frontier[a]), strings.Compare(a, b))
	})
	for _, key := range keys {
		seeds = append(seeds, row{"key": key, "w": frontier[key]})
	}
	var types any
	if x.q.Types != nil {
		types = anys(x.q.Types)
	}
	// One between two of the frontier comes twice, and those to entities that have no room
	// are passed over, so that more must come than are kept.
	edges := max(2*x.q.MaxEdges, leastEdges)
	if x.q.Hops <= 0 {
		edges = 0
	}
	x.next = map[string]float64{}
	parts := 0
	return s.read(ctx, "expand", oneHop, row{
		"seeds": seeds, "tenant": x.q.Tenant, "types": types, "hub_cap": x.q.HubCap, "max_seeds": max(x.q.MaxSeeds, 0), "fanout": max(x.q.Fanout, 0),
		"max_edges": edges,
	}, func(part cells) {
		if parts++; parts == 1 {
			x.found(keys, part)
			return
		}
		for _, e := range part {
			list, _ := e.([]any)
			x.edge(list)
		}
	})
}

// entityOf reads one: its key first, then what there is to tell of it.
func entityOf(c cells) (key string, e pipeline.Entity) {
	return c.text(0), pipeline.Entity{ID: c.text(1), Type: c.text(2), Name: c.text(3), Props: propsOf(c.text(4))}
}

// found adds the entities of a frontier, in the order of its keys.
func (x *expansion) found(keys []string, list []any) {
	known := make(map[string]pipeline.Entity, len(list))
	for _, v := range list {
		c, _ := v.([]any)
		key, e := entityOf(c)
		known[key] = e
	}
	for _, key := range keys {
		if e, ok := known[key]; ok {
			x.reach(key, e)
		}
	}
}

// edge adds a relation with its other end.
func (x *expansion) edge(c cells) {
	dst, e := entityOf(c)
	known := x.reached[dst]
	rel := pipeline.Relation{Src: c.text(5), Dst: e.ID, Type: c.text(6), Props: propsOf(c.text(8))}
	if out, _ := c.at(7).(bool); !out {
		rel.Src, rel.Dst = rel.Dst, rel.Src
	}
	if id := [3]string{rel.Src, rel.Type, rel.Dst}; !x.taken[id] {
		if len(x.out.Relations) >= x.q.MaxEdges || !x.reach(dst, e) {
			return
		}
		x.taken[id] = true
		x.out.Relations = append(x.out.Relations, rel)
	}
	if _, again := x.next[dst]; again || !known {
		x.next[dst] += c.number(9)
	}
}
