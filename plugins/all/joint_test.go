package all

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

func score(v float32) pipeline.Score { return pipeline.Score{Value: v, Set: true} }

// What a search and a graph found for the same question, joined.
func TestJoint(t *testing.T) {
	had := pipeline.Passage{ID: "0", Text: "had"}
	documents := func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		time.Sleep(time.Millisecond) // second to arrive, first in the file
		ex.Passages[0].Scores.Rerank = score(9)
		ex.Passages = append(ex.Passages,
			pipeline.Passage{ID: "1", Text: "one", Scores: pipeline.Scores{Dense: score(0.9)}},
			pipeline.Passage{ID: "2", Text: "two"})
		ex.Retrieval = &pipeline.Retrieval{
			Query: "q", Collection: "c", Degraded: []string{"embed:slow"},
			Seeds:  []pipeline.Seed{{ID: "alice", Weight: 1}},
			Stages: []pipeline.StageTime{{Stage: "vector", Took: 1}},
		}
		return nil
	}
	graph := func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		ex.Passages = append(ex.Passages,
			pipeline.Passage{ID: "3", Text: "three", Via: []string{"alice"}},
			pipeline.Passage{ID: "1", Text: "one", Via: []string{"alice"}, Scores: pipeline.Scores{Dense: score(0.1), Graph: score(0.4)}})
		ex.Retrieval = &pipeline.Retrieval{
			Query: "another", Seeds: []pipeline.Seed{{ID: "alice", Weight: 2}, {ID: "bob", Weight: 1}},
			Graph: pipeline.Subgraph{
				Entities:  []pipeline.Entity{{ID: "alice"}, {ID: "bob"}},
				Relations: []pipeline.Relation{{Src: "alice", Type: "KNOWS", Dst: "bob"}},
			},
			Stages: []pipeline.StageTime{{Stage: "graph", Took: 2}},
		}
		return nil
	}
	fails := func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return errors.New("sorry") }
	h, err := Config{Timeout: time.Minute, Branches: []pipeline.Chain{
		{pipeline.HandlerFunc(documents)}, {pipeline.HandlerFunc(graph)}, {pipeline.HandlerFunc(fails)},
	}}.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ex := pipeline.Acquire(t.Context())
	defer ex.Release()
	ex.Passages = append(ex.Passages, had)
	if err := h.Handle(ex.Context(), ex, nil); err != nil {
		t.Fatal(err)
	}
	want := []pipeline.Passage{
		had, // as it was
		{ID: "1", Text: "one", Via: []string{"alice"}, Scores: pipeline.Scores{Dense: score(0.9), Graph: score(0.4)}},
		{ID: "2", Text: "two"},
		{ID: "3", Text: "three", Via: []string{"alice"}},
	}
	if diff := cmp.Diff(want, ex.Passages); diff != "" {
		t.Errorf("passages (-want +got):\n%s", diff)
	}
	account := &pipeline.Retrieval{
		Query: "q", Collection: "c", Degraded: []string{"embed:slow", "all:error"},
		Seeds: []pipeline.Seed{{ID: "alice", Weight: 1}, {ID: "bob", Weight: 1}},
		Graph: pipeline.Subgraph{
			Entities:  []pipeline.Entity{{ID: "alice"}, {ID: "bob"}},
			Relations: []pipeline.Relation{{Src: "alice", Type: "KNOWS", Dst: "bob"}},
		},
		Stages: []pipeline.StageTime{{Stage: "vector", Took: 1}, {Stage: "graph", Took: 2}},
	}
	if diff := cmp.Diff(account, ex.Retrieval); diff != "" {
		t.Errorf("retrieval (-want +got):\n%s", diff)
	}
}

// What was there before counts once, and branches never write into what
// another one reads.
func TestJointKeepsWhatWasThere(t *testing.T) {
	adds := func(name string) pipeline.Chain {
		return pipeline.Chain{pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
			r := ex.Retrieval
			r.Degraded = append(r.Degraded, name)
			r.Stages = append(r.Stages, pipeline.StageTime{Stage: name})
			r.Seeds = append(r.Seeds, pipeline.Seed{ID: name})
			return nil
		})}
	}
	h, err := Config{Timeout: time.Minute, Branches: []pipeline.Chain{adds("a"), adds("b"), adds("c")}}.
		Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ex := pipeline.Acquire(t.Context())
	defer ex.Release()
	ex.Retrieval = &pipeline.Retrieval{
		Query:    "q",
		Degraded: append(make([]string, 0, 8), "before"), // with room to spare, which branches share
		Stages:   append(make([]pipeline.StageTime, 0, 8), pipeline.StageTime{Stage: "before"}),
		Seeds:    append(make([]pipeline.Seed, 0, 8), pipeline.Seed{ID: "before"}),
	}
	if err := h.Handle(ex.Context(), ex, nil); err != nil {
		t.Fatal(err)
	}
	want := &pipeline.Retrieval{
		Query:    "q",
		Degraded: []string{"before", "a", "b", "c"},
		Stages:   []pipeline.StageTime{{Stage: "before"}, {Stage: "a"}, {Stage: "b"}, {Stage: "c"}},
		Seeds:    []pipeline.Seed{{ID: "before"}, {ID: "a"}, {ID: "b"}, {ID: "c"}},
	}
	if diff := cmp.Diff(want, ex.Retrieval); diff != "" {
		t.Errorf("retrieval (-want +got):\n%s", diff)
	}
}

// What is made without branches says so, also where none has begun an account, and what
// asks for passages and nothing else is refused where there can be none.
func TestNoneAnswers(t *testing.T) {
	fails := pipeline.Chain{pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error {
		return &pipeline.Error{Status: 503, RetryAfter: 17 * time.Second}
	})}
	hangs := pipeline.Chain{pipeline.HandlerFunc(func(ctx context.Context, _ *pipeline.Exchange, _ pipeline.Chain) error {
		<-ctx.Done()
		return pipeline.Cause(ctx)
	})}
	fine := pipeline.Chain{pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return nil })}
	f := func(branches []pipeline.Chain, asked *pipeline.Retrieval, want []string, again time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			h, err := Config{Timeout: time.Minute, Branches: branches}.
				Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
			if err != nil {
				t.Fatal(err)
			}
			ex := pipeline.Acquire(t.Context())
			defer ex.Release()
			ex.Retrieval = asked
			err = h.Handle(ex.Context(), ex, nil)
			e, _ := errors.AsType[*pipeline.Error](err)
			if again == 0 != (err == nil) || e != nil && (e.Code != "retrieval_unavailable" || e.RetryAfter != again) {
				t.Errorf("got %v", err)
			}
			if ex.Retrieval == nil || !slices.Equal(ex.Retrieval.Degraded, want) {
				t.Errorf("got %+v, want %v", ex.Retrieval, want)
			}
		})
	}
	required := func() *pipeline.Retrieval {
		return &pipeline.Retrieval{Options: &pipeline.RetrievalOptions{Switch: pipeline.RetrievalRequired}}
	}
	f([]pipeline.Chain{fails, hangs}, nil, []string{"all:error", "all:timeout"}, 0)
	f([]pipeline.Chain{fine, hangs}, nil, []string{"all:timeout"}, 0)
	f([]pipeline.Chain{fine, fails}, required(), []string{"all:error"}, 0)
	f([]pipeline.Chain{hangs, fails}, required(), []string{"all:timeout", "all:error"}, 17*time.Second)
	f([]pipeline.Chain{hangs}, required(), []string{"all:timeout"}, 2*time.Second)
}
