package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

// wide is an expansion that no cap bounds.
func (w web) wide(hops int, seeds ...string) pipeline.ExpandQuery {
	q := pipeline.ExpandQuery{Tenant: w.tenant, Hops: hops, Fanout: 1000, HubCap: 1000, MaxSeeds: 1000, MaxNodes: 1000, MaxEdges: 1000}
	for _, s := range seeds {
		q.Seeds = append(q.Seeds, pipeline.Seed{ID: s, Weight: 1})
	}
	return q
}

func (w web) expand(t *testing.T, q pipeline.ExpandQuery) pipeline.Subgraph {
	t.Helper()
	g := must[pipeline.Subgraph](t)(w.store.Expand(within(t), q))
	seen := map[string]bool{}
	for _, e := range g.Entities {
		if seen[e.ID] {
			t.Errorf("entity %s comes twice", e.ID)
		}
		seen[e.ID] = true
	}
	edges := map[string]bool{}
	for _, r := range g.Relations {
		if !seen[r.Src] || !seen[r.Dst] {
			t.Errorf("relation %s has an end that is not among the entities", edgeOf(r))
		}
		if edges[edgeOf(r)] {
			t.Errorf("relation %s comes twice", edgeOf(r))
		}
		edges[edgeOf(r)] = true
	}
	if len(g.Entities) > q.MaxNodes || len(g.Relations) > q.MaxEdges {
		t.Errorf("%d entities and %d relations; the caps are %d and %d", len(g.Entities), len(g.Relations), q.MaxNodes, q.MaxEdges)
	}
	return g
}

func edgeOf(r pipeline.Relation) string { return r.Src + " " + r.Type + " " + r.Dst }

// edges returns the relations of a subgraph, sorted.
func edges(g pipeline.Subgraph) []string {
	out := []string{}
	for _, r := range g.Relations {
		out = append(out, edgeOf(r))
	}
	slices.Sort(out)
	return out
}

func expand(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "d", []string{"a", "b", "c", "d", "e", "f", "x", "y"},
		[]string{"a R b", "c R b", "c S d", "d R e", "a S f", "a S b", "e R e", "x R y"})
	f := func(hops int, types []string, seeds string, want ...string) {
		t.Helper()
		q := w.wide(hops, strings.Fields(seeds)...)
		q.Types = types
		slices.Sort(want)
		equal(t, fmt.Sprintf("%d hops from %s by %v", hops, seeds, types), edges(w.expand(t, q)), append([]string{}, want...))
	}
	f(0, nil, "a")
	f(1, nil, "a", "a R b", "a S b", "a S f") // both ways, both types
	f(2, nil, "a", "a R b", "a S b", "a S f", "c R b")
	f(3, nil, "a", "a R b", "a S b", "a S f", "c R b", "c S d")
	f(9, nil, "a", "a R b", "a S b", "a S f", "c R b", "c S d", "d R e", "e R e")
	f(9, []string{"R"}, "a", "a R b", "c R b")
	f(9, []string{"R", "S"}, "d", "a R b", "a S b", "a S f", "c R b", "c S d", "d R e", "e R e")
	f(9, []string{"NONE"}, "a")
	f(1, nil, "a b", "a R b", "a S b", "a S f", "c R b") // an edge between seeds is one
	f(1, nil, "nobody x", "x R y")
	f(2, nil, "nobody")
	f(2, nil, "")
}

func expandCaps(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	// Each of three centres has 30 rays, the heavier the higher their number.
	g := pipeline.GraphWrite{Entities: []pipeline.Entity{{ID: "c0", Type: "T"}, {ID: "c1", Type: "T"}, {ID: "c2", Type: "T"}}}
	for c := range 3 {
		for i := range 30 {
			id := fmt.Sprintf("r%d_%02d", c, i)
			g.Entities = append(g.Entities, pipeline.Entity{ID: id, Type: "T"})
			g.Relations = append(g.Relations, pipeline.Relation{Src: fmt.Sprintf("c%d", c), Dst: id, Type: "RAY", Props: pairs("weight", strconv.Itoa(i))})
		}
	}
	g.Relations = append(g.Relations, pipeline.Relation{Src: "r0_29", Dst: "c1", Type: "LINK", Props: pairs("weight", "100")})
	w.write(t, g)

	q := w.wide(1, "c0")
	q.Fanout = 4
	equal(t, "fanout", edges(w.expand(t, q)), []string{"c0 RAY r0_26", "c0 RAY r0_27", "c0 RAY r0_28", "c0 RAY r0_29"})
	// The cap is of each hop anew: the second starts from the rays.
	q.Hops = 2
	if got := edges(w.expand(t, q)); len(got) != 5 || !slices.Contains(got, "r0_29 LINK c1") {
		t.Errorf("second hop: %v", got)
	}
	q.Hops = 3
	if got := edges(w.expand(t, q)); len(got) != 5+3 { // the link counts as one of four
		t.Errorf("third hop: %v", got)
	}

	q = w.wide(1, "c0", "c1", "c2")
	q.Seeds[2].Weight, q.MaxSeeds, q.Fanout = 5, 1, 2
	equal(t, "the heaviest seed", edges(w.expand(t, q)), []string{"c2 RAY r2_28", "c2 RAY r2_29"})

	q = w.wide(1, "c0", "c2")
	q.Seeds[1].Weight, q.MaxEdges = 5, 7
	equal(t, "edges", edges(w.expand(t, q)), []string{
		"c2 RAY r2_23", "c2 RAY r2_24", "c2 RAY r2_25", "c2 RAY r2_26", "c2 RAY r2_27", "c2 RAY r2_28", "c2 RAY r2_29",
	})
	q.MaxEdges, q.MaxNodes = 1000, 6
	if got := w.expand(t, q); len(got.Relations) == 0 || len(got.Relations) > 5 {
		t.Errorf("6 nodes with %d relations", len(got.Relations))
	}
	// What is between entities that are there is found behind all that has no room.
	w.write(t, pipeline.GraphWrite{Relations: []pipeline.Relation{{Src: "c0", Dst: "c2", Type: "NEAR", Props: pairs("weight", "-1")}}})
	q = w.wide(1, "c0", "c2")
	q.MaxNodes, q.MaxEdges = 2, 1
	equal(t, "no room for others", edges(w.expand(t, q)), []string{"c0 NEAR c2"})
	q = w.wide(1, "c0", "c2")
	q.Seeds[1].Weight = 5
	q.MaxEdges, q.MaxNodes = 1000, 6
	for range 2 { // twice the same
		a, b := w.expand(t, q), w.expand(t, q)
		equal(t, "again", edges(a), edges(b))
	}
}

func hubs(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	entities, relations := []string{"hub", "start", "far"}, []string{"start R hub", "hub R far"}
	for i := range 20 {
		id := fmt.Sprintf("x%d", i)
		entities, relations = append(entities, id), append(relations, id+" R hub")
	}
	w.build(t, "d", entities, relations)
	q := w.wide(3, "start")
	q.HubCap = 21
	equal(t, "a hub is reached, not passed", edges(w.expand(t, q)), []string{"start R hub"})
	q.Seeds[0].ID = "hub"
	equal(t, "a hub to start from", edges(w.expand(t, q)), []string{})
	q.HubCap = 22
	if got := edges(w.expand(t, q)); len(got) != 22 {
		t.Errorf("at the cap: %d relations; want all 22", len(got))
	}
	// Chunks that mention an entity count as connections.
	w.build(t, "d", nil, nil, "c1 hub")
	equal(t, "one more connection", edges(w.expand(t, q)), []string{})
}
