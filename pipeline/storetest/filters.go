package storetest

import (
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

// filters compares filters of every kind, alone and combined at random, with
// what they mean.
func filters(t *testing.T, store pipeline.VectorStore) {
	s, r := newShelf(store), random(t)
	langs := []string{"en", "de", "zh", "繁體 中文", `a"b`, "x y"}
	var points []pipeline.Point
	for i := range 80 {
		meta := map[string]any{"n": i % 7, "score": float64(i) / 8, "lang": langs[i%len(langs)], "ok": i%2 == 0}
		if i%3 == 0 {
			meta["tags"] = []any{langs[i%4], "t"}
			meta["deep"] = map[string]any{"er": map[string]any{"x": i % 5}, "list": []any{i, -i}}
		}
		if i%5 == 0 {
			meta["sometimes"] = "here"
			meta["null"] = nil
		}
		raw, err := json.Marshal(meta)
		if err != nil {
			t.Fatal(err)
		}
		if i == 79 {
			raw = nil
		}
		points = append(points, s.point(fmt.Sprintf("d%d", i/8), i, "the same text", anyVector(r, 8), string(raw)))
	}
	s.put(t, points...)
	f := func(filter *pipeline.Filter) {
		t.Helper()
		var want []pipeline.Point
		for _, p := range points {
			if admits(filter, &p.Passage) {
				want = append(want, p)
			}
		}
		legs := s.search(t, pipeline.SearchQuery{Vector: anyVector(r, 8), Text: "same", Filter: filter})
		text, _ := json.Marshal(filter)
		equal(t, "dense by "+string(text), sorted(ids(legs.Dense)), idsOf(want...))
		equal(t, "sparse by "+string(text), sorted(ids(legs.Sparse)), idsOf(want...))
	}
	text := func(field string, values ...string) pipeline.Condition {
		c := pipeline.Condition{Field: field}
		for _, v := range values {
			c.Any = append(c.Any, pipeline.Value{Kind: pipeline.TextValue, Text: v})
		}
		return c
	}
	number := func(field string, n float64) pipeline.Condition {
		return pipeline.Condition{Field: field, Any: []pipeline.Value{{Kind: pipeline.NumberValue, Number: n}}}
	}
	boolean := func(field string, b bool) pipeline.Condition {
		return pipeline.Condition{Field: field, Any: []pipeline.Value{{Kind: pipeline.BoolValue, Bool: b}}}
	}
	ranged := func(field string, of func(r *pipeline.Range, n *float64), n float64) pipeline.Condition {
		c := pipeline.Condition{Field: field, Range: &pipeline.Range{}}
		of(c.Range, &n)
		return c
	}
	gt := func(r *pipeline.Range, n *float64) { r.GT = n }
	gte := func(r *pipeline.Range, n *float64) { r.GTE = n }
	lt := func(r *pipeline.Range, n *float64) { r.LT = n }
	lte := func(r *pipeline.Range, n *float64) { r.LTE = n }
	five, six := 5.0, 6.0
	all := []pipeline.Condition{
		text("lang", "en"), text("lang", "de", "zh"), text("lang", "繁體 中文"), text("lang", `a"b`), text("lang", "none"), text("lang", ""),
		number("n", 3), number("n", 0), boolean("ok", true), boolean("ok", false), text("ok", "true"), text("n", "3"), number("lang", 1),
		text("tags", "en"), text("tags", "t"), number("deep.er.x", 2), number("deep.list", 9), number("deep.list", -9), text("deep", "er"),
		text("sometimes", "here"), text("absent", "x"), text("null", "x"), text("doc_id", "d1"), text("doc_id", "d1", "d3"), text("chunk_id", "c7"),
		ranged("score", gt, 5), ranged("score", gte, 5), ranged("score", lt, 5), ranged("score", lte, 5), ranged("n", gt, 100), ranged("lang", gt, 0),
		{Field: "score", Range: &pipeline.Range{GTE: &five, LT: &six}},
		ranged("deep.list", lt, -20), ranged("absent", lt, 1),
	}
	for _, c := range all {
		f(&pipeline.Filter{Must: []pipeline.Condition{c}})
		f(&pipeline.Filter{MustNot: []pipeline.Condition{c}})
		f(&pipeline.Filter{Should: []pipeline.Condition{c}})
	}
	f(&pipeline.Filter{Must: []pipeline.Condition{{Nested: &pipeline.Filter{MustNot: []pipeline.Condition{text("lang", "en")}}}}})
	for range 60 {
		f(anyFilter(r, all, 2))
	}
}

// anyFilter combines some conditions.
func anyFilter(r *mathrand.Rand, all []pipeline.Condition, depth int) *pipeline.Filter {
	f := &pipeline.Filter{}
	for f.Must == nil && f.Should == nil && f.MustNot == nil {
		for _, list := range []*[]pipeline.Condition{&f.Must, &f.Should, &f.MustNot} {
			for range r.IntN(3) {
				if depth > 0 && r.IntN(4) == 0 {
					*list = append(*list, pipeline.Condition{Nested: anyFilter(r, all, depth-1)})
				} else {
					*list = append(*list, all[r.IntN(len(all))])
				}
			}
		}
	}
	return f
}

// admits is what a filter means, written down as plainly as possible.
func admits(f *pipeline.Filter, p *pipeline.Passage) bool {
	holds := func(c pipeline.Condition) bool { return meets(c, p) }
	return !slices.ContainsFunc(f.MustNot, holds) &&
		!slices.ContainsFunc(f.Must, func(c pipeline.Condition) bool { return !meets(c, p) }) &&
		(len(f.Should) == 0 || slices.ContainsFunc(f.Should, holds))
}

func meets(c pipeline.Condition, p *pipeline.Passage) bool {
	if c.Nested != nil {
		return admits(c.Nested, p)
	}
	for _, v := range valuesOf(c.Field, p) {
		for _, want := range c.Any {
			if v == map[pipeline.ValueKind]any{pipeline.TextValue: want.Text, pipeline.NumberValue: want.Number, pipeline.BoolValue: want.Bool}[want.Kind] {
				return true
			}
		}
		n, ok := v.(float64)
		if r := c.Range; ok && r != nil && (r.GT == nil || n > *r.GT) && (r.GTE == nil || n >= *r.GTE) &&
			(r.LT == nil || n < *r.LT) && (r.LTE == nil || n <= *r.LTE) {
			return true
		}
	}
	return false
}

// valuesOf returns the values of a field: the elements, if it is an array.
func valuesOf(field string, p *pipeline.Passage) []any {
	switch field {
	case "doc_id":
		return []any{p.DocID}
	case "chunk_id":
		return []any{p.ChunkID}
	}
	var v any
	_ = json.Unmarshal(p.Metadata, &v)
	for key := range strings.SplitSeq(field, ".") {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

// tenants does the same and different things as three tenants, at random, and
// compares what each sees with what it did itself.
func tenants(t *testing.T, store pipeline.VectorStore) {
	r := random(t)
	first := newShelf(store)
	shelves := []shelf{first, first, first}
	// Names that one could mistake for one another.
	shelves[1].tenant, shelves[2].tenant = first.tenant+"|"+first.collection, strings.ToUpper(first.tenant)
	mine := make([]map[string]pipeline.Point, 3)
	for i := range mine {
		mine[i] = map[string]pipeline.Point{}
	}
	for i, s := range shelves { // the collection is there for each
		p := s.point("d0", 0, "common words", anyVector(r, 4), `{"who":0}`)
		s.put(t, p)
		mine[i][p.ID] = p
	}
	for range 120 {
		i := r.IntN(3)
		s, doc := shelves[i], fmt.Sprintf("d%d", r.IntN(4))
		switch r.IntN(10) {
		case 0:
			n := must[int](t)(store.Delete(within(t), s.tenant, s.collection, doc))
			for id, p := range mine[i] {
				if p.DocID == doc {
					delete(mine[i], id)
					n--
				}
			}
			if n != 0 {
				t.Errorf("delete as tenant %d: off by %d", i, n)
			}
		case 1, 2, 3, 4:
			p := s.point(doc, r.IntN(6), "common words", anyVector(r, 4), fmt.Sprintf(`{"who":%d}`, r.IntN(2)))
			s.put(t, p)
			mine[i][p.ID] = p
		default:
			isolated(t, shelves[i], mine[i], mine, anyVector(r, 4))
		}
		if t.Failed() {
			return
		}
	}
}

// isolated compares what a tenant sees with what it has.
func isolated(t *testing.T, s shelf, mine map[string]pipeline.Point, others []map[string]pipeline.Point, q []float32) {
	t.Helper()
	var all, some []pipeline.Point
	var everybody []string
	for _, p := range mine {
		all = append(all, p)
		if strings.Contains(string(p.Metadata), "1") {
			some = append(some, p)
		}
	}
	for _, points := range others {
		for id := range points {
			everybody = append(everybody, id)
		}
	}
	legs := s.search(t, pipeline.SearchQuery{Vector: q, Text: "common"})
	equal(t, "dense", sorted(ids(legs.Dense)), idsOf(all...))
	equal(t, "sparse", sorted(ids(legs.Sparse)), idsOf(all...))
	// A filter narrows what the tenant sees, whatever its form.
	one := pipeline.Condition{Field: "who", Any: []pipeline.Value{{Kind: pipeline.NumberValue, Number: 1}}}
	legs = s.search(t, pipeline.SearchQuery{Vector: q, Text: "common", Filter: &pipeline.Filter{Should: []pipeline.Condition{one}}})
	equal(t, "dense by a filter", sorted(ids(legs.Dense)), idsOf(some...))
	equal(t, "sparse by a filter", sorted(ids(legs.Sparse)), idsOf(some...))
	got := must[[]pipeline.Passage](t)(s.store.Fetch(within(t), s.tenant, s.collection, everybody))
	equal(t, "fetched", sorted(ids(got)), idsOf(all...))
	if n := s.count(t); n != len(all) {
		t.Errorf("the collection has %d points; want %d", n, len(all))
	}
}
