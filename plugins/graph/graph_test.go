package graph_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/rag/ragtest"
	"github.com/headrace/headrace/plugins/graph"
)

// kb holds three chunks and another tenant's; the first and the last of the three
// mention Ann.
func kb() *ragtest.Store {
	s := &ragtest.Store{
		Delay: map[string]time.Duration{}, Fail: map[string]error{}, Deaf: map[string]bool{},
		Mentions:  map[string][]string{"p0": {"ann"}, "p2": {"ann"}, "p1": {"ben"}},
		Relations: []pipeline.Relation{{Src: "ann", Dst: "ben", Type: "KNOWS"}, {Src: "eve", Dst: "dan", Type: "KNOWS"}},
	}
	for i, id := range []string{"p0", "p1", "p2"} {
		s.Points = append(s.Points, ragtest.Point{Tenant: "default", Collection: "chunks", Passage: pipeline.Passage{ID: id, Index: i, Text: "text " + id}})
	}
	return s
}

func registry(st *ragtest.Store) config.Registry {
	return config.Registry{
		graph.Plugin, pipetest.Fixed[*ragtest.Store]("kb", st),
		pipetest.Fixed[pipeline.Handler]("answer", pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
			ex.Response.SetBody([]byte("{}"))
			return nil
		})),
	}
}

type result struct{ passages, facts, degraded string }

func run(t *testing.T, settings, rag string, st *ragtest.Store, change func(*pipeline.Exchange)) (result, error) {
	t.Helper()
	s := pipetest.Load(t, registry(st), `
stores: { kb: { kb: {} } }
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ graph: { store: kb, passages: kb`+settings+` }, answer: {} ] } ]
`)
	ex := pipetest.Exchange(t, `{"rag":`+rag+`,"messages":[{"role":"user","content":"what do you know about Eve?"}]}`)
	defer ex.Release()
	ex.Passages = append(ex.Passages, pipeline.Passage{ID: "p0"}, pipeline.Passage{ID: "p1"})
	if change != nil {
		change(ex)
	}
	err := s.Routes[0].Chain.Handle(ex.Context(), ex)
	var ids, facts []string
	for _, p := range ex.Passages {
		ids = append(ids, p.ID)
		if p.ID == "p2" && (p.Text != "text p2" || !p.Scores.Graph.Set || strings.Join(p.Via, "") != "ann") {
			t.Errorf("found %+v", p)
		}
	}
	for _, r := range ex.Retrieval.Graph.Relations {
		facts = append(facts, r.Src+">"+r.Dst)
	}
	return result{strings.Join(ids, " "), strings.Join(facts, " "), strings.Join(ex.Retrieval.Degraded, " ")}, err
}

func TestGraph(t *testing.T) {
	f := func(settings, rag string, change func(*pipeline.Exchange), want result) {
		t.Helper()
		got, err := run(t, settings, rag, kb(), change)
		if got != want || err != nil {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	f("", "null", nil, result{"p0 p1 p2", "ann>ben eve>dan", ""})
	f(", after: 1", "null", nil, result{"p0 p2 p1", "ann>ben eve>dan", ""})
	f(", after: 1, merge: pool", "null", nil, result{"p0 p1 p2", "ann>ben eve>dan", ""})
	f(", from: hits", "null", nil, result{"p0 p1 p2", "ann>ben", ""})
	f(", from: query", "null", nil, result{"p0 p1", "eve>dan", ""})
	f(", hops: 0", "null", nil, result{"p0 p1 p2", "", ""})
	f(", add: 0", "null", nil, result{"p0 p1", "ann>ben eve>dan", ""})
	f("", `{"max_hops":0}`, nil, result{"p0 p1", "", ""})
	f(", hops: 0", `{"max_hops":1}`, nil, result{"p0 p1 p2", "ann>ben eve>dan", ""})
	f("", `{"filters":{"doc_id":"none"}}`, nil, result{"p0 p1", "ann>ben eve>dan", ""})
	f("", `{"enabled":false}`, nil, result{"p0 p1", "", ""})
	f("", "null", func(ex *pipeline.Exchange) { ex.SetSkip([]byte("graph")) }, result{"p0 p1", "", ""})
	f("", "null", func(ex *pipeline.Exchange) { ex.Tenant = "acme" }, result{"p0 p1", "ann>ben eve>dan", ""}) // texts are the tenant's
	f("", `{"collection":"kb"}`, nil, result{"p0 p1", "ann>ben eve>dan", ""})
}

// A request can narrow what the graph adds, and never widen it.
func TestNarrowed(t *testing.T) {
	f := func(settings string, to pipeline.GraphOptions, facts string) {
		t.Helper()
		got, err := run(t, settings, "null", kb(), func(ex *pipeline.Exchange) {
			ex.Retrieval = &pipeline.Retrieval{Query: "Eve?", Options: &pipeline.RetrievalOptions{Graph: to}}
		})
		if got.facts != facts || got.degraded != "" || err != nil {
			t.Errorf("%+v: got %+v, %v; want %q", to, got, err, facts)
		}
	}
	f("", pipeline.GraphOptions{}, "ann>ben eve>dan")
	f("", pipeline.GraphOptions{Types: []string{"KNOWS"}}, "ann>ben eve>dan")
	f("", pipeline.GraphOptions{Types: []string{"OWNS"}}, "")
	f(", types: [ OWNS ]", pipeline.GraphOptions{}, "")
	f(", types: [ OWNS ]", pipeline.GraphOptions{Types: []string{"KNOWS"}}, "")
	f(", types: [ OWNS, KNOWS ]", pipeline.GraphOptions{Types: []string{"KNOWS", "IS"}}, "ann>ben eve>dan")
	f("", pipeline.GraphOptions{MaxEdges: 1}, "ann>ben")
	f(", max_edges: 1", pipeline.GraphOptions{MaxEdges: 9}, "ann>ben")
	f("", pipeline.GraphOptions{HubCap: 1, MaxNodes: 100}, "eve>dan") // ann is mentioned twice
}

func TestFailure(t *testing.T) {
	f := func(settings string, change func(*ragtest.Store), want result, refused bool) {
		t.Helper()
		st := kb()
		change(st)
		began := time.Now()
		got, err := run(t, ", timeout: 50ms"+settings, "null", st, nil)
		if refused {
			if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 503 {
				t.Errorf("got %v; want 503", err)
			}
		} else if got != want || err != nil {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	}
	all := func(s *ragtest.Store) { s.Fail["link"], s.Fail["related"] = errors.New("x"), errors.New("x") }
	f("", all, result{"p0 p1", "", "graph:error"}, false)
	f(", on_error: fail", all, result{}, true)
	f("", func(s *ragtest.Store) { s.Delay["related"], s.Delay["link"] = time.Minute, time.Minute }, result{"p0 p1", "", "graph:timeout"}, false)
	f("", func(s *ragtest.Store) { s.Delay["expand"] = time.Minute }, result{"p0 p1 p2", "", "graph:timeout"}, false)
	f("", func(s *ragtest.Store) { s.Fail["fetch"] = errors.New("x") }, result{"p0 p1", "ann>ben eve>dan", "graph:error"}, false)
}

func TestGone(t *testing.T) {
	st := kb()
	st.Delay["related"] = time.Minute
	_, err := run(t, ", timeout: 1m", "null", st, func(ex *pipeline.Exchange) {
		time.AfterFunc(20*time.Millisecond, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
	})
	if !errors.Is(err, pipeline.ErrClientGone) {
		t.Errorf("got %v", err)
	}
}

// The deadline of all stages together costs a request what is late, and not what was
// found in time.
func TestDeadline(t *testing.T) {
	st := kb()
	st.Delay["related"], st.Delay["link"] = time.Minute, time.Minute
	s := pipetest.Load(t, registry(st), `
stores: { kb: { kb: {} } }
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ graph: { store: kb, passages: kb, timeout: 1m }, answer: {} ] } ]
`)
	ex := pipetest.Exchange(t, `{"messages":[{"role":"user","content":"what do you know about Eve?"}]}`)
	defer ex.Release()
	ex.Passages = []pipeline.Passage{{ID: "p0"}}
	ctx, stop := context.WithTimeout(ex.Context(), 50*time.Millisecond)
	defer stop()
	err := s.Routes[0].Chain.Handle(ctx, ex)
	if d := strings.Join(ex.Retrieval.Degraded, " "); err != nil || len(ex.Passages) != 1 || d != "graph:timeout" {
		t.Errorf("got %v, %q, %v; want the passage there was", ex.Passages, d, err)
	}
}

func TestRefused(t *testing.T) {
	_, err := run(t, "", `{"collection":"kb"}`, kb(), func(ex *pipeline.Exchange) { ex.Policy = &pipeline.Policy{Collections: []string{}} })
	if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 403 {
		t.Errorf("got %v; want 403", err)
	}
}

func TestConform(t *testing.T) {
	pipetest.Conform(t, graph.Plugin, "store: kb\npassages: kb", pipetest.Fixed[*ragtest.Store]("kb", kb()))
}

func TestFiles(t *testing.T) { pipetest.Problems(t, registry(kb()), "testdata") }

// Each request is counted once by what came of it, and the client can be told how long
// each part took.
func TestCounted(t *testing.T) {
	f := func(settings string, fail []string, change func(*pipeline.Exchange), want, stages string) {
		t.Helper()
		st := kb()
		for _, call := range fail {
			st.Fail[call] = errors.New("x")
		}
		s := pipetest.Load(t, registry(st), `
stores: { kb: { kb: {} } }
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ graph: { store: kb, passages: kb`+settings+` }, answer: {} ] } ]
`)
		ex := pipetest.Exchange(t, `{"messages":[{"role":"user","content":"what do you know about Eve?"}]}`)
		defer ex.Release()
		ex.Passages = append(ex.Passages, pipeline.Passage{ID: "p0"})
		change(ex)
		_ = s.Routes[0].Chain.Handle(ex.Context(), ex)
		got, took := pipetest.Counted(t, s, "headrace_graph_requests_total"), pipetest.Stages(ex.Retrieval)
		if got != want+" 1" || took != stages {
			t.Errorf("counted %s, times of %q; want one %s, times of %q", got, took, want, stages)
		}
	}
	as := func(*pipeline.Exchange) {}
	f("", nil, as, "hit", "graph")
	f(", add: 0", nil, as, "hit", "graph")
	f(", hops: 0", nil, as, "hit", "graph")
	f(", add: 0, hops: 0", nil, as, "empty", "graph")
	f("", []string{"fetch"}, as, "degraded", "graph")
	f("", []string{"link", "related"}, as, "failed", "graph")
	f(", on_error: fail", []string{"fetch"}, as, "failed", "graph")
	f("", nil, func(ex *pipeline.Exchange) { ex.SetSkip([]byte("graph")) }, "off", "")
	f("", nil, func(ex *pipeline.Exchange) { ex.Request.Header.Set("X-RAG", "off") }, "off", "")
}
