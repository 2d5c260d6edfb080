package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// Graph checks a GraphStore. open is called once for each part of the suite.
func Graph(t *testing.T, open func(t *testing.T) pipeline.GraphStore) {
	for _, part := range []struct {
		name string
		run  func(t *testing.T, s pipeline.GraphStore)
	}{
		{"merge", merges}, {"skipped", skipped}, {"expand", expand}, {"expand caps", expandCaps}, {"hubs", hubs},
		{"related", related}, {"related caps", relatedCaps}, {"link", link}, {"link chinese", linkChinese},
		{"hostile names", hostileNames}, {"delete document", deleteDocument}, {"graph tenants", graphTenants},
		{"deadline", graphDeadline}, {"at once", graphAtOnce},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

// A web is one tenant's graph.
type web struct {
	tenant string
	store  pipeline.GraphStore
}

func newWeb(store pipeline.GraphStore) web { return web{fresh("tenant"), store} }

func (w web) write(t *testing.T, g pipeline.GraphWrite) pipeline.GraphWritten {
	t.Helper()
	g.Tenant = w.tenant
	return must[pipeline.GraphWritten](t)(w.store.Write(within(t), g))
}

// build writes entities of the type Thing, relations written "a TYPE b" and
// mentions written "chunk entity…", all of one document.
func (w web) build(t *testing.T, doc string, entities []string, relations []string, mentions ...string) {
	t.Helper()
	g := pipeline.GraphWrite{DocID: doc}
	for _, id := range entities {
		g.Entities = append(g.Entities, pipeline.Entity{ID: id, Type: "Thing", Name: id})
	}
	for _, r := range relations {
		f := strings.Fields(r)
		g.Relations = append(g.Relations, pipeline.Relation{Src: f[0], Type: f[1], Dst: f[2]})
	}
	for _, m := range mentions {
		f := strings.Fields(m)
		for _, e := range f[1:] {
			g.Mentions = append(g.Mentions, pipeline.Mention{PointID: w.chunk(f[0]), DocID: doc, Entity: e})
		}
	}
	got := w.write(t, g)
	if got.Entities != len(g.Entities) || got.Relations != len(g.Relations) || got.Mentions != len(g.Mentions) || got.Skipped != nil {
		t.Fatalf("written %+v of %d entities, %d relations, %d mentions", got, len(g.Entities), len(g.Relations), len(g.Mentions))
	}
}

// chunk is the id of a chunk with a short name.
func (w web) chunk(name string) string { return pipeline.PointID(w.tenant, "kb", "doc", name, 0) }

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

func props(list []pipeline.Prop) string {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b pipeline.Prop) int { return cmp.Compare(a.Key, b.Key) })
	var b strings.Builder
	for _, p := range list {
		if string(p.Value) != "null" {
			fmt.Fprintf(&b, "%s=%s ", p.Key, p.Value)
		}
	}
	return b.String()
}

func pairs(list ...string) []pipeline.Prop {
	var out []pipeline.Prop
	for i := 0; i < len(list); i += 2 {
		out = append(out, pipeline.Prop{Key: list[i], Value: []byte(list[i+1])})
	}
	return out
}

func merges(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	first := pipeline.GraphWrite{
		DocID: "doc 1",
		Entities: []pipeline.Entity{
			{ID: "ada", Type: "Person", Name: "Ada Lovelace", Props: pairs("born", "1815", "alive", "false", "note", `"old"`)},
			{ID: "engine", Type: "Machine"},
		},
		Relations: []pipeline.Relation{{Src: "ada", Dst: "engine", Type: "WROTE_FOR", Props: pairs("year", "1843", "sure", "true")}},
	}
	for range 2 {
		if got := w.write(t, first); got.Entities != 2 || got.Relations != 1 || got.Mentions != 0 || got.Skipped != nil {
			t.Errorf("written %+v; want 2 entities and a relation", got)
		}
	}
	w.write(t, pipeline.GraphWrite{
		DocID:     "doc 2",
		Entities:  []pipeline.Entity{{ID: "ada", Type: "Person", Name: "Ada King", Props: pairs("note", `"new \"x\" 漢"`, "x", "1.5")}},
		Relations: []pipeline.Relation{{Src: "ada", Dst: "engine", Type: "WROTE_FOR", Props: pairs("sure", "false", "by", `"hand"`)}},
	})
	g := w.expand(t, w.wide(1, "ada"))
	if len(g.Entities) != 2 || len(g.Relations) != 1 {
		t.Fatalf("subgraph is %+v; want two entities and a relation", g)
	}
	slices.SortFunc(g.Entities, func(a, b pipeline.Entity) int { return cmp.Compare(a.ID, b.ID) })
	ada, engine := g.Entities[0], g.Entities[1]
	if ada.ID != "ada" || ada.Type != "Person" || ada.Name != "Ada King" || props(ada.Props) != `alive=false born=1815 note="new \"x\" 漢" x=1.5 ` {
		t.Errorf("ada is %+v with %s", ada, props(ada.Props))
	}
	if engine.ID != "engine" || engine.Type != "Machine" || engine.Name != "engine" || props(engine.Props) != "" {
		t.Errorf("an entity without a name has its id for one; engine is %+v with %s", engine, props(engine.Props))
	}
	if r := g.Relations[0]; edgeOf(r) != "ada WROTE_FOR engine" || props(r.Props) != `by="hand" sure=false year=1843 ` {
		t.Errorf("relation is %s with %s", edgeOf(r), props(r.Props))
	}
}

func skipped(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	got := w.write(t, pipeline.GraphWrite{
		Entities: []pipeline.Entity{{ID: "a", Type: "T"}, {ID: "b", Type: "T"}},
		Relations: []pipeline.Relation{
			{Src: "a", Dst: "b", Type: "R"},
			{Src: "a", Dst: "nobody", Type: "R"},
			{Src: "nobody", Dst: "b", Type: "S"},
		},
		Mentions: []pipeline.Mention{
			{PointID: w.chunk("c"), DocID: "d", Entity: "a"},
			{PointID: w.chunk("c"), DocID: "d", Entity: "nobody"},
		},
	})
	if got.Entities != 2 || got.Relations != 1 || got.Mentions != 1 {
		t.Errorf("written %+v; want 2 entities, a relation and a mention", got)
	}
	equal(t, "skipped", edges(pipeline.Subgraph{Relations: got.Skipped}), []string{"a R nobody", "nobody S b"})
	equal(t, "stored", edges(w.expand(t, w.wide(3, "a", "b", "nobody"))), []string{"a R b"})
	// An end may have been there before.
	w.build(t, "d", []string{"c"}, []string{"c R a"})
	equal(t, "stored", edges(w.expand(t, w.wide(3, "a"))), []string{"a R b", "c R a"})
	if got := w.write(t, pipeline.GraphWrite{}); got.Entities+got.Relations+got.Mentions+len(got.Skipped) != 0 {
		t.Errorf("nothing written comes to %+v", got)
	}
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
			g.Relations = append(g.Relations, pipeline.Relation{Src: fmt.Sprintf("c%d", c), Dst: id, Type: "RAY", Props: pairs("weight", fmt.Sprint(i))})
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

// relatedIDs returns the chunks of an answer by their short names, which it
// finds by trying them.
func relatedIDs(w web, list []pipeline.Related, names string) []string {
	byID := map[string]string{}
	for _, n := range strings.Fields(names) {
		byID[w.chunk(n)] = n
	}
	out := []string{}
	for _, r := range list {
		out = append(out, byID[r.ID])
	}
	return out
}

const chunkNames = "c1 c2 c3 c4 c5 c6 c7 c8 c9"

func (w web) related(t *testing.T, q pipeline.RelatedQuery, chunks string) []pipeline.Related {
	t.Helper()
	q.Tenant = w.tenant
	for _, c := range strings.Fields(chunks) {
		q.Chunks = append(q.Chunks, w.chunk(c))
	}
	return must[[]pipeline.Related](t)(w.store.Related(within(t), q))
}

func related(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "doc a", []string{"rare", "common", "only", "second"}, nil, "c1 rare common only", "c2 rare", "c6 second")
	w.build(t, "doc b", nil, nil, "c3 common", "c4 common", "c5 common rare", "c7 second")
	wide := pipeline.RelatedQuery{Limit: 100, HubCap: 100, MaxSeeds: 100}
	f := func(chunks string, want ...string) []pipeline.Related {
		t.Helper()
		got := w.related(t, wide, chunks)
		equal(t, "related to "+chunks, relatedIDs(w, got, chunkNames), append([]string{}, want...))
		return got
	}
	// rare is in three chunks, common in four: c5 has both, c2 the rarer.
	tied := []string{"c3", "c4"}
	slices.SortFunc(tied, func(a, b string) int { return cmp.Compare(w.chunk(a), w.chunk(b)) })
	got := f("c1", "c5", "c2", tied[0], tied[1])
	if got[0].DocID != "doc b" || got[1].DocID != "doc a" {
		t.Errorf("documents are %q and %q", got[0].DocID, got[1].DocID)
	}
	equal(t, "via", got[0].Via, []string{"rare", "common"}) // what counts most first
	equal(t, "via", got[1].Via, []string{"rare"})
	const e = 1e-9
	for i, want := range []float64{1./3 + 1./4, 1. / 3, 1. / 4, 1. / 4} {
		if d := got[i].Score - want; d > e || d < -e {
			t.Errorf("score of %d is %v; want %v", i, got[i].Score, want)
		}
	}
	// Anchors are no part of the answer, and count by their rank.
	f("c1 c2 c5", tied[0], tied[1])
	got = f("c6 c3", append([]string{"c7"}, byScore(w, map[string]float64{"c1": 1. / 8, "c4": 1. / 8, "c5": 1. / 8})...)...)
	if d := got[0].Score - 1./2; d > e || d < -e {
		t.Errorf("score of the first rank is %v", got[0].Score)
	}
	f("c9")
	f("")
	f("c6", "c7")
}

// byScore orders chunk names as an answer does.
func byScore(w web, scores map[string]float64) []string {
	return slices.SortedFunc(maps.Keys(scores), func(a, b string) int {
		return cmp.Or(cmp.Compare(scores[b], scores[a]), cmp.Compare(w.chunk(a), w.chunk(b)))
	})
}

func relatedCaps(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "d", []string{"e1", "e2", "e3", "e4", "e5", "e6", "e7"}, nil,
		"c1 e1 e2 e3 e4 e5 e6 e7", "c2 e1 e2 e3 e4 e5 e6 e7", "c3 e1", "c4 e1", "c5 e2")
	if got := w.related(t, pipeline.RelatedQuery{Limit: 1, HubCap: 100, MaxSeeds: 100}, "c1"); len(got) != 1 || got[0].ID != w.chunk("c2") || len(got[0].Via) != 5 {
		t.Errorf("limit 1: %+v; want c2 by five of its entities", got)
	}
	// e1 is in four chunks: not at all above the cap.
	got := w.related(t, pipeline.RelatedQuery{Limit: 100, HubCap: 3, MaxSeeds: 100}, "c1")
	equal(t, "hub cap 3", relatedIDs(w, got, chunkNames), []string{"c2", "c5"})
	got = w.related(t, pipeline.RelatedQuery{Limit: 100, HubCap: 4, MaxSeeds: 100}, "c1")
	if len(got) != 4 {
		t.Errorf("hub cap 4: %d chunks; want all 4", len(got))
	}
	got = w.related(t, pipeline.RelatedQuery{Limit: 100, HubCap: 100, MaxSeeds: 5}, "c1")
	equal(t, "the five rarest entities", relatedIDs(w, got, chunkNames), []string{"c2"})
}

func (w web) link(t *testing.T, text string, limit int) []string {
	t.Helper()
	seeds := must[[]pipeline.Seed](t)(w.store.Link(within(t), pipeline.LinkQuery{Tenant: w.tenant, Text: text, Limit: limit}))
	out := []string{}
	for i, s := range seeds {
		if !(s.Weight > 0) || i > 0 && seeds[i-1].Weight < s.Weight {
			t.Errorf("%q: weights are %+v; want them above zero, the heaviest first", text, seeds)
		}
		out = append(out, s.ID)
	}
	if len(out) > limit {
		t.Errorf("%q: %d seeds; the limit is %d", text, len(out), limit)
	}
	return out
}

// linked checks that a text names an entity; none if want is empty.
func (w web) linked(t *testing.T, text, want string) {
	t.Helper()
	got := w.link(t, text, 10)
	if want == "" && len(got) != 0 || want != "" && !slices.Contains(got, want) {
		t.Errorf("%q names %v; want %q", text, got, want)
	}
}

func link(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	g := pipeline.GraphWrite{}
	for _, e := range []string{"q1=Marie Curie", "q2=Paris", "q3=Müller & Söhne GmbH", "q4=The University of Paris", "q5=Ｔｏｋｙｏ", "q6=C++", "plain_id="} {
		id, name, _ := strings.Cut(e, "=")
		g.Entities = append(g.Entities, pipeline.Entity{ID: id, Type: "T", Name: name})
	}
	w.write(t, g)
	w.linked(t, "Marie Curie", "q1")
	w.linked(t, "When was MARIE   curie born?", "q1")
	w.linked(t, "Did Marie Curie live in Paris?", "q1")
	w.linked(t, "Did Marie Curie live in Paris?", "q2")
	w.linked(t, "muller & sohne gmbh", "q3") // accents do not matter
	w.linked(t, "Who leads MÜLLER & SÖHNE GMBH today?", "q3")
	w.linked(t, "Where is tokyo", "q5") // nor does the width of letters
	w.linked(t, "what is known of plain_id", "plain_id")
	w.linked(t, "professor Curie", "q1") // by a part of the name, if there is nothing better
	w.linked(t, "Berlin", "")
	w.linked(t, "", "")
	w.linked(t, "the of and", "")
	if got := w.link(t, "Marie Curie in Paris", 1); len(got) != 1 || got[0] != "q1" {
		t.Errorf("with limit 1: %v; the longer name counts more", got)
	}
}

func linkChinese(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "d", []string{"張忠謀", "台積電", "新竹科學園區", "東京タワー"}, nil)
	w.linked(t, "張忠謀是誰", "張忠謀")
	w.linked(t, "請問台積電的創辦人張忠謀是哪裡人？", "張忠謀")
	w.linked(t, "請問台積電的創辦人張忠謀是哪裡人？", "台積電")
	w.linked(t, "新竹科學園區在哪", "新竹科學園區")
	w.linked(t, "東京タワーの高さは", "東京タワー")
	w.linked(t, "科學園區有哪些公司", "新竹科學園區") // by a part of the name
	w.linked(t, "量子力學", "")
}

func hostileNames(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "d", []string{"zeppelin"}, nil, "keep zeppelin")
	for i, text := range hostile {
		w.link(t, text, 5)
		w.linked(t, "zeppelin "+clipped(text), "zeppelin")
		if len(text) > 1000 || strings.TrimSpace(text) == "" || strings.ContainsAny(text, "\x00") {
			continue // no ids
		}
		id, chunk := "id "+text, fmt.Sprintf("chunk %d", i)
		w.write(t, pipeline.GraphWrite{
			DocID: "doc " + text, ChunkID: text,
			Entities:  []pipeline.Entity{{ID: id, Type: "Thing", Name: text, Props: pairs("note", fmt.Sprintf("%q", "x"+strings.ReplaceAll(text, `"`, "'")))}},
			Relations: []pipeline.Relation{{Src: id, Dst: "zeppelin", Type: "NEAR"}},
			Mentions:  []pipeline.Mention{{PointID: w.chunk(chunk), DocID: "doc " + text, Entity: id}},
		})
		equal(t, text, edges(w.expand(t, w.wide(1, id))), []string{id + " NEAR zeppelin"})
		if n := must[int](t)(store.DeleteDocument(within(t), w.tenant, "doc "+text)); n != 3 {
			t.Errorf("delete document of %q: %d; want an entity, a relation and a chunk", text, n)
		}
	}
	w.linked(t, "zeppelin", "zeppelin")
}

func deleteDocument(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "", []string{"stated"}, nil)
	w.build(t, "one", []string{"a", "b", "shared"}, []string{"a R b", "a R shared", "shared R stated"}, "c1 a b shared", "c2 a")
	w.build(t, "two", []string{"shared", "z"}, []string{"a R shared", "shared R z"}, "c3 shared z")
	f := func(doc string, want int) {
		t.Helper()
		if n := must[int](t)(store.DeleteDocument(within(t), w.tenant, doc)); n != want {
			t.Errorf("delete %q: %d went; want %d", doc, n, want)
		}
	}
	all := func() []string { return edges(w.expand(t, w.wide(9, "a", "b", "shared", "z", "stated"))) }
	f("none", 0)
	// Two chunks, a R b, shared R stated, b: what two supports as well stays,
	// and a with it.
	q := pipeline.RelatedQuery{Limit: 10, HubCap: 10, MaxSeeds: 10}
	equal(t, "related before", relatedIDs(w, w.related(t, q, "c3"), chunkNames), []string{"c1"})
	if n := must[int](t)(store.DeleteDocument(within(t), w.tenant, "one")); n < 5 || n > 6 {
		t.Errorf("delete: %d went; want two chunks, two relations and b (and perhaps what stood alone before)", n)
	}
	equal(t, "relations", all(), []string{"a R shared", "shared R z"})
	equal(t, "related after", relatedIDs(w, w.related(t, q, "c3"), chunkNames), []string{})
	w.linked(t, "b", "")
	w.linked(t, "shared", "shared")
	f("one", 0)
	// The chunk, two relations, shared and z. Whether what no chunk ever
	// mentioned goes with its last relation, as a, is left to the store.
	if n := must[int](t)(store.DeleteDocument(within(t), w.tenant, "two")); n < 5 || n > 6 {
		t.Errorf("delete: %d went; want a chunk, two relations and the entities of both", n)
	}
	equal(t, "relations", all(), []string{})
	w.build(t, "three", []string{"p", "q"}, []string{"p R q"}, "c4 p q")
	w.build(t, "four", nil, nil, "c5 p")
	if n := must[int](t)(store.DeleteDocument(within(t), w.tenant, "")); n < 5 || n > 7 {
		t.Errorf("delete all: %d went; want two entities, a relation, two chunks and what was left alone", n)
	}
	equal(t, "nothing", edges(w.expand(t, w.wide(9, "p", "q"))), []string{})
	w.linked(t, "p q", "")
}

func graphTenants(t *testing.T, store pipeline.GraphStore) {
	a := newWeb(store)
	b := web{a.tenant + "x", store}
	c := web{strings.ToUpper(a.tenant), store}
	// The same names, and even the same chunk, in each.
	chunk := a.chunk("shared")
	for i, w := range []web{a, b, c} {
		own := fmt.Sprintf("own%d", i)
		w.write(t, pipeline.GraphWrite{
			DocID:     "doc",
			Entities:  []pipeline.Entity{{ID: "x", Type: "T", Name: "Common Name"}, {ID: own, Type: "T", Name: "Name " + own}},
			Relations: []pipeline.Relation{{Src: "x", Dst: own, Type: "R"}},
			Mentions: []pipeline.Mention{
				{PointID: chunk, DocID: "doc", Entity: "x"},
				{PointID: w.chunk(own), DocID: "doc", Entity: "x"},
			},
		})
	}
	check := func(w web, i int) {
		t.Helper()
		own := fmt.Sprintf("own%d", i)
		equal(t, "expand", edges(w.expand(t, w.wide(9, "x", "own0", "own1", "own2"))), []string{"x R " + own})
		equal(t, "link", w.link(t, "Common Name", 10), []string{"x"})
		w.linked(t, "name own0 own1 own2", own)
		for j := range 3 {
			if j != i && slices.Contains(w.link(t, fmt.Sprintf("name own%d", j), 10), fmt.Sprintf("own%d", j)) {
				t.Errorf("tenant %d links to an entity of tenant %d", i, j)
			}
		}
		got := must[[]pipeline.Related](t)(store.Related(within(t), pipeline.RelatedQuery{
			Tenant: w.tenant, Chunks: []string{chunk}, Limit: 10, HubCap: 2, MaxSeeds: 10, // two, so others' chunks do not count
		}))
		if len(got) != 1 || got[0].ID != w.chunk(own) {
			t.Errorf("related as tenant %d: %+v", i, got)
		}
		// Relations end at home.
		skip := w.write(t, pipeline.GraphWrite{Relations: []pipeline.Relation{{Src: "x", Dst: fmt.Sprintf("own%d", (i+1)%3), Type: "ACROSS"}}})
		if len(skip.Skipped) != 1 {
			t.Errorf("a relation of tenant %d ends at an entity of another", i)
		}
	}
	check(a, 0)
	check(b, 1)
	check(c, 2)
	must[int](t)(store.DeleteDocument(within(t), a.tenant, "doc"))
	equal(t, "deleted", edges(a.expand(t, a.wide(9, "x", "own0"))), []string{})
	check(b, 1)
	check(c, 2)
	must[int](t)(store.DeleteDocument(within(t), b.tenant, ""))
	check(c, 2)
}

func graphDeadline(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "d", []string{"a", "b"}, []string{"a R b"}, "c1 a", "c2 a")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	// Reads may return what they have, here nothing or an error; writes do not
	// happen. Neither takes long.
	f := func(what string, write bool, call func(ctx context.Context) error) {
		t.Helper()
		began := time.Now()
		err := call(over)
		if e, ok := errors.AsType[*pipeline.Error](err); write && err == nil || ok && e.Status < 500 {
			t.Errorf("%s: error is %v although its context has ended", what, err)
		}
		if took := time.Since(began); took > patience/2 {
			t.Errorf("%s took %v although its context had ended", what, took)
		}
	}
	f("Link", false, func(ctx context.Context) error {
		_, err := store.Link(ctx, pipeline.LinkQuery{Tenant: w.tenant, Text: "a", Limit: 5})
		return err
	})
	f("Related", false, func(ctx context.Context) error {
		_, err := store.Related(ctx, pipeline.RelatedQuery{Tenant: w.tenant, Chunks: []string{w.chunk("c1")}, Limit: 5, HubCap: 10, MaxSeeds: 10})
		return err
	})
	f("Expand", false, func(ctx context.Context) error {
		_, err := store.Expand(ctx, w.wide(3, "a"))
		return err
	})
	f("Write", true, func(ctx context.Context) error {
		_, err := store.Write(ctx, pipeline.GraphWrite{Tenant: w.tenant, Entities: []pipeline.Entity{{ID: "late", Type: "T"}}})
		return err
	})
	f("DeleteDocument", true, func(ctx context.Context) error {
		_, err := store.DeleteDocument(ctx, w.tenant, "d")
		return err
	})
	equal(t, "untouched", edges(w.expand(t, w.wide(3, "a"))), []string{"a R b"})
	w.linked(t, "late", "")
}

// graphAtOnce reads and writes at the same time; the race detector looks on.
func graphAtOnce(t *testing.T, store pipeline.GraphStore) {
	w := newWeb(store)
	w.build(t, "base", []string{"centre"}, nil)
	ctx := within(t)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			doc := fmt.Sprintf("doc %d", n)
			for i := range 10 {
				id := fmt.Sprintf("e%d_%d", n, i)
				got, err := store.Write(ctx, pipeline.GraphWrite{
					Tenant: w.tenant, DocID: doc,
					Entities:  []pipeline.Entity{{ID: id, Type: "T", Props: pairs("n", "1")}, {ID: "centre", Type: "Thing", Props: pairs(id, "1")}},
					Relations: []pipeline.Relation{{Src: "centre", Dst: id, Type: "R"}},
					Mentions:  []pipeline.Mention{{PointID: w.chunk(id), DocID: doc, Entity: id}, {PointID: w.chunk(id), DocID: doc, Entity: "centre"}},
				})
				if err != nil || got.Relations != 1 || got.Mentions != 2 {
					t.Errorf("write: %+v, %v", got, err)
				}
				if _, err := store.Expand(ctx, w.wide(2, "centre")); err != nil {
					t.Errorf("expand: %v", err)
				}
				if _, err := store.Related(ctx, pipeline.RelatedQuery{Tenant: w.tenant, Chunks: []string{w.chunk(id)}, Limit: 5, HubCap: 100, MaxSeeds: 5}); err != nil {
					t.Errorf("related: %v", err)
				}
				if seeds, err := store.Link(ctx, pipeline.LinkQuery{Tenant: w.tenant, Text: "the centre", Limit: 3}); err != nil || len(seeds) == 0 {
					t.Errorf("link: %v, %v", seeds, err)
				}
			}
		})
	}
	wg.Wait()
	g := w.expand(t, w.wide(1, "centre"))
	i := slices.IndexFunc(g.Entities, func(e pipeline.Entity) bool { return e.ID == "centre" })
	if len(g.Relations) != 40 || i < 0 || len(g.Entities[i].Props) != 40 {
		t.Fatalf("%d relations, centre at %d; want 40, and 40 properties joined", len(g.Relations), i)
	}
	for n := range 4 {
		wg.Go(func() {
			if got, err := store.DeleteDocument(ctx, w.tenant, fmt.Sprintf("doc %d", n)); err != nil || got < 30 {
				t.Errorf("delete: %d, %v; want ten entities, relations and chunks", got, err)
			}
		})
	}
	wg.Wait()
	equal(t, "all gone", edges(w.expand(t, w.wide(1, "centre"))), []string{})
}
