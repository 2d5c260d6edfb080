package storetest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

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
