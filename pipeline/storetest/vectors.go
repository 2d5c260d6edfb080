package storetest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

// Vectors checks a VectorStore. open is called once for each part of the suite.
func Vectors(t *testing.T, open func(t *testing.T) pipeline.VectorStore) {
	for _, part := range []struct {
		name string
		run  func(t *testing.T, s pipeline.VectorStore)
	}{
		{"collection", collections},
		{"dense", denseLeg},
		{"sparse", sparseLeg},
		{"words alone", wordsAlone},
		{"ties", ties},
		{"filters", filters},
		{"tenants", tenants},
		{"dimensions", dimensions},
		{"models", models},
		{"prune", prune},
		{"replace", replace},
		{"bad vectors", badVectors},
		{"upsert", upserts},
		{"skip unchanged", skipUnchanged},
		{"delete", deletes},
		{"chinese", chinese},
		{"hostile texts", hostileTexts},
		{"deadline", vectorDeadline},
		{"at once", atOnce},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

func collections(t *testing.T, store pipeline.VectorStore) {
	s, other := newShelf(store), newShelf(store)
	_, err := store.Search(within(t), pipeline.SearchQuery{Tenant: s.tenant, Collection: s.collection, Text: "x", Vector: vector(1, 0), Limit: 5})
	refused(t, err, 404, "collection_not_found")
	_, err = store.Collection(within(t), s.tenant, s.collection)
	refused(t, err, 404, "collection_not_found")
	s.put(t, s.point("d", 0, "one", vector(1, 0, 0, 0), ""), s.point("d", 1, "two", vector(0, 1, 0, 0), ""))
	f := func(tenant string, points int) {
		t.Helper()
		info := must[pipeline.CollectionInfo](t)(store.Collection(within(t), tenant, s.collection))
		if info.Dimensions != 4 || !info.Sparse || info.Points != points {
			t.Errorf("collection is %+v; want 4 dimensions, sparse, %d points", info, points)
		}
	}
	f(s.tenant, 2)
	f(other.tenant, 0) // it is there for all, its points are not
	legs := must[pipeline.Legs](t)(store.Search(within(t), pipeline.SearchQuery{
		Tenant: other.tenant, Collection: s.collection, Text: "one", Vector: vector(1, 0, 0, 0), Limit: 5,
	}))
	if len(legs.Dense)+len(legs.Sparse) != 0 {
		t.Errorf("another tenant finds %v", legs)
	}
	// What is all gone leaves the collection, which nobody drops.
	must[int](t)(store.Delete(within(t), s.tenant, s.collection, ""))
	f(s.tenant, 0)
}

func dimensions(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	put := func(points ...pipeline.Point) error {
		_, err := store.Upsert(within(t), pipeline.Upsert{Tenant: s.tenant, Collection: s.collection, Points: points})
		return err
	}
	first := s.point("d", 0, "first", vector(1, 0, 0), "")
	s.put(t, first)
	good := s.point("d", 1, "good", vector(0, 1, 0), "")
	refused(t, put(good, s.point("d", 2, "long", vector(1, 0, 0, 0), "")), 409, "dimension_mismatch")
	refused(t, put(good, s.point("d", 2, "none", nil, "")), 409, "dimension_mismatch")
	refused(t, put(s.point("d", 2, "short", vector(1, 1), "")), 409, "dimension_mismatch")
	other := newShelf(store)
	other.collection = s.collection
	_, err := store.Upsert(within(t), pipeline.Upsert{Tenant: other.tenant, Collection: s.collection, Points: []pipeline.Point{other.point("d", 0, "x", vector(1, 1), "")}})
	refused(t, err, 409, "dimension_mismatch")
	_, err = store.Search(within(t), pipeline.SearchQuery{Tenant: s.tenant, Collection: s.collection, Vector: vector(1, 1), Limit: 1})
	refused(t, err, 409, "dimension_mismatch")
	// Whole or nothing: the good points of those calls are not there.
	if n := s.count(t); n != 1 {
		t.Errorf("%d points; want the first alone", n)
	}
	equal(t, "all", ids(s.search(t, pipeline.SearchQuery{Vector: vector(1, 1, 1)}).Dense), idsOf(first))
}

// models never meet in one collection, while there is anything in it.
func models(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	write := func(model string, points ...pipeline.Point) error {
		_, err := store.Upsert(within(t), pipeline.Upsert{Tenant: s.tenant, Collection: s.collection, Points: points, Model: model})
		return err
	}
	search := func(model string) error {
		_, err := store.Search(within(t), pipeline.SearchQuery{Tenant: s.tenant, Collection: s.collection, Vector: vector(1, 0, 0), Model: model, Limit: 1})
		return err
	}
	f := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	first, second := s.point("d", 0, "first", vector(1, 0, 0), ""), s.point("d", 1, "second", vector(0, 1, 0), "")
	f(write("old", first))
	info := must[pipeline.CollectionInfo](t)(store.Collection(within(t), s.tenant, s.collection))
	if info.Model == "" {
		t.Skip("this store does not note models")
	}
	if info.Model != "old" {
		t.Errorf("the model is %q; want old", info.Model)
	}
	f(search("old"))
	f(search("")) // not known: not compared
	f(write("", second))
	refused(t, search("new"), 409, "model_mismatch")
	refused(t, write("new", second), 409, "model_mismatch")
	if _, err := store.Search(within(t), pipeline.SearchQuery{Tenant: s.tenant, Collection: s.collection, Text: "first", Model: "new", Limit: 1}); err != nil {
		t.Errorf("words have no model: %v", err)
	}
	must[int](t)(store.Delete(within(t), s.tenant, s.collection, ""))
	f(write("new", first))
	f(search("new"))
	refused(t, search("old"), 409, "model_mismatch")
	equal(t, "found", ids(s.search(t, pipeline.SearchQuery{Vector: vector(1, 0, 0)}).Dense), idsOf(first))
}

// prune lists what a document consists of and removes some of it, which leaves the rest
// and everybody else's alone.
func prune(t *testing.T, store pipeline.VectorStore) {
	s, other := newShelf(store), newShelf(store)
	other.collection = s.collection
	_, err := store.Chunks(within(t), s.tenant, s.collection, "d")
	refused(t, err, 404, "collection_not_found")
	var points []pipeline.Point
	for i := range 2300 { // some pages
		points = append(points, s.point("d", i, "chunk", vector(1, float32(i)), ""))
	}
	for rest := points; len(rest) > 0; rest = rest[min(len(rest), 500):] {
		s.put(t, rest[:min(len(rest), 500)]...)
	}
	near := s.point("e", 0, "another document's", vector(1, 1), "")
	s.put(t, near)
	theirs := other.point("d", 0, "another tenant's", vector(1, 1), "")
	other.put(t, theirs)
	f := func(want ...pipeline.Point) {
		t.Helper()
		list := must[[]pipeline.Passage](t)(store.Chunks(within(t), s.tenant, s.collection, "d"))
		if len(list) != len(want) {
			t.Fatalf("%d chunks, want %d", len(list), len(want))
		}
		for i, c := range list {
			if w := want[i]; c.ID != w.ID || c.ChunkID != w.ChunkID || c.Index != w.Index {
				t.Fatalf("chunk %d is %+v; want %+v", i, c, w.Passage)
			}
		}
	}
	remove := func(want int, points ...pipeline.Point) {
		t.Helper()
		if n := must[int](t)(store.Remove(within(t), s.tenant, s.collection, idsOf(points...))); n != want {
			t.Errorf("%d points went; want %d", n, want)
		}
	}
	f(points...)
	remove(0)
	remove(0, s.point("d", 9999, "is not there", nil, ""), theirs)
	remove(2200, append(slices.Clone(points[100:]), points[100], theirs)...)
	f(points[:100]...)
	remove(1, points[0])
	f(points[1:100]...)
	if s.count(t) != 100 || other.count(t) != 1 {
		t.Errorf("%d and %d points are left; want 100 and 1", s.count(t), other.count(t))
	}
	equal(t, "found", ids(s.search(t, pipeline.SearchQuery{Vector: vector(1, 1), Limit: 2}).Dense), idsOf(points[1], near))
	if list := must[[]pipeline.Passage](t)(store.Chunks(within(t), s.tenant, s.collection, "no document")); len(list) != 0 {
		t.Errorf("nothing has %d chunks", len(list))
	}
}

// replace writes and removes in one call.
func replace(t *testing.T, store pipeline.VectorStore) {
	s, other := newShelf(store), newShelf(store)
	other.collection = s.collection
	old := []pipeline.Point{s.point("d", 0, "old", vector(1, 0), ""), s.point("d", 1, "old", vector(1, 1), ""), s.point("d", 2, "old", vector(1, 2), "")}
	s.put(t, old...)
	theirs := other.point("d", 0, "old", vector(1, 0), "")
	other.put(t, theirs)
	f := func(u pipeline.Upsert, written, removed int, left ...pipeline.Point) {
		t.Helper()
		u.Tenant, u.Collection = s.tenant, s.collection
		done := must[pipeline.Upserted](t)(store.Upsert(within(t), u))
		if done.Written != written || done.Removed != removed {
			t.Errorf("%+v; want %d written and %d removed", done, written, removed)
		}
		legs := s.search(t, pipeline.SearchQuery{Vector: vector(1, 0), Text: "old new", Limit: 10})
		for _, leg := range [][]pipeline.Passage{legs.Dense, legs.Sparse} {
			got := ids(leg)
			slices.Sort(got)
			equal(t, "left", got, idsOf(left...))
		}
	}
	young := s.point("d", 0, "new", vector(0, 1), "")
	// What is written stays, whatever else is said of it.
	f(pipeline.Upsert{Points: []pipeline.Point{young}, Remove: idsOf(young, old[1], old[1], theirs)}, 1, 1, young, old[2])
	f(pipeline.Upsert{Points: []pipeline.Point{young}, SkipUnchanged: true, Remove: idsOf(young, old[2])}, 0, 1, young)
	f(pipeline.Upsert{Remove: idsOf(old...)[:0]}, 0, 0, young)
	f(pipeline.Upsert{Remove: idsOf(young, theirs)}, 0, 1)
	if n := other.count(t); n != 1 {
		t.Errorf("another tenant has %d points; want one", n)
	}
}

func badVectors(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	good := s.point("d", 0, "good", vector(1, 1, 1), "")
	s.put(t, good)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	f := func(v ...float32) {
		t.Helper()
		bad := []pipeline.Point{s.point("d", 1, "fine", vector(1, 2, 3), ""), s.point("d", 2, "bad", v, "")}
		_, err := store.Upsert(within(t), pipeline.Upsert{Tenant: s.tenant, Collection: s.collection, Points: bad})
		refused(t, err, 400, "bad_vector")
		_, err = store.Search(within(t), pipeline.SearchQuery{Tenant: s.tenant, Collection: s.collection, Vector: v, Limit: 5})
		refused(t, err, 400, "bad_vector")
		if n := s.count(t); n != 1 {
			t.Errorf("%d points; want the good one alone", n)
		}
	}
	f(nan, 0, 1)
	f(1, inf, 0)
	f(0, 0, -inf)
	f(0, 0, 0)
	equal(t, "search", ids(s.search(t, pipeline.SearchQuery{Vector: vector(1, 0, 0)}).Dense), idsOf(good))
}

func upserts(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	a := s.point("d", 0, "old words", vector(1, 0), `{"a":1,"b":{"c":[1,2]}}`)
	b := s.point("d", 1, "other", vector(0, 1), "")
	for range 3 {
		if got := s.put(t, a, b); got != (pipeline.Upserted{Written: 2}) {
			t.Errorf("upserted %+v; want 2 written", got)
		}
	}
	if n := s.count(t); n != 2 {
		t.Errorf("%d points after the same ones thrice; want 2", n)
	}
	got := must[[]pipeline.Passage](t)(store.Fetch(within(t), s.tenant, s.collection, []string{
		b.ID, pipeline.PointID("x", "y", "z", "", 0), a.ID,
	}))
	if len(got) != 2 {
		t.Fatalf("fetched %v; want two", ids(got))
	}
	samePassage(t, got[0], b.Passage)
	samePassage(t, got[1], a.Passage)
	if got[0].Scores != (pipeline.Scores{}) {
		t.Errorf("fetched passages have scores: %+v", got[0].Scores)
	}
	// A point is replaced as a whole.
	a2 := s.point("d", 0, "new text", vector(0, 1), `{"z":true}`)
	s.put(t, a2)
	got = must[[]pipeline.Passage](t)(store.Fetch(within(t), s.tenant, s.collection, []string{a.ID}))
	if len(got) != 1 {
		t.Fatalf("fetched %v; want one", ids(got))
	}
	samePassage(t, got[0], a2.Passage)
	equal(t, "old words", ids(s.search(t, pipeline.SearchQuery{Text: "words"}).Sparse), []string{})
	equal(t, "new words", ids(s.search(t, pipeline.SearchQuery{Text: "new"}).Sparse), idsOf(a2))
	if legs := s.search(t, pipeline.SearchQuery{Vector: vector(1, 0), Limit: 1}); math.Abs(float64(legs.Dense[0].Scores.Dense.Value)) > 1e-3 {
		t.Errorf("the old vector is still there: %v", legs.Dense[0].Scores.Dense)
	}
	n := 0.0
	old := pipeline.SearchQuery{Vector: vector(1, 1), Filter: must1("a", pipeline.Condition{Range: &pipeline.Range{GT: &n}})}
	equal(t, "old metadata", ids(s.search(t, old).Dense), []string{})
}

func must1(field string, c pipeline.Condition) *pipeline.Filter {
	c.Field = field
	return &pipeline.Filter{Must: []pipeline.Condition{c}}
}

func skipUnchanged(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	a, b := s.point("d", 0, "a", vector(1, 0), ""), s.point("d", 1, "b", vector(0, 1), "")
	put := func(want pipeline.Upserted, points ...pipeline.Point) {
		t.Helper()
		got := must[pipeline.Upserted](t)(store.Upsert(within(t), pipeline.Upsert{
			Tenant: s.tenant, Collection: s.collection, Points: points, SkipUnchanged: true,
		}))
		if got != want {
			t.Errorf("upserted %+v; want %+v", got, want)
		}
	}
	b2 := s.point("d", 1, "changed", vector(0, 1), "")
	recall := func(want ...bool) {
		t.Helper()
		if r, ok := store.(pipeline.Recaller); ok {
			got := must[[]bool](t)(r.Unchanged(within(t), s.tenant, s.collection, []pipeline.Point{b2, a, b, a}))
			if !slices.Equal(got, want) {
				t.Errorf("unchanged: %v; want %v", got, want)
			}
			other := must[[]bool](t)(r.Unchanged(within(t), s.tenant+" other", s.collection, []pipeline.Point{a}))
			if other[0] {
				t.Error("a point is unchanged for a tenant who has none")
			}
		}
	}
	recall(false, false, false, false)
	put(pipeline.Upserted{Written: 2}, a, b)
	recall(false, true, true, true)
	put(pipeline.Upserted{Skipped: 2}, a, b)
	put(pipeline.Upserted{Written: 1, Skipped: 1}, a, b2)
	// The digest decides, whatever the rest is like.
	lie := s.point("d", 0, "lie", vector(1, 0), "")
	lie.Digest = a.Digest
	put(pipeline.Upserted{Skipped: 1}, lie)
	got := must[[]pipeline.Passage](t)(store.Fetch(within(t), s.tenant, s.collection, []string{a.ID, b.ID}))
	if len(got) != 2 || got[0].Text != "a" || got[1].Text != "changed" {
		t.Errorf("stored %v", got)
	}
	if got := s.put(t, a, b2); got != (pipeline.Upserted{Written: 2}) {
		t.Errorf("upserted %+v without SkipUnchanged", got)
	}
}

func deletes(t *testing.T, store pipeline.VectorStore) {
	s, other := newShelf(store), newShelf(store)
	other.collection = s.collection
	var keep []pipeline.Point
	for i := range 30 {
		p := s.point(fmt.Sprintf("doc %d", i%3), i, fmt.Sprintf("passage %d", i), vector(float32(i), 1), "")
		s.put(t, p)
		if i%3 != 1 {
			keep = append(keep, p)
		}
	}
	foreign := other.point("doc 1", 0, "passage of another", vector(1, 1), "")
	other.put(t, foreign)
	f := func(doc string, want int) {
		t.Helper()
		if n := must[int](t)(store.Delete(within(t), s.tenant, s.collection, doc)); n != want {
			t.Errorf("delete %q: %d; want %d", doc, n, want)
		}
	}
	f("doc 1", 10)
	f("doc 1", 0)
	f("doc", 0)
	f("' OR 1=1 --", 0)
	legs := s.search(t, pipeline.SearchQuery{Vector: vector(1, 1), Text: "passage"})
	equal(t, "dense", sorted(ids(legs.Dense)), idsOf(keep...))
	equal(t, "sparse", sorted(ids(legs.Sparse)), idsOf(keep...))
	f("", 20)
	f("", 0)
	if n := s.count(t); n != 0 {
		t.Errorf("%d points left", n)
	}
	equal(t, "another tenant's", ids(other.search(t, pipeline.SearchQuery{Text: "passage"}).Sparse), idsOf(foreign))
}
