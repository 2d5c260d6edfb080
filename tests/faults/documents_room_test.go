package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/tests/harness"
)

// Limits of what the stages of a reading room wait for.
const (
	limitRetrieve = 400 * time.Millisecond
	limitGraph    = 300 * time.Millisecond
	limitRerank   = 350 * time.Millisecond
)

// A room is a gateway with a library behind it.
type room struct {
	*harness.Gateway
	l      *library
	client *http.Client
	serial atomic.Int64
}

// newRoom starts a gateway whose stores are those named, and otherwise the embedded one.
func newRoom(t *testing.T, stores, passages, graph string) *room {
	t.Helper()
	r := &room{l: newLibrary(t), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}}
	t.Cleanup(r.client.CloseIdleConnections)
	chain := func(retrieve, graphStage, rerank string) string {
		return fmt.Sprintf(`
    - retrieve: { store: %s, collection: kb, timeout: %s, %s }
    - graph: { store: %s, passages: %s, timeout: %s, %s }
    - rerank: { keep: 4, timeout: %s, %s }
    - prompt: { contexts: contexts }
    - cache: { store: answers }
    - race: {}
`, passages, limitRetrieve, retrieve, graph, passages, limitGraph, graphStage, limitRerank, rerank)
	}
	r.Gateway = harness.Start(t, write(t, `
server: { listen: "${HEADRACE_LISTEN}", admin: "${HEADRACE_ADMIN}", access_log: all }
before: [ auth: { keys: "acme=sk-acme,lab=sk-lab" } ]
providers:
  embed: { litellm: { url: "http://`+r.l.addr+`/embed/v1" } }
  ranks: { litellm: { url: "http://`+r.l.addr+`/judge/v1" } }
  chat: { litellm: { url: "http://`+r.l.addr+`/chat/v1", first_byte: 2s, idle: 1s } }
stores:
  answers: { memory_cache: {} }
  contexts: { context_store: {} }
  kb: { embedded: {} }
`+stores+`
  vectors: { embedder: { provider: embed, model: e, timeout: 1s } }
  guarded: { embedder: { chain: [ breaker: { failures: 3, cooldown: 1s }, call: { provider: embed } ], model: e, timeout: 1s } }
  judge: { reranker: { provider: ranks, model: r, timeout: 1s } }
  guarded_judge: { reranker: { chain: [ breaker: { failures: 3, cooldown: 1s }, call: { provider: ranks } ], model: r, timeout: 1s } }
models:
  kb-answer: { chain: rag, targets: [ { provider: chat } ] }
  kb-dense: { chain: dense, targets: [ { provider: chat } ] }
  kb-fail: { chain: fail, targets: [ { provider: chat } ] }
  kb-guarded: { chain: guarded, targets: [ { provider: chat } ] }
  kb-beside: { chain: beside, targets: [ { provider: chat } ] }
  "*": [ { provider: chat } ]
chains:
  beside:
    - all:
        timeout: 200ms
        branches:
          - [ retrieve: { store: `+passages+`, collection: kb, embedder: vectors, mode: dense, on_error: fail } ]
          - [ retrieve: { store: `+passages+`, collection: kb, embedder: vectors, mode: dense, on_error: fail } ]
    - prompt: { contexts: contexts }
    - cache: { store: answers }
    - race: {}
  rag:`+chain("embedder: vectors", "on_error: skip", "with: judge")+`
  dense:`+chain("embedder: vectors, mode: dense", "on_error: skip", "with: judge")+`
  fail:`+chain("embedder: vectors, mode: dense, on_error: fail", "on_error: fail", "with: judge, on_error: fail")+`
  guarded:`+chain("embedder: guarded, mode: dense", "on_error: skip", "with: guarded_judge")+`
routes:
  - { match: { paths: [ /v1/chat/completions, /v1/completions, /v1/responses ] }, chain: [ race: {} ] }
  - { match: { path: /v1/rag/contexts/* }, chain: [ contexts: { store: contexts } ] }
  - { match: { path: /rerank }, chain: [ serve_rerank: { with: judge } ] }
  - { match: { path: /index/chunks }, chain: [ serve_index: { store: `+passages+`, embedder: vectors, graph: `+graph+` } ] }
  - { match: { path: /search }, chain: [ serve_search: { store: `+passages+`, embedder: vectors, timeout: 700ms } ] }
  - { match: { path: /graph/probe }, chain: [ serve_probe: {}, race: { each: [ breaker: { failures: 3 } ] } ] }
  - match: { path: /retrieve }
    chain:
      - serve_retrieve: { timeout: 900ms }
      - retrieve: { store: `+passages+`, embedder: guarded, timeout: `+limitRetrieve.String()+` }
      - rerank: { with: guarded_judge, timeout: `+limitRerank.String()+` }
  - match: { path: /v1/retrieve }
    chain:
      - serve_retrieve: { timeout: 900ms }
      - retrieve: { store: `+passages+`, embedder: vectors, timeout: `+limitRetrieve.String()+` }
      - graph: { store: `+graph+`, passages: `+passages+`, timeout: `+limitGraph.String()+` }
      - rerank: { with: judge, timeout: `+limitRerank.String()+` }
`))
	return r
}

func (r *room) name(of string) string { return fmt.Sprintf("%s-%d", of, r.serial.Add(1)) }

// post sends a request of the tenant acme, or of lab if X-Tenant says so.
func (r *room) post(path, body string, fields ...string) result {
	req, err := http.NewRequest(http.MethodPost, r.Root+path, strings.NewReader(body))
	if err != nil {
		return result{refused: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer sk-acme")
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	return do(r.client, req)
}

// fill indexes the documents of a tenant.
func (r *room) fill(t testing.TB, tenant string) {
	t.Helper()
	var chunks []string
	for i, text := range []string{
		"The spillway gate is opened by the crew of the dam", "Ann leads the crew of the dam since May", "The weir below the gate is old", "Bob mends the gate",
	} {
		chunks = append(chunks, fmt.Sprintf(`{"doc_id":"d%d","chunk_id":"c","text":%q,"entities":["gate","e%d"]}`, i, text+" for "+tenant+".", i))
	}
	a := r.post("/index/chunks", `{"collection":"kb","chunks":[`+strings.Join(chunks, ",")+`]}`, "Authorization", "Bearer sk-"+tenant)
	if a.status != 200 || !strings.Contains(a.body, `"errors":[]`) {
		t.Fatal(a)
	}
}

// ask puts a question to a model, in one of the three shapes.
func (r *room) ask(shape, model, faults, name string, stream bool, fields ...string) result {
	text := "Who opens the spillway gate of the dam? " + faults + " N:" + name
	include := `,"rag":{"include":["annotations","citations"]}`
	switch shape {
	case "responses":
		return r.post("/v1/responses", fmt.Sprintf(`{"model":%q,"stream":%t,"input":%q%s}`, model, stream, text, include), fields...)
	case "completions":
		return r.post("/v1/completions", fmt.Sprintf(`{"model":%q,"stream":%t,"prompt":%q%s}`, model, stream, text, include), fields...)
	}
	return r.post("/v1/chat/completions", fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":%q}]%s}`, model, stream, text, include), fields...)
}

// keptContext is what is kept of an answer.
type keptContext struct {
	Passages []kept
	Degraded []string
}

type kept struct {
	N     int
	DocID string `json:"doc_id"`
	Text  string
}

func (r *room) context(t testing.TB, id, key string) (c keptContext, status int) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.URL+"/rag/contexts/"+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	a := do(r.client, req)
	_ = json.Unmarshal([]byte(a.body), &c)
	return c, a.status
}

// faithful reports what is wrong with an answer from documents: its numbers, its context and
// its headers have to be those of what the model was sent.
func (r *room) faithful(t testing.TB, a result, name string) {
	t.Helper()
	prompts := r.l.requests("C", name)
	if len(prompts) != 1 {
		t.Errorf("the model was asked %d times: %v", len(prompts), a)
		return
	}
	prompt := prompts[0]
	c, status := r.context(t, a.header.Get("X-RAG-Context-Id"), "sk-acme")
	if status != 200 {
		t.Errorf("no context: %d, %v", status, a)
		return
	}
	for _, p := range c.Passages {
		if at := fmt.Sprintf("[%d] (%s)\\n%s", p.N, p.DocID, p.Text); !strings.Contains(prompt, at) {
			t.Errorf("the context has %q, and the prompt is %s", at, prompt)
		}
		if !strings.Contains(a.header.Get("X-RAG-Sources"), fmt.Sprintf("%d=%s#", p.N, p.DocID)) {
			t.Errorf("%d is not among %q", p.N, a.header.Get("X-RAG-Sources"))
		}
	}
	if n := strings.Count(prompt, " for acme."); n != len(c.Passages) {
		t.Errorf("%d passages are in the prompt, %d in the context", n, len(c.Passages))
	}
	r.cited(t, a, c, name)
}

var annotation = regexp.MustCompile(`"start_index":(\d+),"end_index":(\d+),"url":"([^"]*)"`)

// cited compares the annotations of an answer with the passages that its markers stand for.
func (r *room) cited(t testing.TB, a result, c keptContext, name string) {
	t.Helper()
	if !strings.Contains(a.body, "url_citation") {
		if len(c.Passages) > 0 && strings.Contains(a.body, `"chat.completion"`) {
			t.Errorf("nothing is annotated: %v", a)
		}
		return
	}
	text := strings.Join((&reading{name: name}).said(), "")
	have := map[string]bool{}
	for _, m := range annotation.FindAllStringSubmatch(a.body, -1) {
		from, _ := strconv.Atoi(m[1])
		to, _ := strconv.Atoi(m[2])
		marker := text[min(from, len(text)):min(to, len(text))]
		have[marker] = true
		if !slices.ContainsFunc(c.Passages, func(p kept) bool {
			return marker == fmt.Sprintf("[%d]", p.N) && m[3] == "urn:rag:"+p.DocID+"#c"
		}) {
			t.Errorf("%q is annotated with %q, and the context has %v", marker, m[3], c.Passages)
		}
	}
	for _, p := range c.Passages[:min(3, len(c.Passages))] {
		if !have[fmt.Sprintf("[%d]", p.N)] {
			t.Errorf("[%d] is not annotated: %v", p.N, a)
		}
	}
}
