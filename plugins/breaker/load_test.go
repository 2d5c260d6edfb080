package breaker

import (
	"context"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// Reaction: of many requests at once, those in flight fail, and not one more.
func TestUnderLoad(t *testing.T) {
	c, _ := load(t, "{ failures: 5, cooldown: 1h }")
	var mu sync.Mutex
	calls := 0
	chain := append(c[:len(c):len(c)], pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		mu.Lock()
		calls++
		mu.Unlock()
		return errLine
	}))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				ex := pipeline.Acquire(context.Background())
				if chain.Handle(ex.Context(), ex) == nil {
					t.Error("an answer out of nothing")
				}
				ex.Release()
			}
		})
	}
	wg.Wait()
	if calls < 5 || calls > 5+8 {
		t.Errorf("%d of 4000 requests reached an upstream that fails; want 5, and what was in flight", calls)
	}
}

func TestMetrics(t *testing.T) {
	c, s := load(t, "{ failures: 1 }")
	chain := append(c[:len(c):len(c)], pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return errLine }))
	for range 3 {
		ex := pipeline.Acquire(t.Context())
		_ = chain.Handle(ex.Context(), ex)
		ex.Release()
	}
	got := pipetest.Metrics(t, s)
	for name, want := range map[string]float64{
		"headrace_breaker_state": 2, "headrace_breaker_refused_total": 2,
		"headrace_breaker_transitions_total open": 1, "headrace_breaker_transitions_total closed": 0,
		"headrace_breaker_models_open": 0, "headrace_breaker_model_transitions_total open": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v; want %v", name, v, want)
		}
	}
}

// The closed breaker is on the way of every request.
func TestClosedAllocatesNothing(t *testing.T) {
	if raced() {
		t.Skip("the race detector makes pools forget")
	}
	c, _ := load(t, "{ failures: 50% }")
	body := []byte("{}")
	ctx := context.Background()
	asked := []byte(`{"model":"up/a","messages":[]}`)
	target := &pipeline.Target{Name: "up", Model: "*"}
	many := &pipeline.Model{Name: "up/*", Targets: []*pipeline.Target{target}}
	var model *pipeline.Model // nil: the target has one
	run := func(name string, answer pipeline.HandlerFunc) {
		t.Helper()
		chain := append(c[:len(c):len(c)], answer)
		if n := testing.AllocsPerRun(1000, func() {
			ex := pipeline.Acquire(ctx)
			if ex.Model = model; model != nil {
				ex.Op, ex.Request.Body, ex.Targets, ex.Target = pipeline.OpChat, asked, model.Targets, target
			}
			if err := chain.Handle(ctx, ex); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := ex.Response.Body.Next(); err != nil {
					break
				}
			}
			ex.Release()
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	whole := func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		ex.Response.SetBody(body)
		return nil
	}
	var s one
	stream := func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		s.done = false
		ex.Response.Header.SetContentType("text/event-stream")
		ex.Response.Body = &s
		return nil
	}
	run("whole", whole)
	run("stream", stream)
	model = many
	run("whole, by model", whole)
	run("stream, by model", stream)
}

// one is a stream of one event.
type one struct{ done bool }

var oneEvent = []byte("data: {\"error\":null}\n\n")

func (o *one) Next() ([]byte, error) {
	if o.done {
		return nil, io.EOF
	}
	o.done = true
	return oneEvent, nil
}

func (o *one) Close() error { return nil }

func BenchmarkClosed(b *testing.B) {
	h, err := Plugin.Build(context.Background(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	chain := pipeline.Chain{h.(pipeline.Handler), pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		ex.Response.SetBody(oneEvent)
		return nil
	})}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			ex := pipeline.Acquire(ctx)
			_ = chain.Handle(ctx, ex)
			ex.Release()
		}
	})
}

// raced reports whether the race detector is on. Pools then drop what they are
// given now and then, so that allocations cannot be counted.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
