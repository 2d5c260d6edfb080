package service

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/rag/ragtest"
	"github.com/headrace/headrace/providers/embedded"
	"github.com/headrace/headrace/providers/embedder"
	"github.com/headrace/headrace/providers/reranker"
)

// file sets up every endpoint under its own path.
const file = `
stores:
  kb: { embedded: {} }
  vectors: { hash_embedder: { dimensions: 64 } }
  words: { lexical_reranker: {} }
  graph: { queries: {} }
  counted: { counted: {} }
routes:
  - { match: { path: /chat }, chain: [ serve_chat: {}, upstream: {} ] }
  - { match: { path: /lenient }, chain: [ serve_chat: { lenient_models: true }, upstream: {} ] }
  - { match: { path: /embed }, chain: [ serve_embed: {}, upstream: {} ] }
  - { match: { path: /rerank }, chain: [ serve_rerank: { with: words }, upstream: {} ] }
  - { match: { path: /index/chunks }, chain: [ serve_index: { store: kb, embedder: vectors, graph: kb } ] }
  - { match: { path: /index/counted }, chain: [ serve_index: { store: kb, embedder: counted } ] }
  - { match: { path: /index/linked }, chain: [ serve_index: { store: kb, embedder: counted, graph: kb } ] }
  - { match: { path: /search }, chain: [ serve_search: { store: kb, embedder: vectors } ] }
  - { match: { path: /retrieve }, chain: [ serve_retrieve: {}, found: {} ] }
  - { match: { path: /graph/upsert }, chain: [ serve_upsert: { graph: kb } ] }
  - { match: { path: /graph/query }, chain: [ serve_query: { graph: graph } ] }
  - { match: { path: /graph/probe }, chain: [ serve_probe: {}, upstream: {} ] }
  - { match: { path: /delete/vector }, chain: [ serve_delete_vector: { store: kb } ] }
  - { match: { path: /delete/graph }, chain: [ serve_delete_graph: { graph: kb } ] }
  - { match: { path: /whoami }, chain: [ serve_whoami: {} ] }
`

// queries is a store with a query language, which answers with what it is asked.
type queries struct{}

func (queries) QueryGraph(_ context.Context, q pipeline.GraphQuery) ([][]byte, bool, error) {
	return [][]byte{q.Params}, strings.Contains(q.Text, "cut"), nil
}

// A counted embedder notes what it was given.
type counted struct {
	texts  []string
	err    error // of every call
	model  string
	during func() // what happens once while it makes vectors
}

func (c *counted) Model() string { return c.model }

func (c *counted) Embed(_ context.Context, texts []string, _ pipeline.Purpose) ([][]float32, error) {
	if c.err != nil {
		return nil, c.err
	}
	c.texts = append(c.texts, texts...)
	if f := c.during; f != nil {
		c.during = nil
		f()
	}
	out := make([][]float32, len(texts))
	for i := range out {
		out[i] = []float32{1, 2}
	}
	return out, nil
}

// upstream answers what the texts direct.
var upstream = pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	body := string(ex.Request.Body)
	switch {
	case strings.Contains(body, "slow down"):
		ex.Response.Header.SetStatusCode(429)
		ex.Response.Header.Set("Retry-After", "7")
		ex.Response.Fault = pipeline.OverloadFault
		ex.Response.SetBody([]byte(`{"error":{"message":"too many"}}`))
	case strings.Contains(body, "break"):
		return errors.New("dial tcp 10.0.0.1: refused")
	case strings.Contains(body, "answer:"):
		_, answer, _ := strings.Cut(body, "answer:")
		b, _ := hex.DecodeString(answer[:strings.IndexAny(answer, `" `)])
		ex.Response.SetBody(b)
	case ex.Op == pipeline.OpEmbeddings:
		ex.Response.SetBody([]byte(`{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}]}`))
	case ex.Op == pipeline.OpRerank:
		ex.Response.SetBody([]byte(`{"results":[{"index":0,"relevance_score":0.1},{"index":1,"relevance_score":0.9}]}`))
	default:
		text, _ := chat.Text(chat.Get(lastMessage(ex.Request.Body), "content"))
		ex.Response.SetBody([]byte(`{"choices":[{"message":{"content":` + string(chat.AppendString(nil, text)) + `}}]}`))
	}
	return nil
})

func lastMessage(body []byte) (last []byte) {
	for m := range chat.Array(chat.Get(body, "messages")) {
		last = m
	}
	return last
}

// found is a chain of retrieval that has found one passage.
var found = pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	r := ex.Retrieval
	if r.Query == "down" {
		return &pipeline.Error{Status: 503, Code: "retrieval_unavailable", Fault: pipeline.GatewayFault, Err: errors.New("no store")}
	}
	if o := r.Options; r.Query == "options" {
		ex.Passages = append(ex.Passages, pipeline.Passage{ID: "1", Text: fmt.Sprint(o.Rerank != nil, o.TopK, " ", o.RerankModel, " ", o.Graph)})
		return nil
	}
	score := pipeline.Score{Value: 0.5, Set: true}
	ex.Passages = append(ex.Passages,
		pipeline.Passage{ID: "1", DocID: "d", Text: "one", Scores: pipeline.Scores{Dense: score}},
		pipeline.Passage{ID: "2", DocID: "d", ChunkID: "c", Text: "two", Via: []string{"acme"}, Scores: pipeline.Scores{Graph: score}})
	r.Degraded = []string{"graph:timeout"}
	if *r.Options.MaxHops > 0 {
		r.Graph.Entities = []pipeline.Entity{{ID: "acme", Type: "Company", Name: "Acme"}}
	}
	return nil
})

type rig struct {
	t       *testing.T
	s       *config.Snapshot
	policy  *pipeline.Policy
	counted *counted
}

func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, counted: &counted{model: "counted"}}
	reg := Plugins.With(embedded.Component, embedder.Hash, reranker.Lexical,
		pipetest.Fixed[pipeline.Handler]("upstream", upstream), pipetest.Fixed[pipeline.Handler]("found", found),
		pipetest.Fixed[pipeline.GraphQuerier]("queries", queries{}), pipetest.Fixed[pipeline.Embedder]("counted", r.counted))
	var err error
	if r.s, err = config.Load(context.Background(), config.Source{File: "test.yaml", Data: []byte(file)}, reg, slog.New(slog.DiscardHandler), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.s.Release)
	return r
}

// ask sends a request as the edge would.
func (r *rig) ask(path, body string) (int, string) {
	r.t.Helper()
	ex := pipeline.Acquire(r.t.Context())
	ex.Request.Header.SetMethod("POST")
	defer ex.Release()
	ex.Models = pipeline.NewModels([]*pipeline.Model{{Name: "rag-answer"}, {Name: "local-embed"}, {Name: "m"}})
	ex.Request.Body = []byte(body)
	ex.Policy = r.policy
	for _, route := range r.s.Routes {
		if route.Paths[0] != path {
			continue
		}
		err := route.Chain.Handle(ex.Context(), ex)
		if err == nil {
			return ex.Response.Header.StatusCode(), pipetest.ReadAll(r.t, ex)
		}
		e, ok := errors.AsType[*pipeline.Error](err)
		if !ok {
			r.t.Fatalf("%s: %v", path, err)
		}
		status, said := route.Chain[0].(pipeline.Endpoint).Refuse(e)
		if !json.Valid(said) {
			r.t.Fatalf("%s", said)
		}
		return status, string(said)
	}
	r.t.Fatal("no such path")
	return 0, ""
}

// want asks and compares: the answer must hold every part.
func (r *rig) want(path, body string, status int, parts ...string) {
	r.t.Helper()
	got, said := r.ask(path, body)
	for _, p := range parts {
		if got != status || !strings.Contains(said, p) {
			r.t.Errorf("%s %s\ngot  %d %s\nwant %d with %s", path, body, got, said, status, p)
		}
	}
}

func TestChat(t *testing.T) {
	r := start(t)
	say := func(text string) string {
		return `{"messages":[{"role":"user","content":` + string(chat.AppendString(nil, text)) + `}]}`
	}
	r.want("/chat", say("hi"), 200, `{"ok":true,"data":"hi","meta":{"model":"rag-answer"`)
	r.want("/chat", say("42"), 200, `"data":42,`)
	r.want("/chat", say(`{"a":[1]}`), 200, `"data":{"a":[1]},`)
	r.want("/chat", say(`null`), 200, `"data":null,`)
	r.want("/chat", say("```json\n{}\n```"), 200, `"data":"`)
	r.want("/chat", say("slow down"), 429, `{"detail":"upstream_chat_error: too many"}`)
	if _, said := r.ask("/chat", say("break")); strings.Contains(said, "10.0.0.1") {
		t.Error(said)
	}
	r.want("/chat", say("break"), 502, "upstream_chat_error")
	r.want("/chat", `{"messages":[{"role":"user","content":"x"}],"model":"other"}`, 404, "does not exist")
	r.want("/lenient", `{"messages":[{"role":"user","content":"x"}],"model":"other"}`, 200, `"model":"rag-answer"`)
	r.want("/chat", `{"messages":[]}`, 400, "messages must be a non-empty array")
	r.want("/chat", `{"messages":[{"content":null}]}`, 422, `["body","messages",0,"content"]`)
}

func TestEmbed(t *testing.T) {
	r := start(t)
	r.want("/embed", `{"texts":["a","b"]}`, 200, `{"ok":true,"vectors":[[1,2],[3,4]],"dim":2}`)
	r.want("/embed", `{"texts":["a"]}`, 502, "embed_error")
	r.want("/embed", `{"texts":[]}`, 502, "input must not be empty")
	r.want("/embed", `{"texts":[`+strings.Repeat(`"a",`, 2048)+`"a"]}`, 422, "too_long")
}

func TestRerank(t *testing.T) {
	r := start(t)
	r.want("/rerank", `{"query":"acme","documents":[""," ","x","acme"],"top_n":1}`, 200, `"results":[{"index":3,"score":`, `"relevance_score":`, `"text":"acme","document":{"text":"acme"}}]`)
	r.want("/rerank", `{"query":"acme","documents":["x","","y"],"model":"m","return_documents":false}`, 200, `"results":[{"index":2,"score":0.9,"relevance_score":0.9},{"index":0,`)
	r.want("/rerank", `{"query":"acme","documents":[""]}`, 502, "rerank_error")
	r.want("/rerank", `{"query":"acme","documents":["a"],"top_n":0}`, 502, "rerank_error")
}

// What an upstream answers that nobody can use is an error, and no vector or order.
func TestUnusable(t *testing.T) {
	r := start(t)
	vectors := func(answer string, status int, part string) {
		t.Helper()
		r.want("/embed", fmt.Sprintf(`{"texts":["answer:%x","b"]}`, answer), status, part)
	}
	f := func(first, second string, status int, part string) {
		t.Helper()
		vectors(`{"data":[`+first+`,`+second+`]}`, status, part)
	}
	f(`{"index":1,"embedding":[3,4e-1]}`, `{"index":0,"embedding":[-1,2]}`, 200, `"vectors":[[-1,2],[3,4e-1]],"dim":2`)
	f(`{"embedding":[1]}`, `{"embedding":[2]}`, 200, `"vectors":[[1],[2]],"dim":1`)
	f(`{"index":0,"embedding":[1,2]}`, `{"index":1,"embedding":[1,null]}`, 502, "embed_error")
	f(`{"index":0,"embedding":[1,2]}`, `{"index":1,"embedding":[1,true]}`, 502, "embed_error")
	f(`{"index":0,"embedding":[1,2]}`, `{"index":1,"embedding":[1,"2"]}`, 502, "embed_error")
	f(`{"index":0,"embedding":[1,2]}`, `{"index":1,"embedding":[]}`, 502, "embed_error")
	f(`{"index":0,"embedding":[]}`, `{"index":1,"embedding":[]}`, 502, "embed_error")
	f(`{"index":0,"embedding":[1,2]}`, `{"index":1,"embedding":[1,2,3]}`, 502, "embed_error")
	f(`{"index":0,"embedding":[1,2]}`, `{"index":0,"embedding":[1,2]}`, 502, "embed_error")
	f(`{"index":0,"embedding":[1,2]}`, `{"index":2,"embedding":[1,2]}`, 502, "embed_error")
	f(`{"index":"1","embedding":[1,2]}`, `{"index":"0","embedding":[3,4]}`, 502, "embed_error")
	f(`{"index":0,"embedding":"AACAPw=="}`, `{"index":1,"embedding":"AACAPw=="}`, 502, "embed_error")
	vectors(`{"data":[{"index":0,"embedding":[1,2]}]}`, 502, "embed_error")
	vectors(`{"error":{"message":"out of memory"}}`, 502, "embed_error")
	vectors(`<html>`, 502, "embed_error")

	scores := func(answer string, status int, part string) {
		t.Helper()
		r.want("/rerank", fmt.Sprintf(`{"query":"answer:%x","documents":["a","b"],"model":"m"}`, answer), status, part)
	}
	const second = `"results":[{"index":1,"score":0.9,`
	scores(`{"results":[{"index":1,"relevance_score":0.9,"document":{"text":"b"}},{"index":0,"relevance_score":0.1,"document":"a"}]}`, 200, second)
	scores(`{"results":[{"index":0,"score":-3},{"index":1,"score":0.9}]}`, 200, second)
	scores(`{"results":[{"index":0,"relevance_score":0.9},{"index":0,"relevance_score":0.1}]}`, 502, "rerank_error")
	scores(`{"results":[{"index":0,"relevance_score":0.9},{"index":1,"relevance_score":null}]}`, 502, "rerank_error")
	scores(`{"results":[{"index":0,"relevance_score":0.9},{"index":1}]}`, 502, "rerank_error")
	scores(`{"results":[{"index":0,"relevance_score":0.9},{"index":1,"relevance_score":"0.1"}]}`, 502, "rerank_error")
	scores(`{"results":[{"index":0,"relevance_score":0.9},{"index":1,"relevance_score":1e99}]}`, 502, "rerank_error")
	scores(`{"results":[{"index":0,"relevance_score":0.9},{"index":2,"relevance_score":0.1}]}`, 502, "rerank_error")
	scores(`{"results":[{"index":0,"relevance_score":0.9}]}`, 502, "rerank_error")
	scores(`{"results":[{"index":0,"score":1},{"index":1,"score":1},{"index":1,"score":2}]}`, 502, "rerank_error")
	scores(`[{"index":1,"score":0.9},{"index":0,"score":0.1}]`, 200, second)
	scores(`[0.1,0.9]`, 502, "rerank_error")
	scores(`{"error":"down"}`, 502, "rerank_error")
}

// What is left alone is not embedded either. Of chunks with one id the last counts.
func TestSkipUnchanged(t *testing.T) {
	r := start(t)
	f := func(mode, chunks string, upserted, skipped, ids int, embedded ...string) {
		t.Helper()
		r.counted.texts = nil
		status, said := r.ask("/index/counted", `{"collection":"kb2","mode":"`+mode+`","chunks":[`+chunks+`]}`)
		want := fmt.Sprintf(`{"ok":true,"upserted":%d,"dim":2,"collection":"kb2_default","skipped":%d,"ids":["`, upserted, skipped)
		if status != 200 || !strings.HasPrefix(said, want) || strings.Count(said, "-") != 4*ids {
			t.Errorf("%d %s", status, said)
		}
		if diff := cmp.Diff(embedded, r.counted.texts); diff != "" {
			t.Error(diff)
		}
	}
	const one, two, three = `{"doc_id":"d","chunk_id":"1","text":"one"}`, `{"doc_id":"d","chunk_id":"2","text":"two"}`, `{"doc_id":"d","chunk_id":"1","text":"three"}`
	f("skip_unchanged", one+","+two, 2, 0, 2, "one", "two")
	f("skip_unchanged", one+","+two, 0, 2, 2)
	f("skip_unchanged", three+","+two, 1, 1, 2, "three")
	f("skip_unchanged", one+","+three, 0, 1, 2)
	f("skip_unchanged", three+","+one, 1, 0, 2, "three", "one")
	f("upsert", one, 1, 0, 1, "one")
}

func TestDocuments(t *testing.T) {
	r := start(t)
	const chunk = `{"collection":"kb","chunks":[{"doc_id":"d","text":"Acme was founded in Taipei","chunk_id":"c","metadata":{"page":1},"entities":["Acme",{"id":"tpe","type":"City","name":"Taipei"}]}]`
	r.want("/index/chunks", chunk+`}`, 200, `{"ok":true,"upserted":1,"dim":64,"collection":"kb_default","skipped":0,"ids":["`, `"errors":[]`)
	r.want("/index/chunks", chunk+`,"mode":"skip_unchanged"}`, 200, `"upserted":0`, `"skipped":1`)
	r.want("/index/chunks", chunk+`}`, 200, `"upserted":1`)
	r.want("/search", `{"query":"Acme","collection":"kb"}`, 200, `"payload":{"doc_id":"d","chunk_id":"c","hash":"`, `"metadata":{"page":1},"tenant_id":"default","text":"Acme was`)
	if _, said := r.ask("/search", `{"query":"Acme","collection":"kb"}`); strings.Count(said, `"id"`) != 1 {
		t.Errorf("indexed again it is there twice: %s", said)
	}
	r.want("/search", `{"query":"Acme","collection":"kb","filters":{"page":2}}`, 200, `"hits":[]`)
	r.want("/search", `{"query":"Acme","collection":"none"}`, 200, `"hits":[]`)
	r.want("/search", `{"query":"Acme","filters":{"must":5}}`, 400, "filters")
	r.want("/search", `{"query":"Acme","top_k":101}`, 422, "less_than_equal")
	r.want("/search", `{"query":"Acme","mode":"fuzzy"}`, 422, "enum")
	r.want("/search", `{"query":" "}`, 400, "query must be non-empty")
	r.want("/delete/graph", `{"doc_id":"d"}`, 200, `"ok":true,"deleted":`, `"detail":null,"errors":null`)
	r.want("/delete/vector", `{"collection":"kb","doc_id":"d"}`, 200, `"deleted":1`)
	r.want("/delete/vector", `{"collection":"kb","doc_id":"d"}`, 200, `"deleted":0`)
	r.want("/delete/vector", `{"collection":"kb","doc_id":""}`, 422, "string_too_short") // it would delete everything
	_, wrong := r.ask("/index/chunks", `{"wait":7,"collection":7,"chunks":[{"text":7},8]}`)
	for _, loc := range []string{`["body","chunks",0,"doc_id"]`, `["body","chunks",0,"text"]`, `["body","chunks",1]`, `["body","collection"]`, `["body","wait"]`} {
		_, behind, ok := strings.Cut(wrong, `"loc":`+loc)
		if !ok {
			t.Errorf("%s is not told behind what comes before it, in %s", loc, wrong)
		}
		wrong = behind
	}
	r.want("/index/chunks", `{"chunks":[]}`, 400, "chunks must be non-empty")
	r.want("/index/chunks", `{"chunks":[{"doc_id":"d","text":"`+strings.Repeat("x", 40<<10)+`"}]}`, 422, "string_too_long")
	r.policy = &pipeline.Policy{Collections: []string{"other"}}
	r.want("/index/chunks", chunk+`}`, 403, "may not use")
	r.want("/search", `{"query":"Acme","collection":"kb"}`, 403, "may not use")
	r.want("/retrieve", `{"query":"Acme","collection":"kb"}`, 403, "may not use")
	r.want("/delete/vector", `{"collection":"kb"}`, 403, "may not use")
}

// A document that is replaced is what the request says of it, in passages and graph, and
// nothing but what has changed is embedded.
func TestReplace(t *testing.T) {
	r := start(t)
	index := func(mode, chunks string, parts ...string) {
		t.Helper()
		r.want("/index/chunks", `{"collection":"kb","mode":"`+mode+`","chunks":[`+chunks+`]}`, 200, parts...)
	}
	const first, second, third = `{"doc_id":"d","text":"one weir","entities":["Ann"]}`, `{"doc_id":"d","text":"two gates","entities":["Bob"]}`, `{"doc_id":"d","chunk_id":"c","text":"three dams","entities":["Cid"]}`
	finds := func(text, doc string, n int) {
		t.Helper()
		_, said := r.ask("/search", `{"query":"`+text+`","collection":"kb","mode":"sparse","filters":{"doc_id":"`+doc+`"}}`)
		if strings.Count(said, `"id"`) != n {
			t.Errorf("%q is found in %s; want it %d times", text, said, n)
		}
	}
	relate := func(deleted string) { // how much of the graph is there, which then is no more
		t.Helper()
		r.want("/delete/graph", `{"doc_id":"d"}`, 200, `"deleted":`+deleted+`,`)
	}
	index("replace", first+","+second+","+third+`,{"doc_id":"e","text":"four mills","entities":["Dan"]}`, `"upserted":4`, `"skipped":0,"deleted":0`)
	relate("6") // three entities, three chunks
	index("replace", first+","+second+","+third, `"upserted":0`, `"skipped":3,"deleted":0`)
	relate("6") // it is noted again
	index("replace", first+","+second+","+third)
	r.want("/graph/upsert", `{"doc_id":"d","data":{"nodes":[{"id":"Ann","type":"P","props":[]},{"id":"Cid","type":"P","props":[]}],"edges":[{"src":"Ann","dst":"Cid","type":"KNOWS","props":[]}]}}`, 200, `"ok":true`)
	index("replace", first+","+second, `"upserted":0`, `"skipped":2,"deleted":1`)
	finds("dams", "d", 0)
	finds("weir", "d", 1)
	finds("mills", "e", 1)
	relate("4")
	index("upsert", third, `"upserted":1`)
	if _, said := r.ask("/index/chunks", `{"collection":"kb","mode":"upsert","chunks":[`+third+`]}`); strings.Contains(said, "deleted") {
		t.Error(said)
	}

	// A document in parts: each has places, and only the last one takes away.
	part := func(from, to int) string {
		var b []string
		for i := from; i < to; i++ {
			b = append(b, fmt.Sprintf(`{"doc_id":"long","index":%d,"text":"part%d"}`, i, i))
		}
		return strings.Join(b, ",")
	}
	index("skip_unchanged", part(0, 3), `"upserted":3`)
	index("replace", part(3, 6), `"upserted":3`, `"deleted":0`)
	index("skip_unchanged", part(0, 3), `"skipped":3`)
	index("replace", part(3, 4)+`,{"doc_id":"long","text":"another"}`, `"upserted":1`, `"skipped":1,"deleted":1`) // without a place it is the next
	finds("part2", "long", 1)
	finds("part4", "long", 0)
	finds("part5", "long", 0)
	finds("another", "long", 1)

	r.want("/index/chunks", `{"chunks":[{"doc_id":"d","text":"x","index":-1}]}`, 422, `"index"`, "greater_than_equal")
	r.want("/index/chunks", `{"chunks":[{"doc_id":"d","text":"x","index":1.5}]}`, 422, "int_from_float")
	r.want("/index/chunks", `{"chunks":[{"doc_id":"d","text":"x"}],"mode":"x"}`, 422, "'replace'")
}

// While nothing can be embedded a document that is replaced stays as it was.
func TestReplaceFails(t *testing.T) {
	r := start(t)
	const old = `{"collection":"kb","mode":"replace","chunks":[{"doc_id":"d","text":"one"},{"doc_id":"d","text":"two"}]}`
	r.want("/index/counted", old, 200, `"upserted":2`)
	r.counted.err = errors.New("out of order")
	r.want("/index/counted", `{"collection":"kb","mode":"replace","chunks":[{"doc_id":"d","text":"three"}]}`, 502, "index_error")
	r.counted.err = nil
	r.want("/index/counted", old, 200, `"upserted":0`, `"skipped":2,"deleted":0`)
}

// What the store refuses leaves the graph of a document alone, and so does indexing it for
// the first time after its relations have come.
func TestReplaceRefused(t *testing.T) {
	r := start(t)
	const relation = `{"doc_id":"d","data":{"nodes":[{"id":"Ann","type":"P","props":[]},{"id":"Bob","type":"P","props":[]}],"edges":[{"src":"Ann","dst":"Bob","type":"KNOWS","props":[]}]}}`
	index := func(text string) string {
		return `{"collection":"kb","mode":"replace","chunks":[{"doc_id":"d","text":"` + text + `"}]}`
	}
	r.want("/index/linked", strings.Replace(index("zero"), `"d"`, `"e"`, 1), 200, `"upserted":1`)
	r.want("/graph/upsert", relation, 200, `"ok":true`)
	r.want("/index/linked", index("one"), 200, `"upserted":1`)
	r.want("/index/chunks", index("two"), 409, "dimensions")
	r.counted.model = "another"
	r.want("/index/linked", index("two"), 409, "are of the model")
	r.want("/delete/graph", `{"doc_id":"d"}`, 200, `"deleted":3`) // the relation and its ends
}

// A client that leaves a search gets no answer, though one leg has found something.
func TestSearchGone(t *testing.T) {
	store := &ragtest.Store{Points: []ragtest.Point{{Tenant: "default", Collection: "chunks", Passage: pipeline.Passage{ID: "p", Text: "apple"}}}}
	s := pipetest.Load(t, Plugins.With(pipetest.Fixed[*ragtest.Store]("kb", store), pipetest.Fixed[*ragtest.Embedder]("slow", &ragtest.Embedder{Delay: time.Minute})), `
stores: { kb: { kb: {} }, slow: { slow: {} } }
routes: [ { match: { path: /search }, chain: [ serve_search: { store: kb, embedder: slow } ] } ]
`)
	ex := pipeline.Acquire(t.Context())
	ex.Request.Header.SetMethod("POST")
	defer ex.Release()
	ex.Request.Body = []byte(`{"query":"apple"}`)
	time.AfterFunc(20*time.Millisecond, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
	if err := s.Routes[0].Chain.Handle(ex.Context(), ex); !errors.Is(err, pipeline.ErrClientGone) {
		t.Errorf("got %v", err)
	}
}

func TestRetrieve(t *testing.T) {
	r := start(t)
	r.want("/retrieve", `{"query":"x"}`, 200,
		`"citations":[{"source":"vector","doc_id":"d","chunk_id":null,"node_id":null,"edge_type":null,"score":0.5}]`,
		`"citations":[{"source":"graph","doc_id":"d","chunk_id":"c","node_id":"acme","edge_type":null,"score":0.5}]`,
		`"subgraph":{"nodes":[{"id":"acme","type":"Company","props":{"name":"Acme"}}],"edges":[]}`,
		`"degraded":["graph:timeout"]`, `"timings":{"embed":0,"graph":0,"rerank":0,"vector":0}`, `"query_time_ms":`)
	r.want("/retrieve", `{"query":"x","include_subgraph":"off"}`, 200, `"subgraph":null`)
	r.want("/retrieve", `{"query":"x","max_hops":0}`, 200, `"subgraph":null`)
	r.want("/retrieve", `{"query":"x","include_text":false}`, 200, `"text":"",`)
	if _, said := r.ask("/retrieve", `{"query":"x","top_k":1}`); strings.Count(said, `"citations"`) != 1 {
		t.Error(said)
	}
	r.want("/retrieve", `{"query":"x","max_hops":4}`, 422, "max_hops")
	r.want("/retrieve", `{"query":"x","mode":"fuzzy"}`, 422, "enum")
	r.want("/retrieve", `{"query":"x","timeout_ms":0,"rerank":{"top_n":0,"model":5},"graph":{"types":"a","max_nodes":0,"max_edges":"x","hub_cap":99999}}`, 422,
		`"loc":["body","timeout_ms"]`, `"loc":["body","rerank","top_n"],"msg":"Input should be greater than or equal to 1","input":0`, `"loc":["body","rerank","model"]`,
		`"type":"list_type","loc":["body","graph","types"]`, `"loc":["body","graph","max_nodes"]`, `"type":"int_parsing","loc":["body","graph","max_edges"]`, `"loc":["body","graph","hub_cap"],"msg":"Input should be less than or equal to 10000"`)
	r.want("/retrieve", `{"query":"x","rerank":true}`, 200, `"degraded":["graph:timeout","rerank:unavailable"]`)
	r.want("/retrieve", `{"query":"x","rerank":"maybe","graph":[]}`, 422, `"bool_parsing"`, `"loc":["body","graph"]`)
	if _, said := r.ask("/retrieve", `{"query":"x","rerank":{"top_n":1}}`); strings.Count(said, `"citations"`) != 1 {
		t.Error(said)
	}
	r.want("/retrieve", `{"query":"options","rerank":{"model":"m","top_n":50},"graph":{"types":["A","B"],"max_nodes":"7","max_edges":8,"hub_cap":9}}`, 200, `{"text":"true 5 m {[A B] 7 8 9}"`)
	r.want("/retrieve", `{"query":"options","rerank":null,"graph":null,"timeout_ms":null}`, 200, `{"text":"false 5  {[] 0 0 0}"`)
	r.want("/retrieve", `{"query":"down"}`, 503, "retrieve_error")
}

func TestGraph(t *testing.T) {
	r := start(t)
	r.want("/graph/upsert", `{"data":{"nodes":[{"id":"a","type":"T","props":[{"key":"k","value":{"x":1}}]}],"edges":[{"src":"a","dst":"zz","type":"R","props":[]}]}}`, 200,
		`{"ok":true,"nodes":1,"edges":0,"skipped_edges":[{"src":"a","dst":"zz","type":"R","props":[]}]}`)
	r.want("/graph/upsert", `{"data":{"nodes":[{"id":"a","type":"A`+"`:`"+`Injected","props":[]}],"edges":[{"src":"a","dst":"a","type":"works at","props":[]}]}}`, 200,
		`{"ok":true,"nodes":1,"edges":1,"skipped_edges":[],"changed_types":{"A`+"`:`"+`Injected":"A_Injected","works at":"works_at"}}`)
	r.want("/graph/upsert", `{"data":{"nodes":[{"id":"a","type":"","props":[]}],"edges":[]}}`, 422, "no type")
	r.want("/graph/upsert", `{"data":{"nodes":[{"id":"a","type":"T"},{"id":"a","type":"T","props":null}],"edges":[{"src":"a","dst":"a","type":"R","props":[{},{"key":"k","value":null}]}]}}`, 422,
		`[{"type":"missing","loc":["body","data","nodes",0,"props"],"msg":"Field required","input":{"id":"a","type":"T"}},{"type":"list_type","loc":["body","data","nodes",1,"props"],`,
		`{"type":"missing","loc":["body","data","edges",0,"props",0,"key"],"msg":"Field required","input":{}},{"type":"missing","loc":["body","data","edges",0,"props",0,"value"],"msg":"Field required","input":{}}]}`)
	for _, path := range []string{"/delete/vector", "/delete/graph"} {
		r.want(path, `{"collection":"kb","doc_id":"none","tenant_id":5}`, 422, `[{"type":"string_type","loc":["body","tenant_id"],`)
		r.want(path, `{"collection":"kb","doc_id":"none","tenant_id":"other"}`, 200, `"deleted":0`)
		r.want(path, `{"collection":"kb","doc_id":"none","docs":[]}`, 200, `"deleted":0`)
		r.want(path, `{"collection":"kb","doc_ids":["none"]}`, 422, `"loc":["body","doc_ids"],"msg":"Extra inputs are not permitted: without doc_id everything would be deleted","input":["none"]}`)
	}
	// What a chunk says is found by way of the chunk, and goes with its document: an
	// entity, and the chunk.
	const found = `{"data":{"nodes":[{"id":"b","type":"T","props":[]}],"edges":[]},"doc_id":"doc","chunk_id":"c","collection":`
	r.want("/graph/upsert", found+`"kb"}`, 200, `"nodes":1`)
	r.want("/delete/graph", `{"doc_id":"doc"}`, 200, `"deleted":2`)
	r.want("/graph/upsert", found+`""}`, 400, "collection")
	r.policy = &pipeline.Policy{Collections: []string{"chunks"}, Scopes: []string{"graph:query"}}
	r.want("/graph/upsert", found+`"kb"}`, 403, "collection")
	r.policy = nil
	// The tenant is the key's, whatever the caller says.
	r.want("/graph/query", `{"query":"RETURN 1","params":{"a\"b":[1],"tenant_id":"other"}}`, 200, `{"ok":true,"records":[{"a\"b":[1],"tenant_id":"default"}]}`)
	r.want("/graph/query", `{"query":"RETURN 1 AS cut"}`, 200, `"truncated":true`)
	r.want("/graph/query", `{"query":"CREATE (n)"}`, 400, `{"detail":"write_or_unsafe_query_not_allowed"}`)
	r.want("/graph/query", `{"query":"CALL db.labels()"}`, 400, "unsafe")
	r.policy = &pipeline.Policy{}
	r.want("/graph/query", `{"query":"RETURN 1"}`, 403, "graph:query")
	r.policy = &pipeline.Policy{Scopes: []string{"graph:query"}}
	r.want("/graph/query", `{"query":"RETURN 1"}`, 200, "records")
}

func TestProbe(t *testing.T) {
	r := start(t)
	say := func(text string) string {
		return `{"model":"m","strict_json":true,"messages":[{"role":"user","content":"` + text + `"}]}`
	}
	r.want("/graph/probe", `{"model":"m"}`, 200, `{"ok":true,"mode":"text","provider":"m","data":null,"text":"Make`)
	r.want("/graph/probe", say(`{}`), 200, `{"ok":true,"mode":"json","provider":"m","data":{},"text":null,"error":null,"raw":null}`)
	r.want("/graph/probe", say(`[1]`), 200, `"ok":false`, `"error":"JSON not an object","raw":"[1]"`)
	r.want("/graph/probe", say(`prose`), 200, `"ok":false`, `"error":"json_parse_error: `)
	r.want("/graph/probe", say(``), 200, `"ok":false`)
	r.want("/graph/probe", say(`slow down`), 429, `{"detail":{"error":"upstream_probe_error","message":"too many","model":"m"}}`)
	r.want("/graph/probe", `{"model":"unknown"}`, 502, "upstream_probe_error")
	r.want("/graph/probe", `{"model":"m","timeout":1.5}`, 422, `"type":"int_from_float"`)
	r.want("/graph/probe", `{"model":"m","timeout":"5"}`, 200, `"ok":true`)
}

// Models that are to answer in JSON are told so in words as well.
func TestJSONHint(t *testing.T) {
	f := func(messages, want string) {
		t.Helper()
		q := &chatRequest{Format: jsonObject}
		for m := range chat.Array([]byte(messages)) {
			q.Messages = append(q.Messages, m)
		}
		q.hint()
		got, err := json.Marshal(q.Messages)
		if err != nil || string(got) != want {
			t.Errorf("%s\nbecame %s %v\nwant   %s", messages, got, err, want)
		}
	}
	f(`[{"role":"user","content":"hi"}]`, `[{"content":"`+jsonHint+`","role":"system"},{"role":"user","content":"hi"}]`)
	f(`[{"role":"system","content":"Be kind."},{"role":"user","content":"hi"}]`, `[{"content":"Be kind.\n\n`+jsonHint+`","role":"system"},{"role":"user","content":"hi"}]`)
	f(`[{"role":"user","content":"as Json"}]`, `[{"role":"user","content":"as Json"}]`)
	f(`[{}]`, `[{"content":"`+jsonHint+`","role":"system"},{}]`)
	r := start(t)
	r.want("/chat", `{"messages":[{"role":"system","content":"x"}],"json_mode":true}`, 200, `"data":"x\n\n`+jsonHint)
	r.want("/graph/probe", `{"model":"m","messages":[{"role":"system","content":"x"}],"strict_json":true}`, 200, `"raw":"x\n\n`+jsonHint)
	q := &chatRequest{Messages: []json.RawMessage{[]byte(`{"role":"user","content":"hi"}`)}}
	if q.hint(); len(q.Messages) != 1 {
		t.Error("who wants no JSON is told of it")
	}
}

func TestProbeTimeout(t *testing.T) {
	h := &probeEndpoint{ProbeConfig: ProbeConfig{MaxTimeout: 5 * time.Minute}}
	f := func(seconds int, want time.Duration) {
		t.Helper()
		if got := h.bound(seconds); got != want {
			t.Errorf("%v seconds: %v, want %v", seconds, got, want)
		}
	}
	f(-1, time.Second)
	f(2, 2*time.Second)
	f(300, 5*time.Minute)
	f(1e9, 5*time.Minute) // the most that is read
}

func TestWhoami(t *testing.T) {
	r := start(t)
	r.want("/whoami", ``, 200, `"entrypoints":["graph-extractor","rag-answer"]`, `"schema_hash":"`, `"graph_defaults":{"min_nodes":1`, `"tenant":"default"`)
}

// Without stores every endpoint says so.
func TestWithoutStores(t *testing.T) {
	f := func(c config.Builder[pipeline.Handler], body string) {
		t.Helper()
		h, err := c.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		ex := pipeline.Acquire(t.Context())
		ex.Request.Header.SetMethod("POST")
		defer ex.Release()
		ex.Request.Body = []byte(body)
		if e, ok := errors.AsType[*pipeline.Error](h.Handle(ex.Context(), ex, nil)); !ok || e.Status != 503 || e.Code != "store_unavailable" || e.RetryAfter == 0 {
			t.Errorf("%T: %v", c, e)
		}
	}
	f(SearchConfig{Collection: "c", TopK: 1, Mode: "hybrid"}, `{"query":"x"}`)
	f(RetrieveConfig{Collection: "c", TopK: 1}, `{"query":"x"}`)
	f(IndexConfig{Collection: "c", MaxChunks: 9, MaxText: 99}, `{"chunks":[{"doc_id":"d","text":"x"}]}`)
	f(UpsertConfig{Collection: "chunks"}, `{"data":{"nodes":[],"edges":[]}}`)
	f(QueryConfig{}, `{"query":"RETURN 1"}`)
	f(DeleteVectorConfig{}, `{"collection":"c"}`)
	f(DeleteGraphConfig{}, `{}`)
}

// Nobody waits for the model of somebody else's chunks, and what has changed while it was
// asked is looked at again.
func TestModelHoldsNobody(t *testing.T) {
	for _, mode := range []string{"upsert", "skip_unchanged", "replace"} {
		r := start(t)
		r.want("/index/counted", `{"collection":"kb","chunks":[{"doc_id":"d","text":"one"}]}`, 200, `"upserted":1`)
		r.counted.during = func() {
			deleted := make(chan struct{})
			go func() {
				defer close(deleted)
				r.want("/delete/vector", `{"collection":"kb"}`, 200, `"deleted":1`)
			}()
			select {
			case <-deleted:
			case <-time.After(10 * time.Second):
				t.Errorf("%s: whoever deletes waits for the model", mode)
			}
		}
		// What was there when the model was asked is not there any more.
		r.want("/index/counted", `{"collection":"kb","mode":"`+mode+`","chunks":[{"doc_id":"d","text":"one"},{"doc_id":"d","text":"two"}]}`, 200, `"upserted":2`)
		if n := len(r.counted.texts); n != 3 {
			t.Errorf("%s: %d vectors were made of 2 texts, one of them twice: %q", mode, n, r.counted.texts)
		}
	}
}

// Whoever replaces one document at the same time as others do leaves it as one of them
// has sent it.
func TestReplaceAtOnce(t *testing.T) {
	r := start(t)
	chunks := func(v int) string {
		var b []string
		for i := range v%7 + 1 {
			text := fmt.Sprintf("mill v%d p%d", v, i)
			if i%3 == 1 {
				text = fmt.Sprintf("mill p%d", i) // in all of them
			}
			b = append(b, fmt.Sprintf(`{"doc_id":"d","text":"%s","entities":["e%d"]}`, text, v))
		}
		return strings.Join(b, ",")
	}
	for round := range 10 {
		var all sync.WaitGroup
		for v := range 8 {
			all.Go(func() {
				r.want("/index/chunks", `{"collection":"kb","mode":"replace","chunks":[`+chunks(8*round+v)+`]}`, 200, `"ok":true`)
			})
		}
		all.Go(func() { r.want("/delete/vector", `{"collection":"kb","doc_id":"d"}`, 200, `"ok":true`) })
		all.Go(func() { r.want("/delete/vector", `{"collection":"kb"}`, 200, `"ok":true`) })
		all.Wait()
		_, said := r.ask("/search", `{"query":"mill","collection":"kb","mode":"sparse","top_k":100}`)
		var left struct {
			Hits []struct{ Payload struct{ Text string } }
		}
		if err := json.Unmarshal([]byte(said), &left); err != nil {
			t.Fatal(err)
		}
		whole := len(left.Hits) == 0
		for v := range 8 {
			text := chunks(8*round + v)
			same := strings.Count(text, `"text"`) == len(left.Hits)
			for _, h := range left.Hits {
				same = same && strings.Contains(text, `"`+h.Payload.Text+`"`)
			}
			whole = whole || same
		}
		if !whole {
			t.Fatalf("nobody has sent %+v", left)
		}
	}
}
