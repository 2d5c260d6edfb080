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
	f("Chunks", func(ctx context.Context) error {
		_, err := store.Chunks(ctx, s.tenant, s.collection, "d")
		return err
	})
	f("Remove", func(ctx context.Context) error {
		_, err := store.Remove(ctx, s.tenant, s.collection, []string{s.point("d", 0, "", nil, "").ID})
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
