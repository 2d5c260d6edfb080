package reranker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/providers/offline"
	"github.com/headrace/headrace/providers/reranker"
)

type upstream func(ex *pipeline.Exchange) (string, error)

func (u upstream) Call(_ context.Context, ex *pipeline.Exchange) error {
	answer, err := u(ex)
	if err != nil {
		return err
	}
	ex.Response.Header.SetStatusCode(200)
	ex.Response.SetBody([]byte(answer))
	return nil
}

func build(t testing.TB, component string, p pipeline.Provider) pipeline.Reranker {
	t.Helper()
	s := pipetest.Load(t, config.Registry{
		reranker.Component, reranker.Lexical,
		pipetest.Fixed[pipeline.Provider]("fixed", p), pipetest.Fixed[pipeline.Handler]("fixed", pipeline.CallTarget),
	}, fmt.Sprintf(`
providers: { upstream: { fixed: {} } }
stores: { under_test: { %s } }
routes: [ { name: any, match: { path: /v1/any }, chain: [ fixed ] } ]
`, component))
	r, ok := config.Lookup[pipeline.Reranker](s, "under_test")
	if !ok {
		t.Fatal("no reranker was built")
	}
	return r
}

// lengths scores documents by their length, the best first.
func lengths(field string) upstream {
	return func(ex *pipeline.Exchange) (string, error) {
		var req struct{ Documents []string }
		if err := json.Unmarshal(ex.Request.Body, &req); err != nil {
			return "", err
		}
		var items []string
		for i, d := range req.Documents {
			if strings.TrimSpace(d) == "" {
				return "", errors.New("a blank document")
			}
			items = append([]string{fmt.Sprintf(`{"index":%d,"%s":%d}`, i, field, len(d))}, items...)
		}
		return `{"results":[` + strings.Join(items, ",") + `]}`, nil
	}
}

func TestRerank(t *testing.T) {
	f := func(settings, field string, texts []string, want ...float32) {
		t.Helper()
		r := build(t, "reranker: { provider: upstream, model: m"+settings+" }", lengths(field))
		got, err := r.Rerank(t.Context(), "q", texts)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	f("", "relevance_score", []string{"a", "bbb", "cc"}, 1, 3, 2)
	f("", "score", []string{"a", "bbb", "cc"}, 1, 3, 2)
	f("", "score", []string{"", "bbb", " \n", "cc"}, 1, 3, 1, 2) // blank ones are last, and shift none
	f("", "score", []string{"", " "}, -1, -1)
	f(", max_documents: 2", "score", []string{"a", "", "bbb", "cc", "dddd", "eeeee"}, 1, 0, 3, 2, 4, 5)
	f(", max_chars: 2", "score", []string{"a", "水水水", "b"}, 1, 6, 1)
}

func TestRequest(t *testing.T) {
	var got string
	r := build(t, "reranker: { provider: upstream, model: m }", upstream(func(ex *pipeline.Exchange) (string, error) {
		got = fmt.Sprintf("%s %s %s %s", ex.Request.Header.Method(), ex.Request.Header.RequestURI(), ex.Op, ex.Request.Body)
		return `{"results":[{"index":0,"score":1}]}`, nil
	}))
	if _, err := r.Rerank(t.Context(), `"q"`, []string{"a\n"}); err != nil {
		t.Fatal(err)
	}
	if want := `POST /v1/rerank rerank {"model":"m","query":"\"q\"","documents":["a\n"],"top_n":1,"return_documents":false}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	other, ok := r.(pipeline.ModelReranker)
	if !ok {
		t.Fatal("the model cannot be chosen")
	}
	if _, err := other.WithModel("n").Rerank(t.Context(), "q", []string{"a"}); err != nil || !strings.Contains(got, `{"model":"n",`) {
		t.Errorf("%v: %s", err, got)
	}
	if _, err := r.Rerank(t.Context(), "q", []string{"a"}); err != nil || !strings.Contains(got, `{"model":"m",`) {
		t.Errorf("%v: %s", err, got)
	}
}

// tei answers as Text Embeddings Inference does: it wants texts, no more than 32 of them,
// and its list is bare.
type tei struct {
	mu    sync.Mutex
	calls []string
}

func (u *tei) Call(_ context.Context, ex *pipeline.Exchange) error {
	var req struct {
		Query string
		Texts []string
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	answer := func(status int, body string) error {
		u.calls = append(u.calls, fmt.Sprintf("%d texts: %d", len(req.Texts), status))
		ex.Response.Header.SetStatusCode(status)
		ex.Response.SetBody([]byte(body))
		return nil
	}
	switch err := json.Unmarshal(ex.Request.Body, &req); {
	case err != nil || req.Texts == nil:
		return answer(422, "Failed to deserialize the JSON body into the target type: missing field `texts`")
	case len(req.Texts) > 32:
		return answer(413, `{"error":"batch size 100 > maximum allowed batch size 32","error_type":"Validation"}`)
	}
	items := []string{}
	for i, d := range req.Texts {
		items = append([]string{fmt.Sprintf(`{"index":%d,"score":%d}`, i, len(d))}, items...)
	}
	return answer(200, "\n["+strings.Join(items, ",")+"]")
}

func TestTEI(t *testing.T) {
	f := func(settings string, n int, calls ...string) {
		t.Helper()
		u := &tei{}
		r := build(t, "reranker: { provider: upstream, model: m"+settings+" }", u)
		texts, want := []string{}, []float32{}
		for i := range n {
			texts, want = append(texts, strings.Repeat("x", 1+i)), append(want, float32(1+i))
		}
		for range 2 {
			got, err := r.Rerank(t.Context(), "q", texts)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		}
		if d := cmp.Diff(calls, u.calls); d != "" {
			t.Error(d)
		}
	}
	f("", 3, "0 texts: 422", "3 texts: 200", "3 texts: 200")
	f(", format: tei", 3, "3 texts: 200", "3 texts: 200")
	f("", 40, "0 texts: 422", "40 texts: 413", "20 texts: 200", "20 texts: 200", "20 texts: 200", "20 texts: 200")

	r := build(t, "reranker: { provider: upstream, model: m, format: cohere }", &tei{})
	if _, err := r.Rerank(t.Context(), "q", []string{"a"}); err == nil {
		t.Error("the format was another")
	}
}

func TestOffline(t *testing.T) {
	p, err := offline.Component.Build(t.Context(), config.Env{})
	if err != nil {
		t.Fatal(err)
	}
	r := build(t, "reranker: { provider: upstream, model: m }", p.(pipeline.Provider))
	got, err := r.Rerank(t.Context(), "red apples", []string{"blue whales", "", "red apples"})
	if err != nil || got[2] <= got[0] || got[1] >= got[0] {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestFailures(t *testing.T) {
	f := func(answer string) {
		t.Helper()
		r := build(t, "reranker: { provider: upstream, model: m }", upstream(func(*pipeline.Exchange) (string, error) { return answer, nil }))
		_, err := r.Rerank(t.Context(), "q", []string{"a", "b"})
		if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Fault != pipeline.UpstreamFault {
			t.Errorf("%s: got %v; want a fault of the upstream", answer, err)
		}
	}
	f(`x`)
	f(`{}`)
	f(`{"results":[{"index":0,"score":1}]}`)
	f(`{"results":[{"index":0,"score":1},{"index":0,"score":1}]}`)
	f(`{"results":[{"index":0,"score":1},{"index":2,"score":1}]}`)
	f(`{"results":[{"index":0,"score":1},{"score":1}]}`)
	f(`{"results":[{"index":0,"score":1},{"index":1}]}`)
	f(`{"results":[{"index":0,"score":1},{"index":1,"score":"2"}]}`)
	f(`{"results":[{"index":0,"score":1},{"index":1,"score":1e300}]}`)

	for _, a := range []pipetest.Answer{{Status: 500, Body: "{}"}, pipetest.Fails(errors.New("x")), {Frames: []string{"{"}, Break: errors.New("cut")}} {
		r := build(t, "reranker: { provider: upstream, model: m, max_documents: 1 }", pipetest.NewProvider(a))
		if _, err := r.Rerank(t.Context(), "q", []string{"a", "b"}); err == nil {
			t.Errorf("%+v: no error", a)
		}
	}
	r := build(t, "reranker: { provider: upstream, model: m, max_documents: 1 }", upstream(func(*pipeline.Exchange) (string, error) { panic("x") }))
	if _, err := r.Rerank(t.Context(), "q", []string{"a", "b"}); err == nil {
		t.Error("a panic, and no error")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := r.Rerank(ctx, "q", []string{"a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
}

// An upstream that has too much to do says when to come back, and so does the error.
func TestTooMany(t *testing.T) {
	r := build(t, "reranker: { provider: upstream, model: m }", tooMany{})
	_, err := r.Rerank(t.Context(), "q", []string{"a"})
	if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 429 || e.RetryAfter != 7*time.Second || e.Fault != pipeline.OverloadFault {
		t.Errorf("got %+v", e)
	}
}

type tooMany struct{}

func (tooMany) Call(_ context.Context, ex *pipeline.Exchange) error {
	ex.Response.Header.SetStatusCode(429)
	ex.Response.Header.Set("Retry-After", "7")
	ex.Response.SetBody([]byte("{}"))
	return nil
}

func TestLexical(t *testing.T) {
	r := build(t, "lexical_reranker: {}", pipetest.NewProvider())
	best := func(query string, texts ...string) int {
		t.Helper()
		scores, err := r.Rerank(t.Context(), query, texts)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for i, s := range scores {
			if s < 0 || s > 1 {
				t.Errorf("score %v", s)
			}
			if s > scores[at] {
				at = i
			}
		}
		return at
	}
	f := func(want int, query string, texts ...string) {
		t.Helper()
		if got := best(query, texts...); got != want {
			t.Errorf("%q: text %d is the best, want %d", query, got, want)
		}
	}
	f(1, "Who grows red apples?", "blue whales", "apples that are red grow here", "apples")
	f(2, "whale apples", "apples and more apples", "apples", "the whales", "apples, apples") // rare words count more
	f(1, "張忠謀是誰", "今天天氣很好", "創辦人張忠謀", "")
	f(0, "the of", "x", "y")
	f(0, "", "x")
	if got, err := r.Rerank(t.Context(), "q", nil); len(got) != 0 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestConform(t *testing.T) {
	pipetest.Conform(t, reranker.Component, "provider: upstream\nmodel: m")
	pipetest.Conform(t, reranker.Lexical, "")
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{
		reranker.Component, reranker.Lexical, pipetest.Fixed[pipeline.Provider]("none", pipetest.NewProvider()),
		pipetest.Fixed[pipeline.Handler]("fixed", pipeline.CallTarget),
	}, "testdata")
}
