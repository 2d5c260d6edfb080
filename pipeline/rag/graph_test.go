package rag_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/rag"
	"github.com/headrace/headrace/pipeline/rag/ragtest"
)

func TestWalk(t *testing.T) {
	type want struct {
		ids, facts string
		took       time.Duration
		parts      int // that failed
		failed     bool
	}
	f := func(name string, change func(*ragtest.Store, *rag.WalkQuery), w want) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			st := store()
			// p0 and p2 mention Ann, p1 and p3 mention Ben; a chunk of another
			// collection mentions Ann, too.
			st.Mentions = map[string][]string{"p0": {"ann"}, "p2": {"ann"}, "p1": {"ben"}, "p3": {"ben"}, "elsewhere": {"ann"}, "foreign": {"ann"}}
			st.Relations = []pipeline.Relation{{Src: "ann", Dst: "ben", Type: "KNOWS"}, {Src: "eve", Dst: "dan", Type: "KNOWS"}}
			st.Points[2].Metadata = []byte(`{"lang":"en"}`)
			q := rag.WalkQuery{
				Tenant: "t", Collection: "c", Text: "who is eve", Hits: passages("p0 p1"), Anchors: 5, After: 5, Add: 5,
				Hops: 1, HubCap: 10, MaxSeeds: 5, Fanout: 5, MaxNodes: 10, MaxEdges: 10,
			}
			change(st, &q)
			walker := &rag.Walker{Graph: st, Passages: st}
			ctx, stop := context.WithTimeout(t.Context(), 100*ms)
			defer stop()
			began := time.Now()
			got, err := walker.Walk(ctx, q)
			took := time.Since(began)
			var facts []string
			for _, r := range got.Facts.Relations {
				facts = append(facts, r.Src+">"+r.Dst)
			}
			if ids(got.Passages) != w.ids || strings.Join(facts, " ") != w.facts || len(got.Failed) != w.parts || (err != nil) != w.failed || took != w.took {
				t.Errorf("%s: got %q, %q, %v, %v after %v; want %+v", name, ids(got.Passages), facts, got.Failed, err, took, w)
			}
			_ = walker.Close()
		})
	}
	f("both", func(*ragtest.Store, *rag.WalkQuery) {}, want{ids: "p2 p3", facts: "ann>ben eve>dan"})
	f("hits", func(_ *ragtest.Store, q *rag.WalkQuery) { q.From = rag.FromHits }, want{ids: "p2 p3", facts: "ann>ben"})
	f("query", func(_ *ragtest.Store, q *rag.WalkQuery) { q.From = rag.FromQuery }, want{facts: "eve>dan"})
	f("no facts", func(_ *ragtest.Store, q *rag.WalkQuery) { q.Hops = 0 }, want{ids: "p2 p3"})
	f("one", func(_ *ragtest.Store, q *rag.WalkQuery) { q.Add = 1; q.Hops = 0 }, want{ids: "p2"})
	f("filter", func(_ *ragtest.Store, q *rag.WalkQuery) {
		q.Filter = &pipeline.Filter{Must: []pipeline.Condition{{Field: "lang", Any: []pipeline.Value{{Text: "en"}}}}}
		q.Hops = 0
	}, want{ids: "p2"})
	f("raises what came late", func(_ *ragtest.Store, q *rag.WalkQuery) {
		q.Hits, q.After, q.Anchors, q.Hops = passages("p0 p1 p3 p2"), 2, 2, 0
	}, want{ids: "p2 p3"})
	f("pool adds what is new only", func(_ *ragtest.Store, q *rag.WalkQuery) {
		q.Hits, q.After, q.Anchors, q.Hops = passages("p0 p1 p3"), 3, 2, 0
	}, want{ids: "p2"})
	f("the steps overlap", func(s *ragtest.Store, _ *rag.WalkQuery) {
		s.Delay = map[string]time.Duration{"link": 10 * ms, "related": 20 * ms, "fetch": 30 * ms, "expand": 25 * ms}
	}, want{ids: "p2 p3", facts: "ann>ben eve>dan", took: 50 * ms})
	f("late facts", func(s *ragtest.Store, _ *rag.WalkQuery) { s.Delay["expand"] = time.Second }, want{ids: "p2 p3", parts: 1, took: 100 * ms})
	f("deaf graph", func(s *ragtest.Store, _ *rag.WalkQuery) {
		s.Delay["related"], s.Deaf["related"] = time.Second, true
	}, want{facts: "eve>dan", parts: 2, took: 110 * ms}) // facts are asked for when the time is up
	for _, late := range []string{"related", "link", "fetch", "expand"} {
		parts := map[string]int{"related": 3, "link": 3, "fetch": 1, "expand": 1}[late] // with what is asked behind it
		f("part of "+late, func(s *ragtest.Store, _ *rag.WalkQuery) {
			s.Delay[late], s.Part = time.Second, map[string]bool{late: true}
		}, want{ids: "p2 p3", facts: "ann>ben eve>dan", parts: parts, took: 100 * ms})
	}
	f("link fails", func(s *ragtest.Store, _ *rag.WalkQuery) { s.Fail["link"] = errors.New("x") }, want{ids: "p2 p3", facts: "ann>ben", parts: 1})
	f("fetch fails", func(s *ragtest.Store, _ *rag.WalkQuery) { s.Fail["fetch"] = errors.New("x") }, want{facts: "ann>ben eve>dan", parts: 1})
	f("all fail", func(s *ragtest.Store, _ *rag.WalkQuery) {
		s.Fail["link"], s.Fail["related"] = errors.New("x"), errors.New("y")
	},
		want{parts: 2, failed: true})
	f("nothing to go from", func(_ *ragtest.Store, q *rag.WalkQuery) { q.Hits, q.From = nil, rag.FromHits }, want{})
}

// A fixed graph says what it is told to, and notes from where it is expanded.
type fixed struct {
	*ragtest.Store
	named   []pipeline.Seed
	related []pipeline.Related
	seeds   []pipeline.Seed
}

func (f *fixed) Link(context.Context, pipeline.LinkQuery) ([]pipeline.Seed, error) {
	return f.named, nil
}

func (f *fixed) Related(context.Context, pipeline.RelatedQuery) ([]pipeline.Related, error) {
	return f.related, nil
}

func (f *fixed) Expand(_ context.Context, q pipeline.ExpandQuery) (pipeline.Subgraph, error) {
	f.seeds = q.Seeds
	return pipeline.Subgraph{}, nil
}

// What the question names comes first; what the hits lead to has half the weight of the
// best of that, and less the worse what it led to. Each entity counts once.
func TestSeeds(t *testing.T) {
	near := []pipeline.Related{{ID: "p2", Score: 4, Via: []string{"eve", "ann"}}, {ID: "p3", Score: 1, Via: []string{"ann", "ben"}}, {ID: "p4", Via: []string{"cid"}}}
	f := func(named []pipeline.Seed, most int, want ...pipeline.Seed) {
		t.Helper()
		g := &fixed{Store: store(), named: named, related: near}
		w := &rag.Walker{Graph: g}
		if _, err := w.Walk(t.Context(), rag.WalkQuery{Tenant: "t", Collection: "c", Text: "x", Hits: passages("p0"), Anchors: 5, Hops: 1, MaxSeeds: most}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, g.seeds); d != "" {
			t.Error(d)
		}
		_ = w.Close()
	}
	f([]pipeline.Seed{{ID: "dan", Weight: 1}, {ID: "eve", Weight: 2}}, 9,
		pipeline.Seed{ID: "dan", Weight: 1}, pipeline.Seed{ID: "eve", Weight: 2},
		pipeline.Seed{ID: "ann", Weight: 1}, pipeline.Seed{ID: "ben", Weight: 0.25}, pipeline.Seed{ID: "cid", Weight: 1e-9})
	f([]pipeline.Seed{{ID: "dan", Weight: 1}}, 2, pipeline.Seed{ID: "dan", Weight: 1}, pipeline.Seed{ID: "eve", Weight: 0.5})
	f(nil, 2, pipeline.Seed{ID: "eve", Weight: 0.5}, pipeline.Seed{ID: "ann", Weight: 0.5})
}
