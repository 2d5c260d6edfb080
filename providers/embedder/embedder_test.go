package embedder_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/providers/embedder"
	"github.com/headrace/headrace/providers/offline"
)

// upstream answers with a vector that tells the text's length.
type upstream struct {
	calls, running, most atomic.Int32
	delay                time.Duration
	answer               func(texts []string) string // nil: a vector each
	requests             []string                    // guarded by mu
	mu                   sync.Mutex
	ended                atomic.Int32 // calls that ended with their context
}

func (u *upstream) Call(ctx context.Context, ex *pipeline.Exchange) error {
	u.calls.Add(1)
	u.mu.Lock()
	u.requests = append(u.requests, string(ex.Request.Body))
	u.mu.Unlock()
	u.most.Store(max(u.most.Load(), u.running.Add(1)))
	defer u.running.Add(-1)
	if u.delay > 0 {
		select {
		case <-time.After(u.delay):
		case <-ctx.Done():
			u.ended.Add(1)
			return pipeline.Cause(ctx)
		}
	}
	var req struct{ Input []string }
	if err := json.Unmarshal(ex.Request.Body, &req); err != nil {
		return err
	}
	ex.Response.Header.SetStatusCode(200)
	if u.answer != nil {
		ex.Response.SetBody([]byte(u.answer(req.Input)))
		return nil
	}
	var items []string
	for i, t := range req.Input {
		items = append([]string{fmt.Sprintf(`{"index":%d,"embedding":[%d,1]}`, i, len(t))}, items...) // in another order
	}
	ex.Response.SetBody([]byte(`{"data":[` + strings.Join(items, ",") + `]}`))
	return nil
}

func build(t testing.TB, settings string, u pipeline.Provider) pipeline.Embedder {
	t.Helper()
	e, _ := load(t, settings, u)
	return e
}

func load(t testing.TB, settings string, u pipeline.Provider) (pipeline.Embedder, *config.Snapshot) {
	t.Helper()
	s := pipetest.Load(t, config.Registry{embedder.Component, pipetest.Fixed[pipeline.Provider]("fixed", u), pipetest.Fixed[pipeline.Handler]("fixed", pipeline.CallTarget)}, fmt.Sprintf(`
providers: { upstream: { fixed: {} } }
stores: { under_test: { embedder: { provider: upstream, model: m, %s } } }
routes: [ { name: any, match: { path: /v1/any }, chain: [ fixed ] } ]
`, settings))
	e, ok := config.Lookup[pipeline.Embedder](s, "under_test")
	if !ok {
		t.Fatal("no embedder was built")
	}
	return e, s
}

// length is how long the text was that a vector was made of.
func length(v []float32) int { return int(math.Round(float64(v[0] / v[1]))) }

func TestEmbed(t *testing.T) {
	u := &upstream{}
	e := build(t, "", u)
	f := func(calls int, texts ...string) [][]float32 {
		t.Helper()
		got, err := e.Embed(t.Context(), texts, pipeline.ForStoring)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if length(v) != len(texts[i]) {
				t.Errorf("text %d got another's vector %v", i, v)
			}
			if n := math.Hypot(float64(v[0]), float64(v[1])); math.Abs(n-1) > 1e-6 {
				t.Errorf("length %v", n)
			}
		}
		if n := int(u.calls.Load()); n != calls {
			t.Errorf("%d calls, want %d", n, calls)
		}
		return got
	}
	f(0)
	first := f(1, "a", "bb", "ccc", "bb")
	second := f(1, "ccc", "a")
	if &first[0][0] != &second[1][0] {
		t.Error("the vector was not shared")
	}
	f(2, "a", "dddd")
	f(3, strings.Repeat("x", 300))
	if want := `{"model":"m","input":["dddd"],"encoding_format":"base64"}`; u.requests[1] != want {
		t.Errorf("asked %s, want %s", u.requests[1], want)
	}
	if e.Model() != "m" {
		t.Error("another model")
	}
	if space := build(t, "space: old", u).Model(); space != "old" {
		t.Errorf("the model's space is %q", space)
	}
}

func TestSettings(t *testing.T) {
	u := &upstream{}
	e := build(t, `dimensions: 2, encoding: base64, query_prefix: "query: ", passage_prefix: "passage: ", batch: 2, parallel: 1, cache: 0`, u)
	if _, err := e.Embed(t.Context(), []string{"a", "b", "c"}, pipeline.ForStoring); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Embed(t.Context(), []string{"a"}, pipeline.ForAsking); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Embed(t.Context(), []string{"a"}, pipeline.ForAsking); err != nil { // no cache
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, r := range u.requests {
		raw := chat.Get([]byte(r), "input")
		got[string(raw)]++
		if !strings.Contains(r, `"dimensions":2,"encoding_format":"base64"`) {
			t.Errorf("asked %s", r)
		}
	}
	want := map[string]int{`["passage: a","passage: b"]`: 1, `["passage: c"]`: 1, `["query: a"]`: 2}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if u.most.Load() != 1 {
		t.Errorf("%d calls at once", u.most.Load())
	}
}

// A model that tells questions from passages by a field is told, and their vectors are kept
// apart.
func TestFields(t *testing.T) {
	u := &upstream{}
	e := build(t, `query_fields: { task: retrieval.query, input_type: 'a "query"' }, passage_fields: { input_type: search_document }`, u)
	for range 2 {
		for _, purpose := range []pipeline.Purpose{pipeline.ForStoring, pipeline.ForAsking} {
			if _, err := e.Embed(t.Context(), []string{"a"}, purpose); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{
		`{"model":"m","input":["a"],"encoding_format":"base64","input_type":"search_document"}`,
		`{"model":"m","input":["a"],"encoding_format":"base64","input_type":"a \"query\"","task":"retrieval.query"}`,
	}
	if d := cmp.Diff(want, u.requests); d != "" {
		t.Error(d)
	}
}

// The offline model answers in both encodings, and both give the same vector.
func TestEncodings(t *testing.T) {
	p, err := offline.Component.Build(t.Context(), config.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var got [2][][]float32
	for i, encoding := range []string{"float", "base64"} {
		e := build(t, "encoding: "+encoding+", batch: 1", p.(pipeline.Provider))
		if got[i], err = e.Embed(t.Context(), []string{"hello world", "你好"}, pipeline.ForAsking); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(got[0], got[1]); d != "" || len(got[0][0]) < 8 {
		t.Error(d)
	}
}

// An upstream that refuses to pack vectors is asked without that, from then on. One that
// refuses something else goes on being asked for packed ones.
func TestAutoEncoding(t *testing.T) {
	f := func(settings string, status int, refuses string, want ...string) {
		t.Helper()
		u := &upstream{}
		e := build(t, settings, provides(func(ctx context.Context, ex *pipeline.Exchange) error {
			if strings.Contains(string(ex.Request.Body), refuses) {
				u.requests = append(u.requests, string(ex.Request.Body))
				ex.Response.Header.SetStatusCode(status)
				ex.Response.SetBody([]byte(`{"error":{"message":"no"}}`))
				return nil
			}
			return u.Call(ctx, ex)
		}))
		for i := range 2 {
			_, err := e.Embed(t.Context(), []string{fmt.Sprint("text", i)}, pipeline.ForAsking)
			if good := refuses != "text"; good != (err == nil) && status == 400 {
				t.Errorf("%s: %v", settings, err)
			}
		}
		var got []string
		for _, r := range u.requests {
			s, _ := chat.Text(chat.Get([]byte(r), "encoding_format"))
			got = append(got, s)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, status %d: asked for %q; want %q", settings, status, got, want)
		}
	}
	f("batch: 1", 400, "base64", "base64", "", "")
	f("batch: 1", 422, "base64", "base64", "", "")
	f("batch: 1", 400, "nothing", "base64", "base64")
	f("batch: 1", 400, "text", "base64", "", "base64", "")
	f("batch: 1", 500, "text", "base64", "base64")
	f("batch: 1, encoding: float", 500, "nothing", "float", "float")
	f("batch: 1, encoding: base64", 500, "base64", "base64", "base64")
}

// A string may be written in more than one way.
func TestEscaped(t *testing.T) {
	for _, text := range []string{`AACAPwAAgL8=`, `AACAPwAAgL8\u003d`, `\u0041ACAPwAAgL8=`} {
		e := build(t, "", &upstream{answer: func([]string) string { return `{"data":[{"embedding":"` + text + `"}]}` }})
		v, err := e.Embed(t.Context(), []string{"a"}, pipeline.ForAsking)
		if err != nil || len(v[0]) != 2 || v[0][0] != -v[0][1] || v[0][0] < 0.7 {
			t.Errorf("%s: got %v, %v", text, v, err)
		}
	}
}

func TestCoalescing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{delay: time.Second}
		e := build(t, "", u)
		leader, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 10 {
			ctx := t.Context()
			if i == 0 {
				ctx = leader
			}
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				v, err := e.Embed(ctx, []string{"same"}, pipeline.ForAsking)
				if gone := i == 0; gone != errors.Is(err, context.Canceled) || !gone && length(v[0]) != 4 {
					t.Errorf("caller %d: %v, %v", i, v, err)
				}
			})
		}
		time.Sleep(500 * time.Millisecond)
		leave() // the others get theirs all the same
		wg.Wait()
		if u.calls.Load() != 1 || u.ended.Load() != 0 {
			t.Errorf("%d calls, %d of them cancelled; want one that ends by itself", u.calls.Load(), u.ended.Load())
		}
	})
}

// Questions wait neither for each other nor for what is being stored.
func TestQuestionsDoNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{delay: time.Second}
		e := build(t, "batch: 1, parallel: 2, questions: 150", u)
		embed := func(text string, purpose pipeline.Purpose, want time.Duration) {
			began := time.Now()
			if _, err := e.Embed(t.Context(), []string{text}, purpose); err != nil || time.Since(began) != want {
				t.Errorf("%s: %v after %v, want it after %v", text, err, time.Since(began), want)
			}
		}
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { // two at a time
				time.Sleep(time.Duration(i) * time.Millisecond)
				embed(fmt.Sprint("passage ", i), pipeline.ForStoring, time.Second+time.Duration(i/2)*(time.Second-2*time.Millisecond))
			})
		}
		time.Sleep(10 * time.Millisecond)
		for i := range 150 {
			wg.Go(func() { embed(fmt.Sprint("question ", i), pipeline.ForAsking, time.Second) })
		}
		wg.Wait()
		if most := u.most.Load(); most != 152 {
			t.Errorf("%d calls at once, want 152", most)
		}
	})
}

// few takes no more than 32 texts in one call, and none of more than 1,000 bytes, which
// it says by the same status, as Text Embeddings Inference does.
type few struct {
	upstream
	refused atomic.Int32
}

func (u *few) Call(ctx context.Context, ex *pipeline.Exchange) error {
	var req struct{ Input []string }
	if err := json.Unmarshal(ex.Request.Body, &req); err != nil {
		return err
	}
	if len(req.Input) > 32 || slices.ContainsFunc(req.Input, func(s string) bool { return len(s) > 1000 }) {
		u.refused.Add(1)
		ex.Response.Header.SetStatusCode(413)
		ex.Response.SetBody([]byte(`{"message":"batch size 256 > maximum allowed batch size 32","code":413,"type":"Validation"}`))
		return nil
	}
	return u.upstream.Call(ctx, ex)
}

func TestFew(t *testing.T) {
	u := &few{}
	e := build(t, "cache: 0", u)
	long := make([]string, 200)
	for i := range long {
		long[i] = strings.Repeat("x", 1+i)
	}
	f := func(texts []string, refused, calls int32) {
		t.Helper()
		u.refused.Store(0)
		u.calls.Store(0)
		got, err := e.Embed(t.Context(), texts, pipeline.ForStoring)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if length(v) != len(texts[i]) {
				t.Errorf("text %d got another's vector %v", i, v)
			}
		}
		if u.refused.Load() != refused || u.calls.Load() != calls {
			t.Errorf("%d calls were refused and %d answered, want %d and %d", u.refused.Load(), u.calls.Load(), refused, calls)
		}
	}
	f(long, 3, 8) // 200, 100 and 50 were too many
	f(long, 0, 8)
	if _, err := e.Embed(t.Context(), []string{"a", "b", strings.Repeat("x", 1001), "c"}, pipeline.ForStoring); err == nil {
		t.Error("a text that is too long was taken")
	}
	f(long, 0, 8) // and says nothing of how many there may be
}

// What is late is not asked for again in smaller parts; the error says which setting helps.
func TestSlow(t *testing.T) {
	f := func(want, settings string, n int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			u := &upstream{delay: time.Minute}
			e := build(t, settings, u)
			var texts []string
			for i := range n {
				texts = append(texts, strconv.Itoa(i))
			}
			_, err := e.Embed(t.Context(), texts, pipeline.ForStoring)
			if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "lower than") != (want != "") || !strings.Contains(err.Error(), want) || u.calls.Load() != 1 {
				t.Errorf("%d texts, %d calls: %v", n, u.calls.Load(), err)
			}
			if err := e.(interface{ Close() error }).Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	f("set batch of the embedder lower than 20, or timeout, and first_byte of its provider, higher", "timeout: 1s", 20)
	f("set batch of the embedder lower than 8,", "timeout: 1s, batch: 8", 8)
	f("", "timeout: 1s", 1)
}

func TestNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{delay: time.Hour}
		e := build(t, "batch: 1, questions: 1, timeout: 24h", u)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		began := time.Now()
		_, err := e.Embed(ctx, []string{"a", "b"}, pipeline.ForAsking)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		if err := e.(interface{ Close() error }).Close(); err != nil {
			t.Fatal(err)
		}
		if u.running.Load() != 0 || u.ended.Load() != 1 || time.Since(began) > 2*time.Second {
			t.Errorf("%d calls still run, %d have ended, after %v", u.running.Load(), u.ended.Load(), time.Since(began))
		}
		if _, err := e.Embed(ctx, []string{"a"}, pipeline.ForAsking); err == nil {
			t.Error("answered after the end")
		}
	})
}

// A call that nobody waits for any more is no failure of the upstream.
func TestEndsAreCounted(t *testing.T) {
	f := func(delay time.Duration, end error, status int, want string) {
		t.Helper()
		e, s := load(t, "timeout: 100ms", provides(func(ctx context.Context, ex *pipeline.Exchange) error {
			if err := (&upstream{delay: delay}).Call(ctx, ex); err != nil {
				return err
			}
			ex.Response.Header.SetStatusCode(status)
			return nil
		}))
		ctx, leave := context.WithCancelCause(t.Context())
		if end != nil {
			time.AfterFunc(10*time.Millisecond, func() { leave(end) })
		}
		_, err := e.Embed(ctx, []string{"a"}, pipeline.ForAsking)
		leave(nil)
		if err := e.(io.Closer).Close(); err != nil {
			t.Fatal(err)
		}
		all, gatherErr := s.Gather()
		if gatherErr != nil {
			t.Fatal(gatherErr)
		}
		var got []string
		for _, family := range all {
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					if family.GetName() == "headrace_embedder_calls_total" && l.GetName() == "result" {
						got = append(got, fmt.Sprint(l.GetValue(), " ", m.GetCounter().GetValue()))
					}
				}
			}
		}
		if !slices.Equal(got, []string{want + " 1"}) {
			t.Errorf("counted %v, want %s; the error is %v", got, want, err)
		}
	}
	f(0, nil, 200, "ok")
	f(0, nil, 500, "failed")
	f(time.Minute, nil, 200, "failed")                      // the call's own limit
	f(time.Minute, context.DeadlineExceeded, 200, "failed") // and the caller's
	f(time.Minute, pipeline.ErrClientGone, 200, "gone")
}

// A text that another caller has asked for in a batch which fails is asked for
// again.
func TestAnothersFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{delay: time.Second}
		u.answer = func(texts []string) string {
			if len(texts) > 1 {
				return `{}`
			}
			return `{"data":[{"embedding":[4,1]}]}`
		}
		e := build(t, "", u)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := e.Embed(t.Context(), []string{"good", "bad"}, pipeline.ForAsking); err == nil {
				t.Error("the first caller got an answer")
			}
		})
		wg.Go(func() {
			time.Sleep(time.Millisecond)
			if v, err := e.Embed(t.Context(), []string{"good"}, pipeline.ForAsking); err != nil || length(v[0]) != 4 {
				t.Errorf("the second caller got %v, %v", v, err)
			}
		})
		wg.Wait()
	})
}

func TestBadAnswers(t *testing.T) {
	f := func(answer string) {
		t.Helper()
		e := build(t, "dimensions: 2", &upstream{answer: func([]string) string { return answer }})
		_, err := e.Embed(t.Context(), []string{"a", "b"}, pipeline.ForAsking)
		if pe, ok := errors.AsType[*pipeline.Error](err); !ok || pe.Fault != pipeline.UpstreamFault {
			t.Errorf("%.60s: got %v; want a fault of the upstream", answer, err)
		}
	}
	f(``)
	f(`{"data":[{"embedding":[1,2]}]}`)
	f(`{"data":[{"embedding":[1,2]},{"embedding":[1]}]}`)
	f(`{"data":[{"embedding":[1,2]},{"embedding":[0,0]}]}`)
	f(`{"data":[{"embedding":[1,2]},{"embedding":[1,1e99]}]}`)
	f(`{"data":[{"embedding":[1,2]},{"embedding":[1,"x"]}]}`)
	f(`{"data":[{"embedding":[1,2]},{"embedding":"!"}]}`)
	f(`{"data":[{"embedding":[1,2]},{"embedding":"AADAfwAAgD8="}]}`) // NaN
	f(`{"data":[{"index":0,"embedding":[1,2]},{"index":0,"embedding":[1,2]}]}`)
	f(`{"data":[{"index":0,"embedding":[1,2]},{"index":2,"embedding":[1,2]}]}`)
	f(`{"data":[{"index":0,"embedding":[1,2]},{"index":"x","embedding":[1,2]}]}`)

	for _, a := range []pipetest.Answer{{Status: 429, Body: "{}"}, pipetest.Fails(errors.New("x")), {Frames: []string{"{"}, Break: errors.New("cut"), Type: "application/json"}} {
		e := build(t, "", pipetest.NewProvider(a))
		if _, err := e.Embed(t.Context(), []string{"a"}, pipeline.ForAsking); err == nil {
			t.Errorf("%+v: no error", a)
		}
	}
	e := build(t, "", panics{})
	if _, err := e.Embed(t.Context(), []string{"a"}, pipeline.ForAsking); err == nil {
		t.Error("a panic, and no error")
	}
}

// An upstream that has too much to do says when to come back, and so does the error.
func TestTooMany(t *testing.T) {
	f := func(status int, after string, want int, wait time.Duration) {
		t.Helper()
		e := build(t, "", provides(func(_ context.Context, ex *pipeline.Exchange) error {
			ex.Response.Header.SetStatusCode(status)
			ex.Response.Header.Set("Retry-After", after)
			ex.Response.SetBody([]byte("{}"))
			return nil
		}))
		_, err := e.Embed(t.Context(), []string{"a"}, pipeline.ForAsking)
		if pe, ok := errors.AsType[*pipeline.Error](err); !ok || pe.Status != want || pe.RetryAfter != wait || pe.Fault != pipeline.OverloadFault {
			t.Errorf("%d, %q: got %+v", status, after, pe)
		}
	}
	f(429, "7", 429, 7*time.Second)
	f(429, "", 429, 0)
	f(503, "1.5", 502, 1500*time.Millisecond)
}

// provides is a provider made of a function.
type provides func(context.Context, *pipeline.Exchange) error

func (f provides) Call(ctx context.Context, ex *pipeline.Exchange) error { return f(ctx, ex) }

type panics struct{}

func (panics) Call(context.Context, *pipeline.Exchange) error { panic("x") }

// A vector that is forgotten is made anew, and no other.
func TestForget(t *testing.T) {
	u := &upstream{}
	e := build(t, "query_prefix: 'q: '", u)
	f := func(calls int32, purpose pipeline.Purpose) {
		t.Helper()
		if _, err := e.Embed(t.Context(), []string{"a", "b"}, purpose); err != nil || u.calls.Load() != calls {
			t.Errorf("%v, %d calls, want %d", err, u.calls.Load(), calls)
		}
	}
	f(1, pipeline.ForStoring)
	f(2, pipeline.ForAsking)
	keeper, ok := e.(pipeline.Forgetter)
	if !ok {
		t.Fatal("nothing can be forgotten")
	}
	keeper.Forget([]string{"b", "never seen"}, pipeline.ForStoring)
	f(2, pipeline.ForAsking)
	f(3, pipeline.ForStoring)
	f(3, pipeline.ForStoring)
	if last := u.requests[2]; !strings.Contains(last, `"input":["b"]`) {
		t.Errorf("asked for %s", last)
	}
}

// The cache keeps to its bound.
func TestCacheBound(t *testing.T) {
	u := &upstream{}
	e := build(t, "cache: 912", u)
	ask := func(text string) int {
		if _, err := e.Embed(t.Context(), []string{text}, pipeline.ForAsking); err != nil {
			t.Fatal(err)
		}
		return int(u.calls.Load())
	}
	ask("a")
	ask("b")
	if n := ask("a"); n != 2 {
		t.Fatalf("%d calls: nothing is kept", n)
	}
	ask("c") // makes room by dropping b
	if ask("a") != 3 || ask("b") != 4 {
		t.Errorf("%d calls", u.calls.Load())
	}
}

func BenchmarkEmbedCached(b *testing.B) {
	e := build(b, "", &upstream{})
	texts := []string{"What is a headrace, and where does the water go?"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Embed(b.Context(), texts, pipeline.ForAsking); err != nil {
			b.Fatal(err)
		}
	}
}
