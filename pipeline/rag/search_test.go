package rag_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/rag"
	"github.com/headrace/headrace/pipeline/rag/ragtest"
)

const ms = time.Millisecond

func passages(ids string) []pipeline.Passage {
	var out []pipeline.Passage
	for id := range strings.FieldsSeq(ids) {
		out = append(out, pipeline.Passage{ID: id})
	}
	return out
}

func ids(list []pipeline.Passage) string {
	var out []string
	for _, p := range list {
		out = append(out, p.ID)
	}
	return strings.Join(out, " ")
}

func TestFuse(t *testing.T) {
	f := func(fusion rag.Fusion, dense, sparse, want string) {
		t.Helper()
		for range 5 {
			if got := ids(fusion.Fuse(passages(dense), passages(sparse), 0)); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	}
	even := rag.Fusion{K: 60, Dense: 1, Sparse: 1}
	f(even, "", "", "")
	f(even, "c b a", "", "c b a")
	f(even, "", "c b a", "c b a")
	f(even, "b a", "c a", "a b c") // both, then ties by id
	f(even, "b b a", "", "b a")
	f(even, "a", "b b", "a b")
	f(rag.Fusion{K: 60, Dense: 1, Sparse: 3}, "a b", "c d", "c d a b")
	f(rag.Fusion{K: 1, Dense: 1, Sparse: 1}, "a b c", "d c b", "b c a d")

	if got := ids(even.Fuse(passages("c b a"), passages("a d"), 2)); got != "a c" {
		t.Errorf("the first two are %s", got)
	}
	out := even.Fuse(
		[]pipeline.Passage{{ID: "a", Scores: pipeline.Scores{Dense: pipeline.Score{Value: 0.5, Set: true}}}},
		[]pipeline.Passage{{ID: "a", Scores: pipeline.Scores{Sparse: pipeline.Score{Value: 7, Set: true}}}}, 0)
	want := pipeline.Scores{Dense: pipeline.Score{Value: 0.5, Set: true}, Sparse: pipeline.Score{Value: 7, Set: true}, Fused: pipeline.Score{Value: 2.0 / 61, Set: true}}
	if d := cmp.Diff(want, out[0].Scores); d != "" {
		t.Error(d)
	}
}

func TestMerge(t *testing.T) {
	f := func(hits, graph string, after int, want string) {
		t.Helper()
		if got := ids(rag.Merge(passages(hits), passages(graph), after)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f("a b c d", "x y", 2, "a b x y c d")
	f("a b c d", "x d", 2, "a b x d c")
	f("a b c d", "b x", 2, "a b x c d")
	f("a b c d", "x", 9, "a b c d x")
	f("", "x", 5, "x")
	f("a b", "", 1, "a b")
}

func store() *ragtest.Store {
	s := &ragtest.Store{Delay: map[string]time.Duration{}, Fail: map[string]error{}, Deaf: map[string]bool{}}
	for i, text := range []string{"red apples", "green apples", "blue whales", "grey whales"} {
		v := make([]float32, 4)
		v[i] = 1
		s.Points = append(s.Points, ragtest.Point{Tenant: "t", Collection: "c", Vector: v, Passage: pipeline.Passage{ID: fmt.Sprint("p", i), Text: text}})
	}
	s.Points = append(s.Points, ragtest.Point{Tenant: "other", Collection: "c", Passage: pipeline.Passage{ID: "foreign", Text: "red apples"}})
	return s
}

func embedder() ragtest.Embedder {
	return ragtest.Embedder{Vector: func(string) []float32 { return []float32{0.1, 0, 0.9, 0} }}
}

// Time is simulated: what a search takes is exact.
func TestSearch(t *testing.T) {
	type want struct {
		ids, degraded string
		took          time.Duration
		failed        bool
	}
	f := func(name string, change func(*ragtest.Store, *ragtest.Embedder, *rag.SearchQuery), w want) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			st, e := store(), embedder()
			q := rag.SearchQuery{Tenant: "t", Collection: "c", Text: "red apples", Prefetch: 2, Keep: 3}
			change(st, &e, &q)
			s := &rag.Searcher{Store: st, Embedder: e, Fusion: rag.Fusion{K: 60, Dense: 1, Sparse: 1}}
			ctx, stop := context.WithTimeout(t.Context(), 100*ms)
			defer stop()
			began := time.Now()
			got, err := s.Search(ctx, q)
			if took := time.Since(began); took != w.took {
				t.Errorf("%s: took %v, want %v", name, took, w.took)
			}
			if ids(got.Passages) != w.ids || strings.Join(got.Degraded, " ") != w.degraded || (err != nil) != w.failed {
				t.Errorf("%s: got %q, %v, %v; want %+v", name, ids(got.Passages), got.Degraded, err, w)
			}
			_ = s.Close()
		})
	}
	nothing := func(*ragtest.Store, *ragtest.Embedder, *rag.SearchQuery) {}
	f("both", nothing, want{ids: "p0 p2 p1"})
	f("legs overlap", func(s *ragtest.Store, e *ragtest.Embedder, _ *rag.SearchQuery) {
		e.Delay, s.Delay["dense"], s.Delay["sparse"] = 20*ms, 20*ms, 25*ms
	}, want{ids: "p0 p2 p1", took: 45 * ms})
	f("sparse mode", func(_ *ragtest.Store, e *ragtest.Embedder, q *rag.SearchQuery) {
		q.Mode, e.Err = rag.Sparse, errors.New("x")
	}, want{ids: "p0 p1"})
	f("dense mode", func(s *ragtest.Store, _ *ragtest.Embedder, q *rag.SearchQuery) { q.Mode = rag.Dense }, want{ids: "p2 p0 p1"})
	f("dense mode, one wanted", func(s *ragtest.Store, _ *ragtest.Embedder, q *rag.SearchQuery) { q.Mode, q.Keep = rag.Dense, 1 }, want{ids: "p2"})
	f("dense mode, any number", func(s *ragtest.Store, _ *ragtest.Embedder, q *rag.SearchQuery) { q.Mode, q.Keep = rag.Dense, 0 }, want{ids: "p2 p0"})
	f("threshold", func(s *ragtest.Store, _ *ragtest.Embedder, q *rag.SearchQuery) { q.Mode, q.Threshold = rag.Dense, 0.5 }, want{ids: "p2"})
	f("embedder fails", func(_ *ragtest.Store, e *ragtest.Embedder, _ *rag.SearchQuery) { e.Err = errors.New("down") }, want{ids: "p0 p1", degraded: "dense:error"})
	f("embedder is slow", func(_ *ragtest.Store, e *ragtest.Embedder, _ *rag.SearchQuery) { e.Delay = time.Second },
		want{ids: "p0 p1", degraded: "dense:timeout", took: 100 * ms})
	f("store hears nothing", func(s *ragtest.Store, _ *ragtest.Embedder, _ *rag.SearchQuery) {
		s.Delay["sparse"], s.Deaf["sparse"] = time.Second, true
	}, want{ids: "p2 p0", degraded: "sparse:timeout", took: 110 * ms})
	f("a part in time", func(s *ragtest.Store, _ *ragtest.Embedder, _ *rag.SearchQuery) {
		s.Delay["sparse"], s.Part = time.Second, map[string]bool{"sparse": true}
	}, want{ids: "p0 p2 p1", degraded: "sparse:timeout", took: 100 * ms})
	f("parts in time", func(s *ragtest.Store, _ *ragtest.Embedder, _ *rag.SearchQuery) {
		s.Delay["sparse"], s.Delay["dense"], s.Part = time.Second, time.Second, map[string]bool{"sparse": true, "dense": true}
	}, want{ids: "p0 p2 p1", degraded: "dense:timeout sparse:timeout", took: 100 * ms})
	f("all fail", func(s *ragtest.Store, e *ragtest.Embedder, _ *rag.SearchQuery) {
		e.Err, s.Fail["sparse"] = errors.New("down"), errors.New("down")
	}, want{failed: true})
	f("no collection", func(_ *ragtest.Store, _ *ragtest.Embedder, q *rag.SearchQuery) { q.Collection = "none" }, want{})
	f("panic", func(_ *ragtest.Store, e *ragtest.Embedder, _ *rag.SearchQuery) {
		e.Vector = func(string) []float32 { panic("x") }
	}, want{ids: "p0 p1", degraded: "dense:error"})
}

// One call to the store is enough, and sees it at one moment, unless it fails or takes
// half of the time that there is: then a leg that is well is not lost with the other.
func TestSearchTogether(t *testing.T) {
	f := func(name string, change func(*ragtest.Store, *ragtest.Embedder), calls, want string, took time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			st, e := store(), embedder()
			change(st, &e)
			s := &rag.Searcher{Store: st, Embedder: e, Fusion: rag.Fusion{K: 60, Dense: 1, Sparse: 1}}
			ctx, stop := context.WithTimeout(t.Context(), 100*ms)
			defer stop()
			began := time.Now()
			found, err := s.Search(ctx, rag.SearchQuery{Tenant: "t", Collection: "c", Text: "red apples", Prefetch: 2, Keep: 3})
			if got := time.Since(began); got != took {
				t.Errorf("%s: took %v, want %v", name, got, took)
			}
			if got := fmt.Sprintf("%s %v %v", ids(found.Passages), found.Degraded, err); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
			made := st.Calls()
			slices.Sort(made)
			if got := strings.Join(made, " "); got != calls {
				t.Errorf("%s: called %s, want %s", name, got, calls)
			}
			_ = s.Close()
		})
	}
	f("both", func(*ragtest.Store, *ragtest.Embedder) {}, "dense+sparse", "p0 p2 p1 [] <nil>", 0)
	f("in half of the time", func(s *ragtest.Store, e *ragtest.Embedder) { e.Delay, s.Delay["sparse"] = 20*ms, 29*ms },
		"dense+sparse", "p0 p2 p1 [] <nil>", 49*ms)
	f("one leg is late", func(s *ragtest.Store, _ *ragtest.Embedder) { s.Delay["sparse"] = time.Second },
		"dense dense+sparse sparse", "p2 p0 [sparse:timeout] <nil>", 100*ms)
	f("the store is late for all", func(s *ragtest.Store, _ *ragtest.Embedder) { s.Delay["dense"], s.Delay["sparse"] = 70*ms, 70*ms },
		"dense dense+sparse sparse", "p0 p2 p1 [] <nil>", 70*ms)
	f("it fails late", func(s *ragtest.Store, _ *ragtest.Embedder) {
		s.Delay["dense"], s.Delay["sparse"], s.Fail["dense"] = 70*ms, 20*ms, errors.New("down")
	}, "dense dense+sparse sparse", "p0 p1 [dense:timeout] <nil>", 100*ms)
	f("one leg is broken", func(s *ragtest.Store, _ *ragtest.Embedder) { s.Fail["dense"] = errors.New("down") },
		"dense dense+sparse sparse", "p0 p1 [dense:error] <nil>", 0)
	f("the vector comes late", func(_ *ragtest.Store, e *ragtest.Embedder) { e.Delay = 70 * ms },
		"dense sparse", "p0 p2 p1 [] <nil>", 70*ms)
	f("no vector comes", func(_ *ragtest.Store, e *ragtest.Embedder) { e.Err = errors.New("down") },
		"sparse", "p0 p1 [dense:error] <nil>", 0)
	f("the embedder has too much to do", func(_ *ragtest.Store, e *ragtest.Embedder) {
		e.Err = &pipeline.Error{Status: 429, Code: "upstream_error", Fault: pipeline.OverloadFault, Err: errors.New("full")}
	}, "sparse", "p0 p1 [dense:error] <nil>", 0)
	f("too much to do", func(s *ragtest.Store, _ *ragtest.Embedder) {
		s.Fail["dense"] = &pipeline.Error{Status: 503, Code: "overloaded", Fault: pipeline.OverloadFault, Err: errors.New("full")}
	}, "dense+sparse", " [] overloaded: full", 0)
}

// alone is a store that fails all but calls of both legs.
type alone struct{ *ragtest.Store }

func (s alone) Search(ctx context.Context, q pipeline.SearchQuery) (pipeline.Legs, error) {
	if q.Vector == nil || q.Text == "" {
		return pipeline.Legs{}, errors.New("full")
	}
	return s.Store.Search(ctx, q)
}

// A call that is late is waited for where nothing else has come of it.
func TestSearchLate(t *testing.T) {
	f := func(took, delay time.Duration, want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			st := store()
			st.Delay["dense"] = delay
			s := &rag.Searcher{Store: alone{st}, Embedder: embedder(), Fusion: rag.Fusion{K: 60, Dense: 1, Sparse: 1}}
			ctx, stop := context.WithTimeout(t.Context(), 100*ms)
			defer stop()
			began := time.Now()
			found, err := s.Search(ctx, rag.SearchQuery{Tenant: "t", Collection: "c", Text: "red apples", Prefetch: 2, Keep: 3})
			if got := fmt.Sprintf("%s %v %v", ids(found.Passages), found.Degraded, err != nil); got != want || time.Since(began) != took {
				t.Errorf("%v: got %s after %v, want %s after %v", delay, got, time.Since(began), want, took)
			}
			_ = s.Close()
		})
	}
	f(70*ms, 70*ms, "p0 p2 p1 [] false")
	f(100*ms, time.Second, " [] true")
}

func TestRank(t *testing.T) {
	by := ragtest.Reranker{Score: func(_, text string) float32 { return float32(len(text)) }}
	list := []pipeline.Passage{{ID: "a", Text: "x"}, {ID: "b", Text: "xxx"}, {ID: "c", Text: "x"}, {ID: "d", Text: "xx"}, {ID: "e", Text: "xxxxx"}}
	f := func(candidates, keep int, want string) {
		t.Helper()
		got, err := rag.Rank(t.Context(), by, "q", list, candidates, keep)
		if err != nil || ids(got) != want {
			t.Errorf("got %s, %v; want %s", ids(got), err, want)
		}
		if ids(list) != "a b c d e" || list[1].Scores.Rerank.Set {
			t.Error("the passages given have changed")
		}
	}
	f(10, 10, "e b d a c")
	f(4, 10, "b d a c")
	f(4, 2, "b d")
	if _, err := rag.Rank(t.Context(), broken{}, "q", list, 10, 10); err == nil {
		t.Error("scores are missing, and there is no error")
	}
}

type broken struct{}

func (broken) Rerank(context.Context, string, []string) ([]float32, error) { return []float32{1}, nil }

func TestTokens(t *testing.T) {
	f := func(text string, want int) {
		t.Helper()
		if got := rag.Tokens(text); got != want {
			t.Errorf("%.20q: got %d, want %d", text, got, want)
		}
		for _, limit := range []int{0, 1, 2, 5, 50} {
			if part := rag.Fit(text, limit); rag.Tokens(part) > limit || !strings.HasPrefix(text, part) || strings.ToValidUTF8(part, "") != part {
				t.Errorf("Fit(%.20q, %d) = %q", text, limit, part)
			}
		}
	}
	f("", 0)
	f("a", 2)
	f(strings.Repeat("a", 350), 110)
	f(strings.Repeat("水", 100), 110)
	f("Ünïcödé", 3)
	if got := rag.Fit(strings.Repeat("水", 100), 55); got != strings.Repeat("水", 50) {
		t.Errorf("Fit gave %d characters", len(got)/3)
	}
}

func TestContexts(t *testing.T) {
	c := rag.NewContexts(1<<20, time.Hour)
	id := rag.NewContextID()
	if !c.Put("t", id, []byte("x")) || id == rag.NewContextID() {
		t.Fatal("not kept, or the same id twice")
	}
	f := func(tenant, id string, want bool) {
		t.Helper()
		if _, ok := c.Get(tenant, id); ok != want {
			t.Errorf("Get(%q, %q) = %v", tenant, id, ok)
		}
	}
	f("t", id, true)
	f("u", id, false)
	f("", "t"+id, false)
	f("t", id[4:], false)
	f("t", "ctx_"+strings.Repeat("a", 100), false)
	if c.Put("t", rag.NewContextID(), make([]byte, 1<<20)) {
		t.Error("kept more than fits")
	}
}

// keeper is an embedder that keeps vectors.
type keeper struct {
	ragtest.Embedder
	forgot []string
}

func (k *keeper) Forget(texts []string, purpose pipeline.Purpose) {
	k.forgot = append(k.forgot, fmt.Sprint(texts, purpose))
}

// The vector of a question that the store refuses for what it is is made anew the next
// time; one whose search failed is as good as before.
func TestRefusedVectors(t *testing.T) {
	f := func(err error, want ...string) {
		t.Helper()
		k := &keeper{Embedder: ragtest.Embedder{Vector: func(string) []float32 { return []float32{1} }}}
		s := &rag.Searcher{Store: &ragtest.Store{Fail: map[string]error{"dense": err}}, Embedder: k}
		_, _ = s.Search(t.Context(), rag.SearchQuery{Text: "q", Mode: rag.Dense, Prefetch: 1, Keep: 1})
		_ = s.Legs.Close()
		if !slices.Equal(k.forgot, want) {
			t.Errorf("%v: forgot %q, want %q", err, k.forgot, want)
		}
	}
	asked := fmt.Sprint([]string{"q"}, pipeline.ForAsking)
	f(nil)
	f(pipeline.Fail(409, "dimension_mismatch", errors.New("x")), asked)
	f(pipeline.Fail(400, "bad_vector", errors.New("x")), asked)
	f(pipeline.Fail(409, "model_mismatch", errors.New("x")))
	f(errors.New("down"))
}

// A score that is no number would make the order depend on where it stands.
func TestRankNeedsNumbers(t *testing.T) {
	f := func(score float64, want string) {
		t.Helper()
		by := ragtest.Reranker{Score: func(_, text string) float32 {
			if text == "b" {
				return float32(score)
			}
			return 1
		}}
		list := []pipeline.Passage{{ID: "a", Text: "a"}, {ID: "b", Text: "b"}}
		got, err := rag.Rank(t.Context(), by, "q", list, 2, 2)
		if ids(got) != want || (err == nil) != (want != "") {
			t.Errorf("a score of %v: %s, %v", score, ids(got), err)
		}
	}
	f(2, "b a")
	f(1, "a b")
	f(math.NaN(), "")
	f(math.Inf(1), "")
	f(math.Inf(-1), "")
}
