package race_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/race"
)

var pass = pipetest.Fixed[pipeline.Handler]("pass", pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	return next.Handle(ctx, ex)
}))

var answer = pipetest.Fixed[pipeline.Handler]("answer", pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	ex.Response.SetBody([]byte("{}"))
	return nil
}))

func TestConform(t *testing.T) {
	pipetest.Conform(t, race.Plugin, "")
	pipetest.Conform(t, race.Plugin, "{ after: 1ms, budget: 100%, each: [ pass: {} ] }", pass)
	pipetest.Conform(t, race.Plugin, "{ after: never }")
}

func TestProblems(t *testing.T) {
	stub := pipetest.Fixed[pipeline.Provider]("stub", pipetest.NewProvider())
	pipetest.Problems(t, config.Registry{race.Plugin, pass, answer, stub}, "testdata")
}

const ms = time.Millisecond

// A gateway is one race over the targets a, b and c, loaded from YAML.
type gateway struct {
	t         *testing.T
	snapshot  *config.Snapshot
	providers []*pipetest.Provider
}

// load must be called in a synctest bubble.
func load(t *testing.T, settings string, scripts ...pipetest.Answer) *gateway {
	g := &gateway{t: t}
	reg := config.Registry{race.Plugin, pass, answer}
	yaml := "providers:\n"
	targets := []string{}
	for i, s := range scripts {
		name := string('a' + rune(i))
		p := pipetest.NewProvider(s)
		g.providers = append(g.providers, p)
		reg = append(reg, pipetest.Fixed[pipeline.Provider]("stub_"+name, p))
		yaml += "  " + name + ": { stub_" + name + ": {} }\n"
		targets = append(targets, "{ provider: "+name+" }")
	}
	yaml += "models:\n  \"*\": [ " + strings.Join(targets, ", ") + " ]\n"
	yaml += "routes:\n  - name: r\n    match: { path: /v1/chat/completions }\n    chain: [ race: " + settings + " ]\n"
	g.snapshot = pipetest.Load(t, reg, yaml)
	return g
}

// A reply is what came of one request.
type reply struct {
	body, target string
	err          error
	took         time.Duration
	attempts     int
}

func (g *gateway) ask(op pipeline.Operation, body string, change func(*pipeline.Exchange)) (r reply) {
	ex := pipetest.Exchange(g.t, body)
	defer ex.Release()
	ex.Op = op
	ex.Model = g.snapshot.Models.Any()
	ex.Targets = ex.Model.Targets
	if change != nil {
		change(ex)
	}
	began := time.Now()
	r.err = g.snapshot.Routes[0].Chain.Handle(ex.Context(), ex)
	r.took, r.attempts = time.Since(began), ex.Attempts()
	if r.err == nil {
		r.target = ex.Target.Name
		r.body = pipetest.ReadAll(g.t, ex)
	}
	return r
}

func (g *gateway) calls() (calls []int) {
	for _, p := range g.providers {
		calls = append(calls, p.Calls())
		if err := p.Err(); err != nil {
			g.t.Error(err)
		}
	}
	return calls
}

func (g *gateway) metric(name, label string) float64 {
	g.t.Helper()
	families, err := g.snapshot.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if label == "" || slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetValue() == label }) {
				return m.Counter.GetValue() + m.Gauge.GetValue()
			}
		}
	}
	return 0
}

func says(body string, after time.Duration) pipetest.Answer {
	return pipetest.Answer{Delay: after, Body: body}
}

func fails(code string, after time.Duration) pipetest.Answer {
	return pipetest.Answer{Delay: after, Err: &pipeline.Error{Status: 502, Code: code, Fault: pipeline.UpstreamFault, Err: errors.New(code)}}
}

const plain = `{"model":"m","messages":[]}`

func TestRace(t *testing.T) {
	f := func(settings string, want reply, calls []int, scripts ...pipetest.Answer) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			pipetest.NoLeaks(t)
			g := load(t, settings, scripts...)
			got := g.ask(pipeline.OpChat, plain, nil)
			want.attempts = 0
			for _, n := range calls {
				want.attempts += n
			}
			if got.err != nil {
				t.Fatal(got.err)
			}
			if got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
			synctest.Wait()
			if got := g.calls(); !slices.Equal(got, calls) {
				t.Errorf("calls %v, want %v", got, calls)
			}
		})
	}
	slow, fast := says("slow", time.Second), says("fast", 10*ms)
	// One target: nobody pays twice unasked.
	f("{ after: 1ms }", reply{body: "slow", target: "a", took: time.Second}, []int{1}, slow)
	// In time, late, and late but still first.
	f("{ after: 30ms }", reply{body: "fast", target: "a", took: 10 * ms}, []int{1, 0}, fast, slow)
	f("{ after: 30ms }", reply{body: "fast", target: "b", took: 40 * ms}, []int{1, 1}, slow, fast)
	f("{ after: 990ms }", reply{body: "slow", target: "a", took: time.Second}, []int{1, 1}, slow, says("late", 11*ms))
	// Without answers to judge by, a quantile is twenty times the floor.
	f("{ floor: 20ms }", reply{body: "fast", target: "b", took: 410 * ms}, []int{1, 1}, slow, fast)
	// Fallback, which never pays for slowness.
	f("{ after: never }", reply{body: "slow", target: "a", took: time.Second}, []int{1, 0}, slow, fast)
	f("{ after: never }", reply{body: "fast", target: "c", took: 15 * ms}, []int{1, 1, 1}, fails("upstream_cut", 5*ms), fails("upstream_cut", 0), fast)
	f("{ budget: 0 }", reply{body: "slow", target: "a", took: time.Second}, []int{1, 0}, slow, fast)
	// No more than two at a time, and than there are attempts.
	f("{ after: 10ms, attempts: 1 }", reply{body: "slow", target: "a", took: time.Second}, []int{1, 0}, slow, fast)
	f("{ after: 10ms }", reply{body: "slow", target: "a", took: time.Second}, []int{1, 1, 0}, slow, slow, fast)
	// A stage before each target, and branches instead of them.
	f("{ after: 30ms, each: [ pass: {} ] }", reply{body: "fast", target: "b", took: 40 * ms}, []int{1, 1}, slow, fast)
	// The role of a stream is not what the client waits for.
	role := pipetest.Streams(`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`, `{"choices":[{"index":0,"delta":{"content":"slow"}}]}`)
	role.Pause = 400 * ms
	quick := pipetest.Streams(`{"choices":[{"index":0,"delta":{"content":"hi"}}]}`, "[DONE]")
	f("{ after: 450ms }", reply{body: strings.Join(quick.Frames, ""), target: "b", took: 450 * ms}, []int{1, 1}, role, quick)
}

func TestBranches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		branch := func(name string, wait time.Duration, err error) config.Component {
			return pipetest.Fixed[pipeline.Handler](name, pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
				calls = append(calls, name)
				time.Sleep(wait)
				ex.Response.SetBody([]byte(name))
				return err
			}))
		}
		s := pipetest.Load(t, config.Registry{race.Plugin, branch("first", ms, errors.New("down")), branch("second", ms, nil)}, `
routes:
  - name: r
    match: { path: /graph/extract }
    chain: [ race: { branches: [ [ first: {} ], [ second: {} ] ] } ]
`)
		if got := pipetest.Ask(t, s.Routes[0].Chain, plain); got != "second" || !slices.Equal(calls, []string{"first", "second"}) {
			t.Errorf("%q after %q", got, calls)
		}
	})
}

// What an upstream keeps for each time that it runs must run once.
func TestMustNotRunTwice(t *testing.T) {
	f := func(op pipeline.Operation, body string, change func(*pipeline.Exchange), first pipetest.Answer, calls int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			g := load(t, "{ after: 10ms }", first, says("b", 10*ms))
			g.ask(op, body, change)
			synctest.Wait()
			if got := g.calls(); got[0]+got[1] != calls {
				t.Errorf("calls %v, want %d", got, calls)
			}
		})
	}
	method := func(m string) func(*pipeline.Exchange) {
		return func(ex *pipeline.Exchange) { ex.Request.Header.SetMethod(m) }
	}
	slow, cut, refused := says("a", time.Second), fails("upstream_cut", 0), fails("upstream_unreachable", 0)
	for _, first := range []pipetest.Answer{slow, cut} {
		f(pipeline.OpChat, plain, nil, first, 2)
		f(pipeline.OpChat, `{"model":"m","store":false}`, nil, first, 2)
		f(pipeline.OpChat, `{"model":"m","store":null}`, nil, first, 2)
		f(pipeline.OpChat, `{"model":"m","store":true}`, nil, first, 1)
		f(pipeline.OpChat, `{"model":"m","store":"yes"}`, nil, first, 1)
		f(pipeline.OpChat, `{"store":true,"model":"m"}`, func(ex *pipeline.Exchange) { ex.Request.Header.Set("Idempotency-Key", "1") }, first, 1)
		f(pipeline.OpResponses, `{"model":"m"}`, nil, first, 1)
		f(pipeline.OpResponses, `{"model":"m","store":null}`, nil, first, 1)
		f(pipeline.OpResponses, `{"model":"m","store":true}`, nil, first, 1)
		f(pipeline.OpResponses, `{"model":"m","store":false}`, nil, first, 2)
		f(pipeline.OpResponses, `{"model":"m","store":false,"background":true}`, nil, first, 1)
		f(pipeline.OpEmbeddings, `{"model":"m"}`, nil, first, 2)
		f(pipeline.OpRerank, `{"model":"m"}`, nil, first, 2)
		f(pipeline.OpOther, `{}`, nil, first, 1)
		f(pipeline.OpOther, ``, method("DELETE"), first, 1)
		f(pipeline.OpOther, ``, method("GET"), first, 2)
		f(pipeline.OpModels, ``, method("DELETE"), first, 1)
		f(pipeline.OpModels, ``, method("GET"), first, 2)
		f(pipeline.OpEmbeddings, ``, func(ex *pipeline.Exchange) { ex.Request.Upload = strings.NewReader("x") }, first, 1)
		f(pipeline.OpChat, plain, func(ex *pipeline.Exchange) { ex.SetSkip([]byte("cache, race")) }, first, 1)
	}
	// One that provably never left may still go elsewhere.
	f(pipeline.OpResponses, `{"model":"m"}`, nil, refused, 2)
	f(pipeline.OpChat, `{"model":"m","store":true}`, nil, fails("circuit_open", 0), 2)
	f(pipeline.OpChat, plain, func(ex *pipeline.Exchange) { ex.SetSkip([]byte("race")) }, refused, 1)
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := load(t, "{ after: 10ms, budget: 10% }", says("a", 100*ms), says("b", ms))
		for range 400 {
			g.ask(pipeline.OpChat, plain, nil)
		}
		synctest.Wait()
		got := g.calls()
		if hedges := got[1]; got[0] != 400 || hedges < 40 || hedges > 45 {
			t.Errorf("calls %v, want 400 and about 40", got)
		}
		if won, refused := g.metric("headrace_race_hedges_total", "won"), g.metric("headrace_race_refused_total", "budget"); won+refused != 400 || won != float64(got[1]) {
			t.Errorf("metrics say %v won, %v refused", won, refused)
		}
	})
}

// The delay follows what the first target does, for each kind of request.
func TestQuantile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := load(t, "{ after: p90, floor: 1ms, budget: 10% }", says("a", 100*ms), says("b", 0))
		for range 40 { // a few of which are hedged before anything is known
			g.ask(pipeline.OpChat, plain, nil)
			time.Sleep(10 * ms)
		}
		delay := func() time.Duration {
			return time.Duration(g.metric("headrace_race_delay_seconds", "chat") * float64(time.Second))
		}
		if d := delay(); d < 100*ms || d > 107*ms {
			t.Errorf("delay %v after answers of 100ms", d)
		}
		before := g.providers[1].Calls()
		for range 100 {
			g.ask(pipeline.OpChat, plain, nil)
		}
		if n := g.providers[1].Calls() - before; n > 0 {
			t.Errorf("%d hedges although the first was in time", n)
		}
		// A minute of silence is no reason to forget.
		time.Sleep(5 * time.Minute)
		g.ask(pipeline.OpChat, plain, nil)
		if d := delay(); d < 100*ms || d > 107*ms {
			t.Errorf("delay %v after silence", d)
		}
		// Streams are another matter.
		if r := g.ask(pipeline.OpChat, `{"model":"m","stream":true}`, nil); r.target != "b" || r.took != 20*ms {
			t.Errorf("first stream: %+v", r)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := load(t, "{ after: 10ms, budget: 100% }", says("a", 50*ms), fails("upstream_cut", ms))
		g.ask(pipeline.OpChat, plain, nil)
		g = load(t, "{ after: 10ms, budget: 100% }", says("a", 50*ms), says("b", time.Second))
		g.ask(pipeline.OpChat, plain, nil)
		synctest.Wait()
		if n := g.metric("headrace_race_hedges_total", "lost"); n != 1 {
			t.Errorf("%v hedges lost", n)
		}
		g = load(t, "{ after: never }", fails("upstream_cut", ms), says("b", 0))
		g.ask(pipeline.OpChat, plain, nil)
		g.ask(pipeline.OpChat, `{"store":true}`, nil)
		if n, once := g.metric("headrace_race_failovers_total", ""), g.metric("headrace_race_refused_total", "must_not_run_twice"); n != 1 || once != 1 {
			t.Errorf("%v failovers, %v must not run twice", n, once)
		}
	})
}

// A client that leaves takes every upstream with it.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipetest.NoLeaks(t)
		g := load(t, "{ after: 10ms }", says("a", time.Hour), says("b", time.Hour))
		r := g.ask(pipeline.OpChat, plain, func(ex *pipeline.Exchange) {
			time.AfterFunc(100*ms, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
		})
		synctest.Wait()
		if r.err != pipeline.ErrClientGone || r.took != 100*ms || g.providers[0].Cancelled()+g.providers[1].Cancelled() != 2 {
			t.Errorf("%+v, cancelled %d and %d", r, g.providers[0].Cancelled(), g.providers[1].Cancelled())
		}
	})
}

func TestNoTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := load(t, "{}", says("a", 0))
		r := g.ask(pipeline.OpOther, "", func(ex *pipeline.Exchange) { ex.Model, ex.Targets = nil, nil })
		if e, ok := errors.AsType[*pipeline.Error](r.err); !ok || e.Status != 404 || e.Code != "model_not_found" {
			t.Errorf("got %v", r.err)
		}
	})
}
