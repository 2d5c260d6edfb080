package neo4j

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strings"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"

	"github.com/headrace/headrace/pipeline"
)

const byKey = `
UNWIND $keys AS k MATCH (e:Entity {key: k})
RETURN e.key AS key, e.id AS id, e.type AS type, e.name AS name, e.props_json AS props`

// One hop from a frontier. What counts the connections of an entity, relations
// and mentions, is the store of degrees: the edges of a hub are never walked.
const oneHop = `
UNWIND $seeds AS s MATCH (e:Entity {key: s.key})
WITH e, toFloat(s.w) AS w, COUNT { (e)--() } - COUNT { (e)<-[:NAMES]-() } AS deg
WHERE deg > 0 AND deg <= $hub_cap
WITH e, w / deg AS score ORDER BY score DESC, e.key LIMIT $max_seeds
CALL (e) { MATCH (e)-[r]-(n:Entity)
  WHERE n.tenant = $tenant AND ($types IS NULL OR type(r) IN $types)
  RETURN r, n ORDER BY coalesce(r.weight, 1.0) DESC, n.key, type(r) LIMIT $fanout }
RETURN e.key AS src, e.id AS src_id, n.key AS dst, n.id AS id, n.type AS entity, n.name AS name, n.props_json AS entity_props,
  type(r) AS type, startNode(r) = e AS out, r.props_json AS props, score
ORDER BY score DESC, coalesce(r.weight, 1.0) DESC, src, dst, type LIMIT $max_edges`

// An expansion collects what surrounds some entities.
type expansion struct {
	q       pipeline.ExpandQuery
	out     pipeline.Subgraph
	reached map[string]bool // by key
	taken   map[[3]string]bool
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
	keys := slices.SortedFunc(maps.Keys(frontier), func(a, b string) int {
		return cmp.Or(cmp.Compare(frontier[b], frontier[a]), strings.Compare(a, b))
	})
	found, err := s.entities(ctx, anys(keys))
	if err != nil {
		return x.out, err
	}
	for _, k := range keys {
		if e, ok := found[k]; ok {
			x.reach(k, e)
		}
	}
	for range q.Hops {
		if len(frontier) == 0 || len(x.out.Relations) >= q.MaxEdges {
			break
		}
		if frontier, err = s.hop(ctx, &x, frontier); err != nil {
			break
		}
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

func (s *Store) entities(ctx context.Context, keys []any) (map[string]pipeline.Entity, error) {
	out := map[string]pipeline.Entity{}
	err := s.read(ctx, "expand", byKey, row{"keys": keys}, func(r *driver.Record) {
		out[text(r, "key")] = pipeline.Entity{ID: text(r, "id"), Type: text(r, "type"), Name: text(r, "name"), Props: propsOf(text(r, "props"))}
	})
	return out, err
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

// hop takes the edges around a frontier, and returns the entities reached for
// the first time.
func (s *Store) hop(ctx context.Context, x *expansion, frontier map[string]float64) (map[string]float64, error) {
	seeds := make([]any, 0, len(frontier))
	for _, key := range slices.Sorted(maps.Keys(frontier)) {
		seeds = append(seeds, row{"key": key, "w": frontier[key]})
	}
	var types any
	if x.q.Types != nil {
		types = anys(x.q.Types)
	}
	next := map[string]float64{}
	err := s.read(ctx, "expand", oneHop, row{
		"seeds": seeds, "tenant": x.q.Tenant, "types": types, "hub_cap": x.q.HubCap, "max_seeds": max(x.q.MaxSeeds, 0), "fanout": max(x.q.Fanout, 0),
		// An edge between two of the frontier comes twice.
		"max_edges": 2 * max(x.q.MaxEdges, 0),
	}, func(r *driver.Record) {
		dst := text(r, "dst")
		known := x.reached[dst]
		e := pipeline.Entity{ID: text(r, "id"), Type: text(r, "entity"), Name: text(r, "name"), Props: propsOf(text(r, "entity_props"))}
		rel := pipeline.Relation{Src: text(r, "src_id"), Dst: e.ID, Type: text(r, "type"), Props: propsOf(text(r, "props"))}
		if out, _ := r.AsMap()["out"].(bool); !out {
			rel.Src, rel.Dst = rel.Dst, rel.Src
		}
		if id := [3]string{rel.Src, rel.Type, rel.Dst}; !x.taken[id] {
			if len(x.out.Relations) >= x.q.MaxEdges || !x.reach(dst, e) {
				return
			}
			x.taken[id] = true
			x.out.Relations = append(x.out.Relations, rel)
		}
		if _, again := next[dst]; again || !known {
			next[dst] += number(r, "score")
		}
	})
	return next, err
}
