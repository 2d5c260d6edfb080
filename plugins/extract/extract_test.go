package extract

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/pipetest"
)

const good = `{"nodes":[{"id":"a"},{"id":"b"}],"edges":[{"src":"a","dst":"b"}]}`

// A model answers the n-th time, after a while, with text, or with a status.
type model struct {
	after  time.Duration
	says   []string // by call; the last for all further ones
	status int
	wait   string // Retry-After
	// refuses, if set, are the formats that the status is for; others are answered.
	refuses []string

	mu        sync.Mutex
	asked     []string // the bodies
	cancelled atomic.Int32
}

// Call implements pipeline.Provider.
func (m *model) Call(ctx context.Context, ex *pipeline.Exchange) error {
	m.mu.Lock()
	n := len(m.asked)
	m.asked = append(m.asked, string(ex.Request.Body))
	m.mu.Unlock()
	select {
	case <-time.After(m.after):
	case <-ctx.Done():
		m.cancelled.Add(1)
		return pipeline.Cause(ctx)
	}
	ex.Response.Header.SetContentType("application/json")
	if m.status != 0 && (m.refuses == nil || slices.ContainsFunc(m.refuses, func(f string) bool {
		return strings.Contains(string(ex.Request.Body), `"type":"`+f+`"`) || f == "text" && !strings.Contains(string(ex.Request.Body), "response_format")
	})) {
		ex.Response.Header.SetStatusCode(m.status)
		if m.wait != "" {
			ex.Response.Header.Set("Retry-After", m.wait)
		}
		ex.Response.Fault = pipeline.FaultOfStatus(m.status)
		ex.Response.SetBody([]byte(`{"error":{"message":"secret words of the upstream"}}`))
		return nil
	}
	says := m.says[min(n, len(m.says)-1)]
	ex.Response.Header.SetStatusCode(200)
	ex.Response.SetBody(append(append([]byte(`{"model":"upstream-name","choices":[{"message":{"content":`), chat.AppendString(nil, says)...), `}}]}`...))
	return nil
}

// asks sends one request to models called m0, m1 and so on.
func asks(t *testing.T, body string, models ...*model) (status int, answer map[string]any) {
	t.Helper()
	h := handlerWith(t, func(*Config) {})
	var list []*pipeline.Model
	for i, m := range models {
		list = append(list, modelOf("m"+string(rune('0'+i)), i, m))
	}
	status, answer = sends(t, h, body, list)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	return status, answer
}

// asksOf sends one request to one model.
func asksOf(t *testing.T, h *handler, body, name string, m *model) (status int, answer map[string]any) {
	t.Helper()
	return sends(t, h, body, []*pipeline.Model{modelOf(name, 0, m)})
}

func modelOf(name string, i int, m *model) *pipeline.Model {
	return &pipeline.Model{Name: name, Targets: []*pipeline.Target{{Index: i, Name: "t", Provider: m}}}
}

func handlerWith(t *testing.T, change func(*Config)) *handler {
	t.Helper()
	c := Config{
		Mode: "race", After: 500 * time.Millisecond, MinNodes: 1, MinEdges: 1, MaxAttempts: 2, Format: "json_object",
		MaxContext: 1 << 10, AtOnce: 4, Chain: []string{"m0", "m1", "m2"},
	}
	change(&c)
	built, err := c.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return built.(*handler)
}

func sends(t *testing.T, h *handler, body string, list []*pipeline.Model) (status int, answer map[string]any) {
	t.Helper()
	ex := pipeline.Acquire(t.Context())
	defer ex.Release()
	ex.Models = pipeline.NewModels(list)
	ex.Request.Body = []byte(body)
	call := pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		ex.Target = ex.Targets[0]
		return pipeline.CallTarget.Handle(ctx, ex, nil)
	})
	err := h.Handle(ex.Context(), ex, pipeline.Chain{call})
	raw, wait := []byte(nil), time.Duration(0)
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		status, raw = h.Refuse(e)
		wait = e.RetryAfter
	} else if err != nil {
		t.Fatal(err)
	} else {
		status, raw = ex.Response.Header.StatusCode(), []byte(pipetest.ReadAll(t, ex))
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatal(err)
	}
	if wait > 0 {
		answer["Retry-After"] = wait.Seconds()
	}
	return status, answer
}

func TestTheFirstAcceptableAnswerWinsAtOnce(t *testing.T) {
	f := func(mode string, took time.Duration, calls ...int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			models := []*model{
				{after: 300 * time.Millisecond, says: []string{good}},
				{after: 100 * time.Millisecond, says: []string{good}},
				{after: 2 * time.Second, says: []string{good}},
			}
			began := time.Now()
			status, answer := asks(t, `{"context":"x","mode":"`+mode+`"}`, models...)
			// Close has waited for the losers: they must have stopped at once.
			if got := time.Since(began); got != took || status != 200 || answer["provider"] != "upstream-name" {
				t.Errorf("%s took %v: %d %v", mode, got, status, answer)
			}
			for i, m := range models {
				if len(m.asked) != calls[i] {
					t.Errorf("%s asked m%d %d times, want %d", mode, i, len(m.asked), calls[i])
				}
			}
			if mode == "race" && (models[0].cancelled.Load() != 1 || models[2].cancelled.Load() != 1) {
				t.Error("the losers were not cancelled")
			}
		})
	}
	f("race", 100*time.Millisecond, 1, 1, 1)
	f("hedge", 300*time.Millisecond, 1, 0, 0)
	f("chain", 300*time.Millisecond, 1, 0, 0)
}

func TestHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, bad, third := &model{after: 5 * time.Second, says: []string{good}}, &model{status: 500}, &model{after: 100 * time.Millisecond, says: []string{good}}
		began := time.Now()
		status, _ := asks(t, `{"context":"x","mode":"hedge","max_attempts":1}`, slow, bad, third)
		// The second is asked after 500 ms, fails, and is followed at once.
		if took := time.Since(began); status != 200 || took != 600*time.Millisecond {
			t.Errorf("%d after %v", status, took)
		}
	})
}

// A fast answer that is not acceptable beats nobody.
func TestUnacceptableAnswersLose(t *testing.T) {
	f := func(fast *model, request string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			slow := &model{after: time.Second, says: []string{good}}
			status, answer := asks(t, request, fast, slow)
			if status != 200 || len(answer["attempts"].([]any)) < 2 {
				t.Errorf("%d %v", status, answer)
			}
		})
	}
	const request = `{"context":"x","provider_chain":["m0","m1"]}`
	f(&model{says: []string{"prose"}}, request)
	f(&model{says: []string{`{"nodes":[],"edges":[]}`}}, request)
	f(&model{says: []string{`{"nodes":[{"id":"e","type":"error"}],"edges":[]}`}}, `{"context":"x","allow_empty":true,"provider_chain":["m0","m1"]}`)
	f(&model{says: []string{`{"nodes":[{"id":"a","props":{"x":[1]}},{"id":"b"}],"edges":[{"src":"a","dst":"b"}]}`}}, request)
	f(&model{status: 500}, request)
	f(&model{status: 400}, request)
	f(&model{says: []string{good}}, `{"context":"x","provider_chain":["unknown","m1"]}`)
}

func TestRepairsShowTheBadAnswer(t *testing.T) {
	m := &model{says: []string{"no graph, alas", good}}
	status, answer := asks(t, `{"context":"x","provider_chain":["m0"]}`, m)
	if status != 200 || answer["provider"] != "m0" || len(m.asked) != 2 || !strings.Contains(m.asked[1], "no graph, alas") {
		t.Errorf("%d %v %q", status, answer, m.asked)
	}
	// Nothing to repair where the upstream failed, and no repair where none is
	// wished.
	m = &model{status: 500}
	status, answer = asks(t, `{"context":"x","provider_chain":["m0"]}`, m)
	if status != 422 || len(m.asked) != 2 || strings.Contains(strings.Join(m.asked, ""), "secret words") {
		t.Errorf("%d %v %q", status, answer, m.asked)
	}
	m = &model{says: []string{"alas", good}}
	if status, _ = asks(t, `{"context":"x","provider_chain":["m0"],"repair_if_invalid":false,"max_attempts":1}`, m); status != 422 || len(m.asked) != 1 {
		t.Errorf("%d %q", status, m.asked)
	}
	m = &model{says: []string{"no"}}
	if status, _ = asks(t, `{"context":"x","provider_chain":["m0"],"repair_if_invalid":false,"max_attempts":99}`, m); status != 422 || len(m.asked) != maxTries {
		t.Errorf("%d after %d attempts", status, len(m.asked))
	}
}

// A model that has too much to do, or says when to come again, is not asked again at once, and
// the client learns when it may be.
func TestModelsThatWantToBeLeftAlone(t *testing.T) {
	f := func(m *model, calls int, wait any) {
		t.Helper()
		status, answer := asks(t, `{"context":"x","provider_chain":["m0","m1"],"mode":"chain"}`, m, &model{status: 400})
		if status != 422 || len(m.asked) != calls || answer["Retry-After"] != wait {
			t.Errorf("%d: asked %d times, %v; want %d, %v", m.status, len(m.asked), answer, calls, wait)
		}
	}
	f(&model{status: 429, wait: "17"}, 1, 17.0)
	f(&model{status: 429}, 1, nil)
	f(&model{status: 503, wait: "3"}, 1, 3.0)
	f(&model{status: 500, wait: "5"}, 1, 5.0)
	f(&model{status: 500}, 2, nil)
	busy := &model{status: 429, wait: "17"}
	if status, answer := asks(t, `{"context":"x","provider_chain":["m0","m1"],"mode":"chain"}`, busy, &model{says: []string{good}}); status != 200 || len(busy.asked) != 1 {
		t.Errorf("%d %v", status, answer)
	}
}

func TestRefusals(t *testing.T) {
	f := func(body string, status int, want string) {
		t.Helper()
		got, answer := asks(t, body, &model{says: []string{`{"nodes":[],"edges":[]}`}})
		if raw, _ := json.Marshal(answer); got != status || !strings.Contains(string(raw), want) {
			t.Errorf("%s: %d %s", body, got, raw)
		}
	}
	f(`{}`, 422, `"missing"`)
	f(`{"context":5}`, 422, "string_type")
	f(`{"context":" "}`, 400, "context must be a non-empty string")
	f(`{"context":"`+strings.Repeat("x", 2000)+`"}`, 413, "longer than 1024 bytes")
	f(`{"context":"x","mode":"all"}`, 422, "enum")
	f(`{"context":"x","provider_chain":[`+strings.Repeat(`"m0",`, 20)+`"m0"]}`, 422, "too_long")
	f(`{"context":"x","upsert":true}`, 503, "neo4j_unavailable")
	f(`{"context":"x","max_attempts":0}`, 422, `"attempts":[]`)
	f(`{"context":"x","provider_chain":["m0"]}`, 422, `"error":"graph_extraction_failed"`)
	f(`{"context":"x","min_nodes":-1,"min_edges":0,"provider_chain":["m0"]}`, 200, `{"edges":[],"nodes":[]}`)
}

// A written is a store that keeps what it was asked to write.
type written struct {
	pipeline.GraphStore
	last pipeline.GraphWrite
	err  error
}

func (w *written) Write(_ context.Context, what pipeline.GraphWrite) (pipeline.GraphWritten, error) {
	w.last = what
	return pipeline.GraphWritten{Entities: len(what.Entities)}, w.err
}

// upsert has one model answer with good, and the store write it.
func upsert(t *testing.T, store *written, more string) error {
	t.Helper()
	built, _ := Config{Mode: "race", After: time.Second, MaxAttempts: 1, MaxContext: 1 << 10, AtOnce: 4, Collection: "chunks"}.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler)})
	h := built.(*handler)
	h.graph = store
	ex := pipeline.Acquire(t.Context())
	defer ex.Release()
	ex.Models = pipeline.NewModels([]*pipeline.Model{{Name: "m", Targets: []*pipeline.Target{{Provider: &model{says: []string{good}}}}}})
	ex.Request.Body = []byte(`{"context":"x","provider_chain":["m"],"upsert":true,"doc_id":"d"` + more + `}`)
	call := pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		return ex.Targets[0].Provider.Call(ctx, ex)
	})
	return h.Handle(ex.Context(), ex, pipeline.Chain{call})
}

// A store that the file does not set up is refused as by the other endpoints.
func TestUpsertWithoutStore(t *testing.T) {
	built, _ := Config{Mode: "race", After: time.Second, MaxAttempts: 1, MaxContext: 1 << 10, AtOnce: 4}.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler)})
	ex := pipeline.Acquire(t.Context())
	defer ex.Release()
	ex.Request.Body = []byte(`{"context":"x","upsert":true}`)
	e, ok := errors.AsType[*pipeline.Error](built.Handle(ex.Context(), ex, nil))
	if !ok || e.Status != 503 || e.RetryAfter == 0 || !strings.Contains(e.Err.Error(), detail.NoStore) {
		t.Errorf("%+v", e)
	}
}

// What the store does not take is no mistake of the client's.
func TestUpsertOfWhatNoStoreTakes(t *testing.T) {
	f := func(err error, status int, want string) {
		t.Helper()
		e, ok := errors.AsType[*pipeline.Error](upsert(t, &written{err: err}, ""))
		if !ok || e.Status != status || !strings.Contains(string(e.Body)+e.Error(), want) {
			t.Errorf("%v: %+v %s", err, e, e.Body)
		}
	}
	f(&pipeline.Error{Status: 400, Code: "invalid_type", Fault: pipeline.CallerFault, Err: errors.New("the type \"a b\"")}, 422, `the graph cannot be written: the type \"a b\"`)
	f(&pipeline.Error{Status: 503, Code: "store_unavailable", Fault: pipeline.UpstreamFault, Err: errors.New("down")}, 503, "down")
	f(errors.New("10.0.0.1 refused"), 502, "neo4j_error")
}

// What was found in a chunk is linked to it.
func TestUpsertNotesTheChunk(t *testing.T) {
	f := func(more, collection string) {
		t.Helper()
		store := &written{}
		if err := upsert(t, store, more); err != nil {
			t.Fatal(err)
		}
		var want []pipeline.Mention
		for _, e := range []string{"a", "b"} {
			if collection != "" {
				want = append(want, pipeline.Mention{PointID: pipeline.PointID("default", collection, "d", "c", 0), DocID: "d", Entity: e})
			}
		}
		if w := store.last; w.DocID != "d" || len(w.Entities) != 2 || !slices.Equal(w.Mentions, want) {
			t.Errorf("%s: %+v; want %+v", more, w, want)
		}
	}
	f(``, "")
	f(`,"chunk_id":"c"`, "chunks")
	f(`,"chunk_id":"c","collection":"kb"`, "kb")
}

func TestAClientThatLeavesEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &model{after: time.Hour, says: []string{good}}
		built, _ := Config{Mode: "race", After: time.Second, MaxAttempts: 2, MaxContext: 1 << 10, AtOnce: 4}.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler)})
		ex := pipeline.Acquire(t.Context())
		ex.Models = pipeline.NewModels([]*pipeline.Model{{Name: "m", Targets: []*pipeline.Target{{Provider: m}}}})
		ex.Request.Body = []byte(`{"context":"x","provider_chain":["m"]}`)
		go func() {
			time.Sleep(time.Second)
			ex.Scope().Cancel(pipeline.ErrClientGone)
		}()
		call := pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
			return ex.Targets[0].Provider.Call(ctx, ex)
		})
		if err := built.Handle(ex.Context(), ex, pipeline.Chain{call}); !errors.Is(err, pipeline.ErrClientGone) {
			t.Error(err)
		}
		ex.Release()
		_ = built.(*handler).Close()
		if m.cancelled.Load() != 1 {
			t.Error("the model was not told")
		}
	})
}

// Models that answer at the very same time: those who come second must not end
// what has begun in the meantime.
func TestDeadHeats(t *testing.T) {
	for range 200 {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				fast := func() *model { return &model{says: []string{good}} }
				status, answer := asks(t, `{"context":"x"}`, fast(), fast(), fast())
				if status != 200 || answer["attempts"].([]any)[0].(map[string]any)["outcome"] != "accepted" {
					t.Errorf("%d %v", status, answer)
				}
			})
		}
		wg.Wait()
	}
}

// Models call types by words that no store takes; what is answered is what is written.
func TestUpsertMakesTypes(t *testing.T) {
	m := &model{says: []string{`{"nodes":[{"id":"a","type":"real estate"},{"id":"b","type":"--"}],"edges":[{"src":"a","dst":"b","type":"works át"},{"src":"b","dst":"a","type":"!"}]}`}}
	store := &written{}
	h := handlerWith(t, func(*Config) {})
	h.graph = store
	status, answer := asksOf(t, h, `{"context":"x","provider_chain":["m"],"upsert":true}`, "m", m)
	if err := store.last.Check(); status != 200 || err != nil {
		t.Fatalf("%d %v: %v", status, answer, err)
	}
	raw, err := json.Marshal(answer["data"])
	if want := `{"edges":[{"dst":"b","props":[],"src":"a","type":"works_at"},{"dst":"a","props":[],"src":"b","type":"RELATED_TO"}],"nodes":[{"id":"a","props":[],"type":"real_estate"},{"id":"b","props":[],"type":"Entity"}]}`; err != nil || string(raw) != want {
		t.Errorf("%s", raw)
	}
	status, answer = asksOf(t, h, `{"context":"x","provider_chain":["m"]}`, "m", m)
	if raw, _ = json.Marshal(answer["data"]); status != 200 || !strings.Contains(string(raw), `"works a`) {
		t.Errorf("%d: what nothing is written of is as the model has it: %s", status, raw)
	}
}
