package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

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
	equal(t, "related before", relatedIDs(w, w.related(t, q, "c3")), []string{"c1"})
	if n := must[int](t)(store.DeleteDocument(within(t), w.tenant, "one")); n < 5 || n > 6 {
		t.Errorf("delete: %d went; want two chunks, two relations and b (and perhaps what stood alone before)", n)
	}
	equal(t, "relations", all(), []string{"a R shared", "shared R z"})
	equal(t, "related after", relatedIDs(w, w.related(t, q, "c3")), []string{})
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
