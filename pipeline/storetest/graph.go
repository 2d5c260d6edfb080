package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

// Graph checks a GraphStore. open is called once for each part of the suite.
func Graph(t *testing.T, open func(t *testing.T) pipeline.GraphStore) {
	for _, part := range []struct {
		name string
		run  func(t *testing.T, s pipeline.GraphStore)
	}{
		{"merge", merges},
		{"skipped", skipped},
		{"types", types},
		{"expand", expand},
		{"expand caps", expandCaps},
		{"hubs", hubs},
		{"related", related},
		{"related caps", relatedCaps},
		{"link", link},
		{"link chinese", linkChinese},
		{"hostile names", hostileNames},
		{"delete document", deleteDocument},
		{"graph tenants", graphTenants},
		{"deadline", graphDeadline},
		{"at once", graphAtOnce},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

// types are the same for all stores, and so is what is refused: nothing is written then.
func types(t *testing.T, s pipeline.GraphStore) {
	w := newWeb(s)
	write := func(g pipeline.GraphWrite) error {
		g.Tenant = w.tenant
		_, err := s.Write(within(t), g)
		return err
	}
	for _, kind := range []string{"", "a b", "1a", "a`b", "Chunk", "Document", "Entity", "__x", strings.Repeat("a", 65)} {
		refused(t, write(pipeline.GraphWrite{
			Entities:  []pipeline.Entity{{ID: "a"}, {ID: "b"}},
			Relations: []pipeline.Relation{{Src: "a", Dst: "b", Type: kind}},
		}), 400, "invalid_type")
		if kind != "" && kind != pipeline.GenericType {
			refused(t, write(pipeline.GraphWrite{Entities: []pipeline.Entity{{ID: "a"}, {ID: "c", Type: kind}}}), 400, "invalid_type")
		}
	}
	refused(t, write(pipeline.GraphWrite{Entities: []pipeline.Entity{{ID: "a"}, {Type: "Thing"}}}), 400, "invalid_id")
	refused(t, write(pipeline.GraphWrite{Entities: []pipeline.Entity{{ID: strings.Repeat("a", 4000)}}}), 400, "invalid_id")
	done := w.write(t, pipeline.GraphWrite{
		Entities:  []pipeline.Entity{{ID: "b", Type: "人物"}, {ID: "c", Type: pipeline.GenericType}},
		Relations: []pipeline.Relation{{Src: "a", Dst: "b", Type: "KNOWS"}, {Src: "b", Dst: "c", Type: "認識"}},
	})
	if done.Entities != 2 || done.Relations != 1 || len(done.Skipped) != 1 {
		t.Errorf("something of what was refused is there: %+v", done)
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
	for i := 0; i+1 < len(list); i += 2 {
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
		Entities:  []pipeline.Entity{{ID: "ada", Type: "Entity"}, {ID: "ada", Type: "Person", Name: "Ada King", Props: pairs("note", `"new \"x\" 漢"`, "x", "1.5")}, {ID: "ada", Type: "Entity"}},
		Relations: []pipeline.Relation{{Src: "ada", Dst: "engine", Type: "WROTE_FOR", Props: pairs("sure", "false", "by", `"hand"`)}},
	})
	// Naming an entity says nothing of its type: every one is an Entity.
	w.write(t, pipeline.GraphWrite{Entities: []pipeline.Entity{{ID: "engine", Type: "Entity"}}})
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
