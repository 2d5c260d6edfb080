package cache

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// Pairs of requests, and whether the second may have the first one's answer.
func TestSameness(t *testing.T) {
	f := func(same bool, a, b request) {
		t.Helper()
		g := newGateway(t, "{ vary: [ X-Flavour ] }")
		g.ask(t, a)
		if got := g.ask(t, b); (got.cache == "hit") != same {
			t.Errorf("the second request got a %s", got.cache)
		}
		if got := g.ask(t, a); got.cache != "hit" {
			t.Errorf("the first request got a %s when repeated", got.cache)
		}
	}
	bodies := func(same bool, a, b string) {
		t.Helper()
		f(same, body(a), body(b))
	}
	bodies(true, `{"model":"m","messages":[]}`, `{"model":"m","messages":[]}`)
	bodies(true, `{"model":"m","messages":[]}`, " {\n \"messages\" : [ ] , \"model\":\"m\" } ")
	bodies(true, `{"model":"m"}`, `{"model":"m","user":"u","metadata":{"a":1},"store":false,"cache":{"ttl":5},"safety_identifier":"s","prompt_cache_key":"k"}`)
	bodies(true, `{"model":"m"}`, `{"model":"m","stream":false}`)
	bodies(true, `{"model":"m","stream":true}`, `{"stream": true,"model":"m"}`)
	bodies(false, `{"model":"m"}`, `{"model":"m","stream":true}`)
	bodies(false, `{"model":"m"}`, `{"model":"n"}`)
	bodies(false, `{"stream":true}`, `{"stream":true,"stream_options":{"include_usage":true}}`)
	for _, extra := range []string{`"temperature":0`, `"seed":1`, `"n":2`, `"tools":[]`, `"x_unknown":null`, `"service_tier":"flex"`, `"cacheX":{}`, `"users":"u"`} {
		bodies(false, `{"model":"m"}`, `{"model":"m",`+extra+`}`)
	}
	bodies(false, `{"temperature":1}`, `{"temperature":1.0}`) // the same number, but let nobody rely on that
	bodies(false, `{"a":"b "}`, `{"a":"b"}`)                  // white space within a text
	bodies(false, `{"a":["x","y"]}`, `{"a":["y","x"]}`)
	bodies(false, `{"a":{"b":1,"c":2}}`, `{"a":{"c":2,"b":1}}`) // order within reaches the model
	bodies(false, `{"a":"b","c":"d"}`, `{"a":"b,c:d"}`)
	bodies(false, `{"cache":{"namespace":"a"}}`, `{"cache":{"namespace":"b"}}`)

	set := func(change func(*pipeline.Exchange)) request { return change }
	plain := set(func(*pipeline.Exchange) {})
	f(true, with("X-Request-Id", "1"), with("X-Request-Id", "2"))
	f(true, with("Authorization", "Bearer a"), with("Authorization", "Bearer b")) // the tenant decides
	f(true, plain, with("User-Agent", "x"))
	for _, h := range []string{"OpenAI-Beta", "OpenAI-Organization", "OpenAI-Project", "X-RAG", "X-Headrace-Skip", "X-Flavour"} {
		f(false, plain, with(h, "a"))
		f(false, with(h, "a"), with(h, "b"))
		f(false, with(h, "ab"), func(ex *pipeline.Exchange) { with(h, "a")(ex); with(h, "b")(ex) })
	}
	f(false, with("OpenAI-Project", "a"), with("OpenAI-Organization", "a"))
	f(false, plain, func(ex *pipeline.Exchange) { ex.Tenant = "acme" })
	f(false, func(ex *pipeline.Exchange) { ex.Tenant = "acme" }, func(ex *pipeline.Exchange) { ex.Tenant = "acm"; ex.Route = "e" })
	f(false, plain, func(ex *pipeline.Exchange) { ex.Route = "other" })
	f(false, plain, func(ex *pipeline.Exchange) { ex.Op = pipeline.OpCompletions })
	f(false, plain, func(ex *pipeline.Exchange) { ex.Request.Header.SetRequestURI("/v1/chat/completions?api-version=2") })

	m := &pipeline.Model{Name: "*", Targets: []*pipeline.Target{{Name: "a"}, {Name: "b"}}}
	n := &pipeline.Model{Name: "*", Targets: []*pipeline.Target{{Name: "a"}, {Name: "c"}}}
	model := func(m *pipeline.Model, targets ...*pipeline.Target) request {
		return func(ex *pipeline.Exchange) { ex.Model, ex.Targets = m, targets }
	}
	f(true, model(m, m.Targets[0], m.Targets[1]), model(m, m.Targets[1], m.Targets[0])) // whoever is asked first
	f(false, model(m, m.Targets...), model(n, n.Targets...))
	f(false, model(nil, m.Targets...), model(nil, n.Targets...))
	f(false, model(nil, &pipeline.Target{Name: "a", Model: "x"}), model(nil, &pipeline.Target{Name: "a", Model: "y"}))

	found := func(p ...pipeline.Passage) request {
		return func(ex *pipeline.Exchange) { ex.Passages = append(ex.Passages, p...) }
	}
	a, b := pipeline.Passage{ID: "1", Text: "a"}, pipeline.Passage{ID: "2", Text: "b"}
	f(true, found(a, b), found(a, b))
	f(true, found(a), found(pipeline.Passage{ID: "1", Text: "a", Index: 3}))
	f(false, found(a, b), found(b, a))
	f(false, found(a), found())
	f(false, found(a), found(pipeline.Passage{ID: "1", Text: "changed"}))
	f(false, found(pipeline.Passage{ID: "ab"}), found(pipeline.Passage{ID: "a", Text: "b"}))
	f(false, found(a), found(pipeline.Passage{ID: "1", Text: "a", DocID: "d"}))
	f(false, found(a), found(pipeline.Passage{ID: "1", Text: "a", Metadata: []byte(`{"m":1}`)}))

	retrieved := func(change func(*pipeline.Retrieval)) request {
		return func(ex *pipeline.Exchange) {
			ex.Retrieval = &pipeline.Retrieval{Collection: "c", Graph: pipeline.Subgraph{
				Entities:  []pipeline.Entity{{ID: "e", Type: "t", Name: "n", Props: []pipeline.Prop{{Key: "k", Value: []byte("1")}}}},
				Relations: []pipeline.Relation{{Src: "s", Type: "t", Dst: "d", Props: []pipeline.Prop{{Key: "k", Value: []byte("1")}}}},
			}}
			change(ex.Retrieval)
		}
	}
	mill := retrieved(func(*pipeline.Retrieval) {})
	f(true, mill, mill)
	f(true, mill, retrieved(func(r *pipeline.Retrieval) { r.Query, r.ContextID = "asked otherwise", "x" }))
	f(false, plain, mill)
	f(false, plain, func(ex *pipeline.Exchange) { ex.Retrieval = new(pipeline.Retrieval) })
	for _, change := range []func(r *pipeline.Retrieval, e *pipeline.Entity, l *pipeline.Relation){
		func(r *pipeline.Retrieval, _ *pipeline.Entity, _ *pipeline.Relation) { r.Collection = "x" },
		func(r *pipeline.Retrieval, _ *pipeline.Entity, _ *pipeline.Relation) { r.Graph.Entities = nil },
		func(r *pipeline.Retrieval, _ *pipeline.Entity, _ *pipeline.Relation) { r.Graph.Relations = nil },
		func(_ *pipeline.Retrieval, e *pipeline.Entity, _ *pipeline.Relation) { e.ID = "x" },
		func(_ *pipeline.Retrieval, e *pipeline.Entity, _ *pipeline.Relation) { e.Type = "x" },
		func(_ *pipeline.Retrieval, e *pipeline.Entity, _ *pipeline.Relation) { e.Name = "x" },
		func(_ *pipeline.Retrieval, e *pipeline.Entity, _ *pipeline.Relation) { e.Props[0].Key = "x" },
		func(_ *pipeline.Retrieval, e *pipeline.Entity, _ *pipeline.Relation) { e.Props[0].Value = []byte("2") },
		func(_ *pipeline.Retrieval, e *pipeline.Entity, _ *pipeline.Relation) { e.Props = nil },
		func(_ *pipeline.Retrieval, _ *pipeline.Entity, l *pipeline.Relation) { l.Src = "x" },
		func(_ *pipeline.Retrieval, _ *pipeline.Entity, l *pipeline.Relation) { l.Type = "x" },
		func(_ *pipeline.Retrieval, _ *pipeline.Entity, l *pipeline.Relation) { l.Dst = "x" },
		func(_ *pipeline.Retrieval, _ *pipeline.Entity, l *pipeline.Relation) { l.Props[0].Value = []byte("2") },
		func(_ *pipeline.Retrieval, _ *pipeline.Entity, l *pipeline.Relation) { l.Src, l.Dst = "d", "s" },
	} {
		f(false, mill, retrieved(func(r *pipeline.Retrieval) { change(r, &r.Graph.Entities[0], &r.Graph.Relations[0]) }))
	}
}

// Tenants that ask the same at the same time, from one cache, never see an
// answer that was made for another.
func TestTenantsNeverShare(t *testing.T) {
	g := newGateway(t, "{ max: 128KiB }") // small, so that entries come and go
	g.answer = func(ex *pipeline.Exchange) error {
		r, err := ex.Chat()
		if err != nil {
			return err
		}
		q, _ := r.Member("q")
		text := fmt.Sprintf(`{"for":%q,"q":%s,"pad":%q}`, ex.Tenant, q, strings.Repeat("x", 2000))
		if r.Stream() {
			return streams(sseType, io.EOF, "data: "+text+"\n\n", last)(ex)
		}
		return whole(200, text)(ex)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		tenant := string(rune('a' + i))
		wg.Go(func() {
			hits := 0
			for n := range 400 {
				q := n * n % 20
				stream := n%2 == 0
				got := g.ask(t, body(fmt.Sprintf(`{"q":%d,"stream":%v}`, q, stream)), func(ex *pipeline.Exchange) { ex.Tenant = tenant })
				if want := fmt.Sprintf(`{"for":%q,"q":%d,`, tenant, q); !strings.Contains(got.body, want) || strings.HasPrefix(got.body, "data:") != stream {
					t.Errorf("tenant %s asked %d and got %.60s", tenant, q, got.body)
				}
				if got.cache == "hit" {
					hits++
				}
			}
			if hits == 0 {
				t.Error("no hit at all")
			}
		})
	}
	wg.Wait()
}

// A reload keeps the store. What a provider's name stands for is part of the
// key, so that another upstream's answers are not taken for this one's.
func TestReload(t *testing.T) {
	reg := config.Registry{
		Plugin, pipetest.Fixed[pipeline.CacheStore]("keeps", &flaky{values: map[pipeline.Key][]byte{}}),
		config.Define[pipeline.Provider]("says", says{}, "package p"),
	}
	var old *config.Snapshot
	f := func(text, wantCache, wantBody string) {
		t.Helper()
		s, err := config.Load(t.Context(), config.Source{File: "test.yaml", Data: []byte(
			"providers: { p: { says: { text: " + text + " } } }\nstores: { kept: { keeps: {} } }\nmodels: { \"*\": [ { provider: p } ] }\n" +
				"routes: [ { name: test, match: { path: /v1/* }, chain: [ cache: { store: kept } ] } ]\n")}, reg, nil, old)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Release)
		old = s
		ex := newRequest()
		defer ex.Release()
		ex.Model = s.Models.Any()
		ex.Target = ex.Model.Targets[0]
		if err := append(s.Routes[0].Chain[:1:1], pipeline.CallTarget).Handle(ex.Context(), ex); err != nil {
			t.Fatal(err)
		}
		got, _ := ex.Response.Whole()
		if cache := string(ex.Response.Header.Peek(header)); cache != wantCache || string(got) != wantBody {
			t.Errorf("%s: %s %s; want %s %s", text, cache, got, wantCache, wantBody)
		}
	}
	f("a", "miss", `{"text":"a"}`)
	f("a", "hit", `{"text":"a"}`)
	f("b", "miss", `{"text":"b"}`)
	f("a", "hit", `{"text":"a"}`)
}

type says struct {
	Text string `yaml:"text"`
}

func (s says) Build(context.Context, config.Env) (pipeline.Provider, error) { return s, nil }

func (s says) Call(_ context.Context, ex *pipeline.Exchange) error {
	ex.Response.Header.SetContentType("application/json")
	ex.Response.SetBody(fmt.Appendf(nil, `{"text":%q}`, s.Text))
	return nil
}
