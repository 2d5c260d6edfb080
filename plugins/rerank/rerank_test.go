package rerank_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/rag/ragtest"
	"github.com/headrace/headrace/plugins/rerank"
)

func registry(judge pipeline.Reranker) config.Registry {
	return config.Registry{
		rerank.Plugin, pipetest.Fixed[pipeline.Reranker]("judge", judge),
		pipetest.Fixed[pipeline.Handler]("answer", pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
			ex.Response.SetBody([]byte("{}"))
			return nil
		})),
	}
}

// longest likes long texts.
func longest() *ragtest.Reranker {
	return &ragtest.Reranker{Score: func(_, text string) float32 { return float32(len(text)) }}
}

func run(t testing.TB, settings, rag string, judge pipeline.Reranker, change func(*pipeline.Exchange)) (passages, degraded string, err error) {
	t.Helper()
	s := pipetest.Load(t, registry(judge), `
stores: { judge: { judge: {} } }
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ rerank: { with: judge`+settings+` }, answer: {} ] } ]
`)
	ex := pipetest.Exchange(t, `{"rag":`+rag+`,"messages":[{"role":"user","content":"where do red apples grow?"}]}`)
	defer ex.Release()
	for i, text := range []string{"x", "xxxx", "xx", "xxx"} {
		ex.Passages = append(ex.Passages, pipeline.Passage{ID: fmt.Sprint("p", i), Text: text})
	}
	if change != nil {
		change(ex)
	}
	err = s.Routes[0].Chain.Handle(ex.Context(), ex)
	var ids []string
	for _, p := range ex.Passages {
		ids = append(ids, p.ID)
	}
	return strings.Join(ids, " "), strings.Join(ex.Retrieval.Degraded, " "), err
}

func TestRerank(t *testing.T) {
	f := func(settings, rag string, change func(*pipeline.Exchange), want string) {
		t.Helper()
		got, degraded, err := run(t, settings, rag, longest(), change)
		if got != want || degraded != "" || err != nil {
			t.Errorf("got %q, %q, %v; want %q", got, degraded, err, want)
		}
	}
	f("", "null", nil, "p1 p3 p2 p0")
	f(", keep: 2", "null", nil, "p1 p3")
	f(", keep: 2", `{"top_k":3}`, nil, "p1 p3 p2")
	f(", candidates: 3", "null", nil, "p1 p2 p0")
	f(", keep: 2", `{"rerank":false}`, nil, "p0 p1")
	f("", `{"rerank":true}`, nil, "p1 p3 p2 p0")
	f("", `{"enabled":false}`, nil, "p0 p1 p2 p3")
	f(", keep: 2", "null", func(ex *pipeline.Exchange) { ex.SetSkip([]byte("rerank")) }, "p0 p1")
	f("", "null", func(ex *pipeline.Exchange) { ex.Passages = nil }, "")
}

// models is a reranker whose models differ in what they prefer.
type models struct{ *ragtest.Reranker }

func (models) WithModel(name string) pipeline.Reranker {
	return &ragtest.Reranker{Score: func(_, text string) float32 {
		if name == "short" {
			return -float32(len(text))
		}
		return float32(len(text))
	}}
}

func TestModel(t *testing.T) {
	asked := func(ex *pipeline.Exchange) {
		ex.Retrieval = &pipeline.Retrieval{Query: "q", Options: &pipeline.RetrievalOptions{RerankModel: "short"}}
	}
	got, _, err := run(t, "", "null", models{longest()}, asked)
	if got != "p0 p2 p3 p1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	_, _, err = run(t, "", "null", longest(), asked)
	if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 400 || e.Param != "rerank.model" {
		t.Errorf("got %v", err)
	}
}

func TestFailure(t *testing.T) {
	f := func(change func(*ragtest.Reranker), want string) {
		t.Helper()
		judge := longest()
		change(judge)
		began := time.Now()
		got, degraded, err := run(t, ", keep: 3, timeout: 50ms", "null", judge, nil)
		if got != "p0 p1 p2" || degraded != want || err != nil || time.Since(began) > 5*time.Second {
			t.Errorf("got %q, %q, %v; want the order there was and %q", got, degraded, err, want)
		}
		_, _, err = run(t, ", timeout: 50ms, on_error: fail", "null", judge, nil)
		if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 503 || e.Code != "retrieval_unavailable" {
			t.Errorf("got %v; want 503", err)
		}
	}
	f(func(r *ragtest.Reranker) { r.Err = errors.New("down") }, "rerank:error")
	f(func(r *ragtest.Reranker) { r.Delay = time.Minute }, "rerank:timeout")
	f(func(r *ragtest.Reranker) { r.Score = func(string, string) float32 { panic("x") } }, "rerank:error")
}

func TestGone(t *testing.T) {
	judge := longest()
	judge.Delay = time.Minute
	_, degraded, err := run(t, ", timeout: 1m", "null", judge, func(ex *pipeline.Exchange) {
		time.AfterFunc(20*time.Millisecond, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
	})
	if !errors.Is(err, pipeline.ErrClientGone) || degraded != "" {
		t.Errorf("got %v, %q", err, degraded)
	}
}

// The deadline of all stages together costs a request what is late, and not what was
// found in time.
func TestDeadline(t *testing.T) {
	judge := longest()
	judge.Delay = time.Minute
	s := pipetest.Load(t, registry(judge), `
stores: { judge: { judge: {} } }
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ rerank: { with: judge, keep: 1, timeout: 1m }, answer: {} ] } ]
`)
	ex := pipetest.Exchange(t, `{"messages":[{"role":"user","content":"where do red apples grow?"}]}`)
	defer ex.Release()
	ex.Passages = []pipeline.Passage{{ID: "p0"}, {ID: "p1"}}
	ctx, stop := context.WithTimeout(ex.Context(), 50*time.Millisecond)
	defer stop()
	err := s.Routes[0].Chain.Handle(ctx, ex)
	if d := strings.Join(ex.Retrieval.Degraded, " "); err != nil || len(ex.Passages) != 1 || ex.Passages[0].ID != "p0" || d != "rerank:timeout" {
		t.Errorf("got %v, %q, %v; want the order there was", ex.Passages, d, err)
	}
}

func TestConform(t *testing.T) {
	pipetest.Conform(t, rerank.Plugin, "with: judge", pipetest.Fixed[pipeline.Reranker]("judge", longest()))
}

func TestFiles(t *testing.T) { pipetest.Problems(t, registry(longest()), "testdata") }

// Each request is counted once by what came of it, and the client can be told how long
// each part took.
func TestCounted(t *testing.T) {
	f := func(settings string, judge *ragtest.Reranker, change func(*pipeline.Exchange), want, stages string) {
		t.Helper()
		s := pipetest.Load(t, registry(judge), `
stores: { judge: { judge: {} } }
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ rerank: { with: judge`+settings+` }, answer: {} ] } ]
`)
		ex := pipetest.Exchange(t, `{"messages":[{"role":"user","content":"where?"}]}`)
		defer ex.Release()
		ex.Passages = append(ex.Passages, pipeline.Passage{ID: "p", Text: "x"})
		change(ex)
		_ = s.Routes[0].Chain.Handle(ex.Context(), ex)
		got, took := pipetest.Counted(t, s, "headrace_rerank_requests_total"), pipetest.Stages(ex.Retrieval)
		if got != want+" 1" || took != stages {
			t.Errorf("counted %s, times of %q; want one %s, times of %q", got, took, want, stages)
		}
	}
	as := func(*pipeline.Exchange) {}
	down := longest()
	down.Err = errors.New("x")
	f("", longest(), as, "ok", "rerank")
	f("", down, as, "failed", "rerank")
	f(", on_error: fail", down, as, "failed", "rerank")
	f("", longest(), func(ex *pipeline.Exchange) { ex.Passages = nil }, "off", "")
	f("", longest(), func(ex *pipeline.Exchange) { ex.SetSkip([]byte("rerank")) }, "off", "")
	f("", longest(), func(ex *pipeline.Exchange) { ex.Request.Header.Set("X-RAG", "off") }, "off", "")
}
