package standard_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/plugins/standard"
)

// An asked is an upstream for vectors and scores that can be told to hang or to fail.
type asked struct {
	*httptest.Server
	calls, gone  atomic.Int32
	hangs, fails atomic.Bool
}

func newAsked(t *testing.T) *asked {
	a := &asked{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.calls.Add(1)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // the client has left
		}
		switch {
		case a.hangs.Load():
			<-r.Context().Done()
			a.gone.Add(1)
			return
		case a.fails.Load():
			w.WriteHeader(500)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/rerank") {
			_, _ = io.WriteString(w, `{"results":[{"index":0,"relevance_score":0.5}]}`) // or the client has left
			return
		}
		_, _ = io.WriteString(w, `{"data":[{"index":0,"embedding":[1,0]}]}`) // as above
	}))
	t.Cleanup(a.Close)
	return a
}

// Embedders and rerankers are hedged and guarded by breakers as models are.
func TestAskedByChain(t *testing.T) {
	one, two := newAsked(t), newAsked(t)
	s, err := config.Load(t.Context(), config.Source{File: "test.yaml", Data: []byte(strings.NewReplacer("ONE", one.URL, "TWO", two.URL).Replace(`
server: { listen: "127.0.0.1:0" }
providers:
  one: { litellm: { url: "ONE/v1" } }
  two: { litellm: { url: "TWO/v1" } }
stores:
  hedged: { embedder: { model: m, cache: 0, chain: [ race: { after: 20ms, budget: 100%, branches: [ [ call: { provider: one } ], [ call: { provider: two } ] ] } ] } }
  broken: { embedder: { model: m, cache: 0, chain: [ breaker: { failures: 2, cooldown: 1m }, call: { provider: one } ] } }
  judge: { reranker: { model: m, chain: [ race: { after: 20ms, budget: 100%, branches: [ [ call: { provider: one } ], [ call: { provider: two } ] ] } ] } }
models: { "*": [ { provider: one } ] }
routes: [ { name: any, match: { path: /v1/* }, chain: [ call: {} ] } ]
`))}, standard.Components(), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	ask := func(name string) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		e, ok := config.Lookup[pipeline.Embedder](s, name)
		if !ok {
			t.Fatal("no embedder " + name)
		}
		_, err := e.Embed(ctx, []string{"a"}, pipeline.ForAsking)
		return err
	}

	one.hangs.Store(true)
	if err := ask("hedged"); err != nil || two.calls.Load() != 1 {
		t.Errorf("%v after %d calls of the second", err, two.calls.Load())
	}
	judge, _ := config.Lookup[pipeline.Reranker](s, "judge")
	if scores, err := judge.Rerank(t.Context(), "q", []string{"a"}); err != nil || len(scores) != 1 || two.calls.Load() != 2 {
		t.Errorf("%v %v after %d calls of the second", scores, err, two.calls.Load())
	}
	for deadline := time.Now().Add(5 * time.Second); one.gone.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the slow upstream was not let go of")
		}
	}

	one.hangs.Store(false)
	one.fails.Store(true)
	before := one.calls.Load()
	for range 5 {
		if err := ask("broken"); err == nil {
			t.Error("an upstream that fails gave vectors")
		}
	}
	if n := one.calls.Load() - before; n != 2 {
		t.Errorf("asked %d times, want 2 and no more", n)
	}
}
