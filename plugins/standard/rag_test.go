package standard

import (
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/rag"
	"github.com/headrace/headrace/providers/embedded"
)

// The whole chain, with components that need nothing: a stock client is told of
// its sources, and a cache behind the prompt answers the same question again.
func TestRetrievalChain(t *testing.T) {
	s := pipetest.Load(t, Components(), `
providers: { swift: { offline: {} } }
stores:
  kb: { embedded: {} }
  meaning: { embedder: { provider: swift, model: any } }
  judge: { reranker: { provider: swift, model: any } }
  kept: { context_store: {} }
models: { "*": [ { provider: swift } ] }
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain:
      - retrieve: { store: kb, embedder: meaning, timeout: 1m }
      - graph: { store: kb, passages: kb, merge: pool, timeout: 1m }
      - rerank: { with: judge, keep: 2, timeout: 1m }
      - prompt: { contexts: kept }
      - cache: {}
      - call: {}
`)
	store, _ := config.Lookup[embedded.Store](s, "kb")
	embed, ok := config.Lookup[pipeline.Embedder](s, "meaning")
	kept, there := config.Lookup[*rag.Contexts](s, "kept")
	if !ok || !there {
		t.Fatal("a component was not built")
	}
	texts := []string{"Ann founded Acme in 1999.", "Whales live in the sea.", "Acme makes anvils."}
	vectors, err := embed.Embed(t.Context(), texts, pipeline.ForStoring)
	if err != nil {
		t.Fatal(err)
	}
	u := pipeline.Upsert{Tenant: rag.DefaultTenant, Collection: "chunks"}
	for i, text := range texts {
		u.Points = append(u.Points, pipeline.Point{Passage: pipeline.Passage{ID: point(i), DocID: "doc", Index: i, Text: text}, Vector: vectors[i]})
	}
	if _, err := store.Upsert(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	ask := func(stream string) (cache, body string) {
		t.Helper()
		ex := pipetest.Exchange(t, `{"model":"any","stream":`+stream+`,"rag":{"include":["citations"]},"messages":[{"role":"user","content":"Who has founded Acme, and when?"}]}`)
		defer ex.Release()
		ex.Model = s.Models.Any()
		ex.Targets = ex.Model.Targets
		if err := s.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
			t.Fatal(err)
		}
		h := &ex.Response.Header
		if string(h.Peek("X-RAG-Status")) != "hit" || !strings.HasPrefix(string(h.Peek("X-RAG-Sources")), "1=doc#0") || len(h.Peek("X-Gateway-Degraded")) > 0 {
			t.Errorf("answered with\n%s", h)
		}
		if _, ok := kept.Get(rag.DefaultTenant, string(h.Peek("X-RAG-Context-Id"))); !ok {
			t.Error("the context is not kept")
		}
		cache = string(h.Peek("X-Headrace-Cache"))
		return cache, pipetest.ReadAll(t, ex)
	}
	for _, stream := range []string{"false", "true"} {
		for _, want := range []string{"miss", "hit"} {
			cache, body := ask(stream)
			if cache != want || strings.Count(body, `"rag":{"status":"hit","citations":[{"n":1,`) != 1 {
				t.Errorf("stream %s: %s, want %s, with %s", stream, cache, want, body)
			}
		}
	}
}
