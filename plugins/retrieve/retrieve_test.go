package retrieve_test

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
	"github.com/headrace/headrace/plugins/retrieve"
)

func kb() *ragtest.Store {
	s := &ragtest.Store{Delay: map[string]time.Duration{}, Fail: map[string]error{}, Deaf: map[string]bool{}}
	add := func(tenant, collection, id, text, metadata string, vector ...float32) {
		s.Points = append(s.Points, ragtest.Point{
			Tenant: tenant, Collection: collection, Vector: vector,
			Passage: pipeline.Passage{ID: id, Text: text, Metadata: []byte(metadata)},
		})
	}
	add("default", "chunks", "p0", "red apples grow on trees", `{"lang":"en"}`, 1, 0)
	add("default", "chunks", "p1", "green apples", `{"lang":"de"}`, 0.9, 0.1)
	add("default", "chunks", "p2", "blue whales", `{}`, 0, 1)
	add("default", "kb", "k0", "apples of another collection", `{}`, 1, 0)
	add("acme", "chunks", "a0", "apples of another tenant", `{}`, 1, 0)
	return s
}

func meaning() *ragtest.Embedder {
	return &ragtest.Embedder{Vector: func(string) []float32 { return []float32{0, 1} }}
}

type result struct {
	passages, degraded, collection string
	err                            error
	off                            bool
}

// run sends a request through the stage with these settings.
func run(t *testing.T, settings string, st *ragtest.Store, e *ragtest.Embedder, change func(*pipeline.Exchange)) result {
	t.Helper()
	s := pipetest.Load(t, registry(st, e), `
stores: { kb: { kb: {} }, meaning: { meaning: {} } }
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ retrieve: { store: kb`+settings+` }, answer: {} ] } ]
`)
	ex := pipetest.Exchange(t, `{"model":"m","messages":[{"role":"user","content":"where do red apples grow?"}]}`)
	defer ex.Release()
	if change != nil {
		change(ex)
	}
	var r result
	r.err = s.Routes[0].Chain.Handle(ex.Context(), ex)
	var ids []string
	for _, p := range ex.Passages {
		ids = append(ids, p.ID)
	}
	r.passages = strings.Join(ids, " ")
	if ex.Retrieval != nil {
		r.degraded, r.collection, r.off = strings.Join(ex.Retrieval.Degraded, " "), ex.Retrieval.Collection, ex.Retrieval.Off
	}
	if strings.Contains(string(ex.Request.Body), `"rag"`) {
		t.Errorf("the upstream would see %s", ex.Request.Body)
	}
	return r
}

func registry(st *ragtest.Store, e *ragtest.Embedder) config.Registry {
	return config.Registry{
		retrieve.Plugin,
		pipetest.Fixed[*ragtest.Store]("kb", st),
		pipetest.Fixed[*ragtest.Embedder]("meaning", e),
		pipetest.Fixed[pipeline.Handler]("answer", pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
			ex.Response.SetBody([]byte("{}"))
			return nil
		})),
	}
}

func body(rag string) func(*pipeline.Exchange) {
	return func(ex *pipeline.Exchange) {
		ex.Request.Body = []byte(`{"model":"m","rag":` + rag + `,"messages":[{"role":"user","content":"where do red apples grow?"}]}`)
	}
}

func header(value string) func(*pipeline.Exchange) {
	return func(ex *pipeline.Exchange) { ex.Request.Header.Set("X-RAG", value) }
}

func TestRetrieve(t *testing.T) {
	f := func(settings string, change func(*pipeline.Exchange), want result) {
		t.Helper()
		got := run(t, settings, kb(), meaning(), change)
		if got.err != nil || got.passages != want.passages || got.degraded != "" || got.off != want.off {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if !want.off && want.collection != "" && got.collection != want.collection {
			t.Errorf("searched %q, want %q", got.collection, want.collection)
		}
	}
	f("", nil, result{passages: "p0 p1", collection: "chunks"}) // no embedder: by words
	f(", embedder: meaning", nil, result{passages: "p0 p1 p2"})
	f(", embedder: meaning, weights: { dense: 9 }", nil, result{passages: "p1 p0 p2"})
	f(", embedder: meaning, mode: dense", nil, result{passages: "p2 p1 p0"})
	f(", embedder: meaning, mode: dense, threshold: 0.5", nil, result{passages: "p2"})
	f(", embedder: meaning, mode: sparse", nil, result{passages: "p0 p1"})
	f(", keep: 1", nil, result{passages: "p0"})
	f(", keep: 1", body(`{"top_k":2}`), result{passages: "p0 p1"})
	f(", collection: kb", nil, result{passages: "k0", collection: "kb"})
	f("", body(`{"collection":"kb"}`), result{passages: "k0", collection: "kb"})
	f("", body(`{"collection":"nowhere"}`), result{collection: "nowhere"})
	f("", body(`{"filters":{"lang":"de"}}`), result{passages: "p1"})
	f("", func(ex *pipeline.Exchange) { ex.Tenant = "acme" }, result{passages: "a0"})
	f("", func(ex *pipeline.Exchange) { ex.Op = pipeline.OpEmbeddings }, result{off: true})
	f("", func(ex *pipeline.Exchange) { ex.SetSkip([]byte("retrieve")) }, result{})
	f("", header("off"), result{off: true})
	f("", body(`{"enabled":false}`), result{off: true})
	f(", opt_in: true", nil, result{off: true})
	f(", opt_in: true", body(`{"enabled":true}`), result{passages: "p0 p1"})
	f(", opt_in: true", header("required"), result{passages: "p0 p1"})
}

func TestRefused(t *testing.T) {
	f := func(settings string, change func(*pipeline.Exchange), fail error, status int, code string) {
		t.Helper()
		st := kb()
		st.Fail["sparse"] = fail
		got := run(t, settings, st, meaning(), change)
		e, ok := errors.AsType[*pipeline.Error](got.err)
		if !ok || e.Status != status || e.Code != code || strings.Contains(e.Error(), "10.0.0.1") {
			t.Errorf("got %v; want %d %s", got.err, status, code)
		}
	}
	down := errors.New("dial 10.0.0.1")
	f("", func(ex *pipeline.Exchange) {
		body(`{"collection":"kb"}`)(ex)
		ex.Policy = &pipeline.Policy{Collections: []string{"mine"}}
	}, nil, 403, "collection_not_allowed")
	f(", on_error: fail", nil, down, 503, "retrieval_unavailable")
	f("", header("required"), down, 503, "retrieval_unavailable")
}

func TestDegraded(t *testing.T) {
	f := func(settings string, change func(*ragtest.Store, *ragtest.Embedder), passages, degraded string) {
		t.Helper()
		st, e := kb(), meaning()
		change(st, e)
		began := time.Now()
		got := run(t, settings, st, e, nil)
		if got.err != nil || got.passages != passages || got.degraded != degraded {
			t.Errorf("got %+v; want %q, %q", got, passages, degraded)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	}
	const both = ", embedder: meaning, timeout: 50ms"
	f(both, func(s *ragtest.Store, _ *ragtest.Embedder) { s.Fail["sparse"] = errors.New("x") }, "p2 p1 p0", "sparse:error")
	f(both, func(_ *ragtest.Store, e *ragtest.Embedder) { e.Err = errors.New("x") }, "p0 p1", "dense:error")
	f(both, func(_ *ragtest.Store, e *ragtest.Embedder) { e.Delay = time.Minute }, "p0 p1", "dense:timeout")
	f(both, func(s *ragtest.Store, e *ragtest.Embedder) { s.Delay["sparse"], e.Delay = time.Minute, time.Minute }, "", "retrieve:timeout")
	f(both, func(s *ragtest.Store, e *ragtest.Embedder) {
		s.Fail["sparse"], s.Fail["dense"] = errors.New("x"), errors.New("x")
	}, "", "retrieve:error")
}

// A client that leaves is no failure of the store.
func TestGone(t *testing.T) {
	st := kb()
	st.Delay["sparse"] = time.Minute
	began := time.Now()
	got := run(t, ", timeout: 1m", st, meaning(), func(ex *pipeline.Exchange) {
		time.AfterFunc(20*time.Millisecond, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
	})
	if !errors.Is(got.err, pipeline.ErrClientGone) || got.degraded != "" || time.Since(began) > 5*time.Second {
		t.Errorf("got %+v after %v", got, time.Since(began))
	}
}

// The deadline of all stages together costs a request what is late, and not what was
// found in time.
func TestDeadline(t *testing.T) {
	f := func(dense, sparse time.Duration, passages, degraded string, status int) {
		t.Helper()
		st, e := kb(), meaning()
		e.Delay, st.Delay["sparse"] = dense, sparse
		s := pipetest.Load(t, registry(st, e), `
stores: { kb: { kb: {} }, meaning: { meaning: {} } }
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ retrieve: { store: kb, embedder: meaning, timeout: 1m }, answer: {} ] } ]
`)
		ex := pipetest.Exchange(t, `{"messages":[{"role":"user","content":"where do red apples grow?"}]}`)
		defer ex.Release()
		ex.Request.Header.Set("X-RAG", "required")
		ctx, stop := context.WithTimeout(ex.Context(), 50*time.Millisecond)
		defer stop()
		err := s.Routes[0].Chain.Handle(ctx, ex)
		var ids []string
		for _, p := range ex.Passages {
			ids = append(ids, p.ID)
		}
		got := 200
		if e, ok := errors.AsType[*pipeline.Error](err); ok {
			got = e.Status
		} else if err != nil {
			t.Error(err)
		}
		if strings.Join(ids, " ") != passages || strings.Join(ex.Retrieval.Degraded, " ") != degraded || got != status {
			t.Errorf("got %d, %v, %v; want %d, %q, %q", got, ids, ex.Retrieval.Degraded, status, passages, degraded)
		}
	}
	f(0, 0, "p0 p1 p2", "", 200)
	f(time.Minute, 0, "p0 p1", "dense:timeout", 200)
	f(0, time.Minute, "p2 p1 p0", "sparse:timeout", 200)
	f(time.Minute, time.Minute, "", "retrieve:timeout", 503)
}

func TestConform(t *testing.T) {
	pipetest.Conform(t, retrieve.Plugin, "store: kb\nembedder: meaning", pipetest.Fixed[*ragtest.Store]("kb", kb()), pipetest.Fixed[*ragtest.Embedder]("meaning", meaning()))
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, registry(kb(), meaning()), "testdata")
}

// Each request is counted once by what came of it, and the client can be told how long
// each part took.
func TestCounted(t *testing.T) {
	f := func(settings string, st *ragtest.Store, change func(*pipeline.Exchange), want, stages string) {
		t.Helper()
		s := pipetest.Load(t, registry(st, meaning()), `
stores: { kb: { kb: {} }, meaning: { meaning: {} } }
routes: [ { name: chat, match: { path: /v1/chat/completions }, chain: [ retrieve: { store: kb`+settings+` }, answer: {} ] } ]
`)
		ex := pipetest.Exchange(t, `{"messages":[{"role":"user","content":"where do red apples grow?"}]}`)
		defer ex.Release()
		change(ex)
		_ = s.Routes[0].Chain.Handle(ex.Context(), ex)
		got, took := pipetest.Counted(t, s, "headrace_retrieve_requests_total"), pipetest.Stages(ex.Retrieval)
		if got != want+" 1" || took != stages {
			t.Errorf("counted %s, times of %q; want one %s, times of %q", got, took, want, stages)
		}
	}
	as := func(*pipeline.Exchange) {}
	fails := func(legs ...string) *ragtest.Store {
		st := kb()
		for _, leg := range legs {
			st.Fail[leg] = errors.New("x")
		}
		return st
	}
	const both = ", embedder: meaning"
	f("", kb(), as, "hit", "sparse retrieve")
	f(both, kb(), as, "hit", "embed vector sparse retrieve")
	f(", collection: none", kb(), as, "empty", "sparse retrieve")
	f(both, fails("sparse"), as, "degraded", "embed vector sparse retrieve")
	f(both, fails("sparse", "dense"), as, "failed", "embed vector sparse retrieve")
	f(", on_error: fail", fails("sparse"), as, "failed", "sparse retrieve")
	f("", kb(), header("off"), "off", "")
	f("", kb(), func(ex *pipeline.Exchange) { ex.SetSkip([]byte("retrieve")) }, "off", "")
}
