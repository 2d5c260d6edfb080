package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// A gateway is the stage as a file sets it up, in front of an upstream that
// answers with what its test sets.
type gateway struct {
	chain  pipeline.Chain
	answer func(ex *pipeline.Exchange) error
	store  *flaky // in use if the settings name store: flaky
	loaded *config.Snapshot
	log    *bytes.Buffer

	mu    sync.Mutex
	calls int
}

func newGateway(t testing.TB, settings string) *gateway {
	t.Helper()
	g := &gateway{answer: whole(200, `{"n":1}`), store: &flaky{values: map[pipeline.Key][]byte{}}, log: new(bytes.Buffer)}
	file := "stores:\n  flaky: { flaky: {} }\nroutes:\n  - name: test\n    match: { path: /v1/* }\n    chain:\n      - cache: " + settings + "\n"
	reg := config.Registry{Plugin, config.Define[pipeline.CacheStore]("flaky", storeConfig{g.store}, "package p")}
	s, err := config.Load(context.Background(), config.Source{File: "test.yaml", Data: []byte(file)}, reg, slog.New(slog.NewTextHandler(g.log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	g.loaded = s
	g.chain = append(s.Routes[0].Chain[:1:1], pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		g.mu.Lock()
		g.calls++
		g.mu.Unlock()
		return g.answer(ex)
	}))
	return g
}

// flaky is a store that fails when it is told to.
type flaky struct {
	values   map[pipeline.Key][]byte
	ttl      time.Duration
	get, set error
}

type storeConfig struct{ store *flaky }

func (c storeConfig) Build(context.Context, config.Env) (pipeline.CacheStore, error) {
	return c.store, nil
}

func (f *flaky) Get(_ context.Context, key pipeline.Key) ([]byte, bool, error) {
	v, ok := f.values[key]
	return v, ok && f.get == nil, f.get
}

func (f *flaky) Set(_ context.Context, key pipeline.Key, v []byte, ttl time.Duration) error {
	if f.ttl = ttl; f.set == nil {
		f.values[key] = v
	}
	return f.set
}

// A request is a chat completion, unless a test changes it.
type request func(*pipeline.Exchange)

func body(b string) request { return func(ex *pipeline.Exchange) { ex.Request.Body = []byte(b) } }

func with(name, value string) request {
	return func(ex *pipeline.Exchange) { ex.Request.Header.Add(name, value) }
}

// A reply is what the client sees.
type reply struct {
	body, cache, age, kind string
	err                    error
	whole                  bool // in one piece, with nothing wrapped around it
}

// ask makes one request and reads the whole answer.
func (g *gateway) ask(t *testing.T, changes ...request) reply {
	t.Helper()
	ex := newRequest(changes...)
	defer ex.Release()
	if err := g.chain.Handle(ex.Context(), ex); err != nil {
		return reply{err: err}
	}
	h := &ex.Response.Header
	r := reply{cache: string(h.Peek(header)), age: string(h.Peek("Age")), kind: string(h.ContentType())}
	_, r.whole = ex.Response.Whole()
	var b strings.Builder
	for {
		frame, err := ex.Response.Body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			r.err = err
			break
		}
		b.Write(frame)
	}
	r.body = b.String()
	return r
}

func newRequest(changes ...request) *pipeline.Exchange {
	ex := pipeline.Acquire(context.Background())
	ex.Op = pipeline.OpChat
	ex.Request.Header.SetMethod("POST")
	ex.Request.Header.SetRequestURI("/v1/chat/completions")
	ex.Request.Body = []byte(`{"model":"m","messages":[]}`)
	for _, c := range changes {
		c(ex)
	}
	return ex
}

// frames is a stream whose frames turn into garbage once the next is asked for.
type frames struct {
	left []string
	end  error
	b    []byte
}

func (f *frames) Next() ([]byte, error) {
	for i := range f.b {
		f.b[i] = 0xDB
	}
	if len(f.left) == 0 {
		return nil, f.end
	}
	f.b = append(f.b[:0], f.left[0]...)
	f.left = f.left[1:]
	return f.b, nil
}

func (f *frames) Close() error {
	for i := range f.b {
		f.b[i] = 0xDB
	}
	return nil
}

// The ways to answer.
func whole(status int, body string) func(*pipeline.Exchange) error {
	return func(ex *pipeline.Exchange) error {
		ex.Response.Header.SetStatusCode(status)
		ex.Response.Header.SetContentType("application/json")
		ex.Response.SetBody([]byte(body))
		return nil
	}
}

func streams(kind string, end error, left ...string) func(*pipeline.Exchange) error {
	return func(ex *pipeline.Exchange) error {
		ex.Response.Header.SetStatusCode(200)
		ex.Response.Header.SetContentType(kind)
		ex.Response.Header.SetContentLength(-1)
		ex.Response.Body = &frames{left: left, end: end}
		return nil
	}
}

const (
	sseType = "text/event-stream; charset=utf-8"
	first   = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
	second  = ": ping\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n"
	last    = "data: [DONE]\n\n"
)

func TestHit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "{ ttl: 10m }")
		g.answer = func(ex *pipeline.Exchange) error {
			ex.Response.Header.Set("Set-Cookie", "who=you")
			ex.Response.Header.Set("X-Request-Id", "first")
			ex.Response.Header.Set("X-RAG-Sources", "1=doc")
			return whole(200, `{"n":1}`)(ex)
		}
		f := func(want reply, calls int) {
			t.Helper()
			if got := g.ask(t); got != want || g.calls != calls {
				t.Fatalf("got %+v after %d calls\nwant %+v after %d", got, g.calls, want, calls)
			}
		}
		fresh := reply{body: `{"n":1}`, cache: "miss", kind: "application/json", whole: true}
		f(fresh, 1)
		again := reply{body: `{"n":1}`, cache: "hit", age: "0", kind: "application/json", whole: true}
		f(again, 1)
		time.Sleep(90 * time.Second)
		again.age = "90"
		f(again, 1)
		ex := newRequest()
		if err := g.chain.Handle(ex.Context(), ex); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"Set-Cookie": "", "X-Request-Id": "", "X-RAG-Sources": "1=doc", "Content-Length": "7"} {
			if got := string(ex.Response.Header.Peek(name)); got != want {
				t.Errorf("%s: %q on a hit; want %q", name, got, want)
			}
		}
		ex.Release()
		time.Sleep(9 * time.Minute)
		f(fresh, 2)
	})
}

func TestErrorsPassThrough(t *testing.T) {
	g := newGateway(t, "{}")
	want := errors.New("no upstream")
	g.answer = func(*pipeline.Exchange) error { return want }
	for range 2 {
		if got := g.ask(t); got.err != want {
			t.Fatalf("got %+v", got)
		}
	}
	if got := g.ask(t, body(`{"model":`)); got.err == nil || errors.Is(got.err, want) || g.calls != 2 {
		t.Errorf("a body that is no JSON: %+v", got)
	}
}

func TestLeftAlone(t *testing.T) {
	f := func(settings string, changes ...request) {
		t.Helper()
		g := newGateway(t, settings)
		for range 2 {
			if got := g.ask(t, changes...); got.cache != "bypass" || got.err != nil {
				t.Errorf("%s: %+v", settings, got)
			}
		}
		if g.calls != 2 {
			t.Errorf("%s: %d calls", settings, g.calls)
		}
	}
	f("{}", func(ex *pipeline.Exchange) { ex.Op = pipeline.OpResponses })
	f("{}", func(ex *pipeline.Exchange) { ex.Op = pipeline.OpOther; ex.Request.Body = nil })
	f("{}", func(ex *pipeline.Exchange) { ex.Request.Upload = strings.NewReader("{}") })
	f("{}", func(ex *pipeline.Exchange) { ex.Request.Header.SetMethod("GET") })
	f("{}", func(ex *pipeline.Exchange) { ex.SetSkip([]byte("race, Cache")) })
	f("{}", body(`{"model":"m","store":true}`))
	f("{}", body(`{"model":"m","stream":"yes"}`))
	f("{ ops: [ embeddings ] }")
	f("{ opt_in: true }")
	f("{ opt_in: true }", body(`{"cache":{"use-cache":false}}`))
	f("{ max_temperature: 0.2 }", body(`{"model":"m"}`))
	f("{ max_temperature: 0.2 }", body(`{"model":"m","temperature":0.3}`))
	f("{ max_temperature: 0.2 }", body(`{"model":"m","temperature":"0"}`))
	f("{}", with("Cache-Control", "no-store"))
}

func TestTakenIn(t *testing.T) {
	f := func(settings string, changes ...request) {
		t.Helper()
		g := newGateway(t, settings)
		g.answer = whole(200, `{"data":[{"embedding":[1]}]}`)
		g.ask(t, changes...)
		if got := g.ask(t, changes...); got.cache != "hit" || g.calls != 1 {
			t.Errorf("%s: %+v after %d calls", settings, got, g.calls)
		}
	}
	f("{ opt_in: true }", body(`{"cache":{"use-cache":true}}`))
	f("{ max_temperature: 0.2 }", body(`{"model":"m","temperature":0.2}`))
	f("{ max_temperature: 0 }", body(`{"model":"m","temperature":0}`))
	f("{ max_temperature: 0 }", func(ex *pipeline.Exchange) { ex.Op = pipeline.OpEmbeddings })
	f("{}", body(`{"model":"m","store":false}`))
	f("{}", body(`{"model":"m","store":null,"stream":null}`))
	f("{ ops: [ rerank ] }", func(ex *pipeline.Exchange) { ex.Op = pipeline.OpRerank })
	f("{ store: flaky }")
}

func TestProblems(t *testing.T) {
	f := func(settings, want string) {
		t.Helper()
		file := "routes:\n  - name: test\n    match: { path: /v1/* }\n    chain:\n      - cache: " + settings + "\n"
		err := config.Check(config.Source{File: "test.yaml", Data: []byte(file)}, config.Registry{Plugin})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", settings, err, want)
		}
	}
	f("{ ops: [] }", "ops is empty, so that nothing would be kept")
	f("{ ops: [ chat, responses ] }", "one of chat, completions, embeddings, rerank")
	f("{ ttl: 48h }", "raise max_ttl")
	f("{ ttl: 0s }", "must be at least 1s")
	f("{ store: answers }", "answers")
}

// Each request is counted once, by what its answer says of the cache, and each
// fresh answer that might have been kept by what became of it.
func TestMetrics(t *testing.T) {
	g := newGateway(t, "{ store: flaky, max_entry: 1KiB }")
	n := 0
	f := func(answer func(*pipeline.Exchange) error, want string, changes ...request) {
		t.Helper()
		n++
		before := pipetest.Metrics(t, g.loaded)
		g.answer = answer
		g.ask(t, append([]request{body(fmt.Sprintf(`{"n":%d}`, n))}, changes...)...)
		var got []string
		for name, v := range pipetest.Metrics(t, g.loaded) {
			if v != before[name] {
				got = append(got, fmt.Sprintf("%s +%v", strings.TrimPrefix(name, "headrace_cache_"), v-before[name]))
			}
		}
		slices.Sort(got)
		if strings.Join(got, ", ") != want {
			t.Errorf("request %d counted %q, want %q", n, got, want)
		}
	}
	good := whole(200, `{"n":1}`)
	same := body(`{"same":1}`)
	f(good, "answers_total stored +1, requests_total miss +1", same)
	f(good, "requests_total hit +1", same)
	f(good, "answers_total stored +1, requests_total bypass +1", same, with("Cache-Control", "no-cache"))
	f(good, "requests_total bypass +1", same, with("Cache-Control", "no-store"))
	f(good, "requests_total miss +1", same, body(`{"cache":{"no-store":true}}`))
	f(good, "requests_total bypass +1", func(ex *pipeline.Exchange) { ex.Op = pipeline.OpModels })
	f(streams(sseType, io.EOF, first, last), "answers_total stored +1, requests_total miss +1")
	f(streams(sseType, io.EOF, first), "answers_total unfit +1, requests_total miss +1")
	f(streams(sseType, io.EOF, strings.Repeat(first, 100), last), "answers_total unfit +1, requests_total miss +1")
	f(whole(500, `{}`), "answers_total unfit +1, requests_total miss +1")
	g.store.set = errors.New("full")
	f(good, "answers_total failed +1, requests_total miss +1")
	g.store.set, g.store.get = nil, errors.New("down")
	f(good, "answers_total failed +1, answers_total stored +1, requests_total miss +1")
}
