package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// Vectors checks a VectorStore. open is called once for each part of the suite.
func Vectors(t *testing.T, open func(t *testing.T) pipeline.VectorStore) {
	for _, part := range []struct {
		name string
		run  func(t *testing.T, s pipeline.VectorStore)
	}{
		{"collection", collections}, {"dense", denseLeg}, {"sparse", sparseLeg}, {"words alone", wordsAlone},
		{"ties", ties}, {"filters", filters}, {"tenants", tenants}, {"dimensions", dimensions},
		{"bad vectors", badVectors}, {"upsert", upserts}, {"skip unchanged", skipUnchanged}, {"delete", deletes},
		{"chinese", chinese}, {"hostile texts", hostileTexts}, {"deadline", vectorDeadline}, {"at once", atOnce},
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

func denseLeg(t *testing.T, store pipeline.VectorStore) {
	s, r := newShelf(store), random(t)
	var points []pipeline.Point
	for i := range 60 {
		points = append(points, s.point(fmt.Sprintf("d%d", i/4), i, fmt.Sprintf("text %d", i), anyVector(r, 16), `{"n":1}`))
	}
	s.put(t, points...)
	for range 10 {
		q := anyVector(r, 16)
		cosine := func(p pipeline.Point) float64 {
			sum := 0.0
			for i := range q {
				sum += float64(q[i]) * float64(p.Vector[i])
			}
			return sum
		}
		slices.SortFunc(points, func(a, b pipeline.Point) int {
			if cosine(a) > cosine(b) {
				return -1
			}
			return 1
		})
		legs := s.search(t, pipeline.SearchQuery{Vector: q, Limit: 7})
		if legs.Sparse != nil {
			t.Errorf("a sparse leg without a text: %v", legs.Sparse)
		}
		inOrder(t, "dense", legs.Dense, dense)
		if len(legs.Dense) != 7 {
			t.Fatalf("%d passages; want 7", len(legs.Dense))
		}
		for i, p := range legs.Dense {
			samePassage(t, p, points[i].Passage)
			if d := math.Abs(float64(p.Scores.Dense.Value) - cosine(points[i])); d > 1e-3 {
				t.Errorf("score of passage %d is off by %v", i, d)
			}
			if p.Scores.Sparse.Set || p.Scores.Fused.Set || p.Via != nil {
				t.Errorf("passage %d has more scores than its leg: %+v", i, p)
			}
		}
	}
	if n := len(s.search(t, pipeline.SearchQuery{Vector: anyVector(r, 16), Limit: 1000}).Dense); n != len(points) {
		t.Errorf("%d of %d points found when all are asked for", n, len(points))
	}
}

func sparseLeg(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	v := vector(1, 2, 3, 4)
	rare := s.point("d", 0, "The turbine hall has a rare quokka in it.", v, "")
	twice := s.point("d", 1, "Turbine after turbine, and a gate.", v, "")
	once := s.point("d", 2, "One turbine stands by the gate of the long and winding river, far from any town.", v, "")
	s.put(t, rare, twice, once, s.point("d", 3, "Nothing of that kind.", v, ""))
	f := func(text string, want ...pipeline.Point) {
		t.Helper()
		legs := s.search(t, pipeline.SearchQuery{Text: text, Limit: 10})
		if legs.Dense != nil {
			t.Errorf("a dense leg without a vector: %v", legs.Dense)
		}
		inOrder(t, text, legs.Sparse, sparse)
		got := ids(legs.Sparse)
		var wanted []string
		for _, p := range want {
			wanted = append(wanted, p.ID)
		}
		equal(t, text, got, append([]string{}, wanted...))
	}
	f("quokka", rare)
	f("QUOKKA?", rare)
	f("turbine quokka", rare, twice, once) // the rarer word counts more
	f("turbine", twice, rare, once)        // often in a short text counts more
	f("gate", twice, once)
	f("zeppelin")
	legs := s.search(t, pipeline.SearchQuery{Text: "turbine", Vector: v, Limit: 2})
	if len(legs.Dense) != 2 || len(legs.Sparse) != 2 {
		t.Errorf("%d and %d passages; the limit is one of each leg", len(legs.Dense), len(legs.Sparse))
	}
	if legs := s.search(t, pipeline.SearchQuery{Limit: 2}); legs.Dense != nil || legs.Sparse != nil {
		t.Errorf("nothing asked for, found %v", legs)
	}
}

// wordsAlone is a collection without vectors.
func wordsAlone(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	p := s.point("d", 0, "penstock and spillway", nil, `{"k":"v"}`)
	s.put(t, p)
	if info := must[pipeline.CollectionInfo](t)(store.Collection(within(t), s.tenant, s.collection)); info.Dimensions != 0 || info.Points != 1 {
		t.Errorf("collection is %+v", info)
	}
	equal(t, "search", ids(s.search(t, pipeline.SearchQuery{Text: "spillway"}).Sparse), idsOf(p))
	_, err := store.Upsert(within(t), pipeline.Upsert{Tenant: s.tenant, Collection: s.collection, Points: []pipeline.Point{s.point("d", 1, "x", vector(1, 1), "")}})
	refused(t, err, 409, "dimension_mismatch")
}

func ties(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	var points []pipeline.Point
	for i := range 40 {
		points = append(points, s.point(fmt.Sprintf("d%d", i), i, "the same words everywhere", vector(1, 2, 2, 1), ""))
	}
	s.put(t, points...)
	for range 3 {
		legs := s.search(t, pipeline.SearchQuery{Text: "words", Vector: vector(2, 1, 1, 2), Limit: 50})
		equal(t, "dense", ids(legs.Dense), idsOf(points...))
		equal(t, "sparse", ids(legs.Sparse), idsOf(points...))
	}
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
	put(pipeline.Upserted{Written: 2}, a, b)
	put(pipeline.Upserted{Skipped: 2}, a, b)
	b2 := s.point("d", 1, "changed", vector(0, 1), "")
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

func chinese(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	zhang := s.point("d", 0, "張忠謀於1987年創辦台積電，總部位於新竹科學園區。", nil, "")
	river := s.point("d", 1, "長江是亞洲第一長河，發源於青藏高原。", nil, "")
	mixed := s.point("d", 2, "台積電與Apple合作開發晶片。", nil, "")
	kana := s.point("d", 3, "東京タワーは日本の東京都港区にある。", nil, "")
	hangul := s.point("d", 4, "서울은 대한민국의 수도이다.", nil, "")
	s.put(t, zhang, river, mixed, kana, hangul)
	f := func(text string, first pipeline.Point, n int) {
		t.Helper()
		got := s.search(t, pipeline.SearchQuery{Text: text}).Sparse
		if len(got) < n || n > 0 && got[0].ID != first.ID {
			t.Errorf("%q finds %v; want %q first of at least %d", text, got, first.Text, n)
		}
	}
	f("張忠謀是誰?", zhang, 1)
	f("台積電的總部在哪裡", zhang, 2)
	f("哪一條河發源於青藏高原", river, 1)
	f("apple", mixed, 1)
	f("ＡＰＰＬＥ", mixed, 1) // of full width
	f("東京タワー", kana, 1)
	f("대한민국", hangul, 1)
	equal(t, "another text", ids(s.search(t, pipeline.SearchQuery{Text: "量子力學"}).Sparse), []string{})
}

// hostile are texts that mean something to one query language or another, or
// break what does not expect them.
var hostile = []string{
	"", " ", "\x00", "a\x00b", `"`, `'`, `''`, `""`, `"unclosed`, "*", "a*", "^a", "AND", "OR", "NOT", "NEAR(a b)", "a AND", "-a", "+a -b",
	"foo/bar", "a:b", "text:*", "{", "}", "(((((", ")", "[a TO b]", "~", "a~2", `\`, `a\`, "?", "tb-", "a OR 1=1", "'; DROP TABLE points; --",
	"%", "_", "$x", "`x`", "\u0060) DETACH DELETE n //", "\u2028", "\ufeff", "é́", "🙂", "👩‍👩‍👧", "ﷺ", "\U0010ffff", "a\tb\r\nc", "<b>", "{{x}}", "张", "the of and",
	strings.Repeat("a", 64<<10), strings.Repeat("ab ", 20<<10), strings.Repeat("漢字", 10<<10), strings.Repeat("(", 64<<10), strings.Repeat("a OR ", 13<<10),
}

func hostileTexts(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	var points []pipeline.Point
	for i, text := range hostile {
		points = append(points, s.point(fmt.Sprintf("doc %.40q", text), i, text, vector(float32(i), 1), ""))
	}
	probe := s.point("probe", 1000, "a wholesome zeppelin", vector(1, 1), "")
	s.put(t, append(points, probe)...)
	for i, text := range hostile {
		got := must[[]pipeline.Passage](t)(store.Fetch(within(t), s.tenant, s.collection, []string{points[i].ID}))
		if len(got) != 1 {
			t.Fatalf("%.40q: fetched %d", text, len(got))
		}
		samePassage(t, got[0], points[i].Passage)
		s.search(t, pipeline.SearchQuery{Text: text, Limit: 5})
		// Whatever stands around a word, it is found.
		legs := s.search(t, pipeline.SearchQuery{Text: "zeppelin " + clipped(text), Limit: 100})
		if !slices.Contains(ids(legs.Sparse), probe.ID) {
			t.Errorf("zeppelin is not found beside %.40q", text)
		}
		strange := must1("doc_id", pipeline.Condition{Any: []pipeline.Value{{Text: points[i].DocID}}})
		equal(t, "by document", ids(s.search(t, pipeline.SearchQuery{Vector: vector(1, 0), Filter: strange}).Dense), idsOf(points[i]))
		if n := must[int](t)(store.Delete(within(t), s.tenant, s.collection, points[i].DocID)); n != 1 {
			t.Errorf("delete %.60q: %d", points[i].DocID, n)
		}
	}
	if n := s.count(t); n != 1 {
		t.Errorf("%d points left; want one", n)
	}
}

// clipped keeps a hostile text from having more words than are looked at.
func clipped(s string) string { return s[:min(len(s), 200)] }

func vectorDeadline(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	s.put(t, s.point("d", 0, "text", vector(1, 0), ""))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	f := func(what string, call func(ctx context.Context) error) {
		t.Helper()
		began := time.Now()
		if err := call(over); err == nil {
			t.Errorf("%s: no error although its context has ended", what)
		} else if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Status < 500 {
			t.Errorf("%s: %v blames the caller", what, err)
		}
		if took := time.Since(began); took > patience/2 {
			t.Errorf("%s took %v although its context had ended", what, took)
		}
	}
	f("Search", func(ctx context.Context) error {
		_, err := store.Search(ctx, pipeline.SearchQuery{Tenant: s.tenant, Collection: s.collection, Text: "text", Vector: vector(1, 0), Limit: 5})
		return err
	})
	f("Fetch", func(ctx context.Context) error {
		_, err := store.Fetch(ctx, s.tenant, s.collection, []string{s.point("d", 0, "", nil, "").ID})
		return err
	})
	f("Upsert", func(ctx context.Context) error {
		_, err := store.Upsert(ctx, pipeline.Upsert{Tenant: s.tenant, Collection: s.collection, Points: []pipeline.Point{s.point("d", 1, "late", vector(1, 0), "")}})
		return err
	})
	f("Delete", func(ctx context.Context) error {
		_, err := store.Delete(ctx, s.tenant, s.collection, "d")
		return err
	})
	f("Collection", func(ctx context.Context) error {
		_, err := store.Collection(ctx, s.tenant, s.collection)
		return err
	})
	if n := s.count(t); n != 1 {
		t.Errorf("%d points; want the one of before", n)
	}
}

// atOnce writes, searches and deletes at the same time; the race detector looks on.
func atOnce(t *testing.T, store pipeline.VectorStore) {
	s := newShelf(store)
	anchor := s.point("anchor", 9999, "anchor", vector(1, 1, 1), `{"n":1}`)
	s.put(t, anchor)
	ctx := within(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			doc := fmt.Sprintf("doc %d", w)
			for i := range 15 {
				_, err := store.Upsert(ctx, pipeline.Upsert{Tenant: s.tenant, Collection: s.collection, Points: []pipeline.Point{
					s.point(doc, 100*w+i, "words and "+doc, vector(float32(i+1), 1, 1), `{"n":2}`),
				}})
				if err != nil {
					t.Errorf("upsert: %v", err)
				}
				legs, err := store.Search(ctx, pipeline.SearchQuery{
					Tenant: s.tenant, Collection: s.collection, Vector: vector(1, 1, 1), Text: "anchor", Limit: 100,
					Filter: must1("n", pipeline.Condition{Any: []pipeline.Value{{Kind: pipeline.NumberValue, Number: 1}}}),
				})
				if err != nil || !slices.Equal(ids(legs.Dense), idsOf(anchor)) || !slices.Equal(ids(legs.Sparse), idsOf(anchor)) {
					t.Errorf("search: %v, %v", legs, err)
				}
			}
			if n, err := store.Delete(ctx, s.tenant, s.collection, doc); n != 15 || err != nil {
				t.Errorf("delete: %d, %v; want 15", n, err)
			}
		})
	}
	wg.Wait()
	if n := s.count(t); n != 1 {
		t.Errorf("%d points left; want one", n)
	}
}
