package race

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

func TestBuckets(t *testing.T) {
	for d := 64 * time.Microsecond; d < 4*time.Minute; d += d / 100 {
		at := bucket(d)
		above := edge(at)
		if above <= d-time.Microsecond || float64(above) > 1.0625*float64(d)+1000 {
			t.Fatalf("%v is counted in bucket %d, which ends at %v", d, at, above)
		}
	}
	if bucket(0) != 0 || bucket(-time.Second) != 0 || bucket(time.Hour) != never-1 {
		t.Errorf("buckets %d, %d, %d", bucket(0), bucket(-time.Second), bucket(time.Hour))
	}
}

func TestEstimate(t *testing.T) {
	start := time.Now()
	l := newLatency(start, prometheus.NewGauge(prometheus.GaugeOpts{}))
	now := start
	add := func(n int, d time.Duration) {
		for range n {
			l.add(now, d)
		}
	}
	f := func(later time.Duration, quantile float64, want time.Duration) {
		t.Helper()
		now = now.Add(later)
		got := l.after(now, quantile, 10*time.Millisecond)
		if got < want || float64(got) > 1.0625*float64(want) {
			t.Errorf("p%v is %v, want %v", 100*quantile, got, want)
		}
	}
	f(0, 0.95, 200*time.Millisecond) // nothing known
	add(5, 100*time.Millisecond)
	f(time.Second, 0.95, 400*time.Millisecond) // little known
	add(895, 100*time.Millisecond)
	add(100, 300*time.Millisecond)
	f(10*time.Millisecond, 0.95, 400*time.Millisecond) // not made anew yet
	f(time.Second, 0.95, 300*time.Millisecond)
	f(time.Second, 0.5, 100*time.Millisecond)
	// A tail as large as what the quantile leaves out: the near side of the gap,
	// also when it is a little larger.
	now = now.Add(2 * time.Minute)
	add(945, 100*time.Millisecond)
	add(55, time.Second)
	f(0, 0.95, 100*time.Millisecond)
	// Those given up count as slow.
	now = now.Add(2 * time.Minute)
	add(880, 100*time.Millisecond)
	add(100, 200*time.Millisecond)
	for range 20 {
		l.addLost(now)
	}
	f(0, 0.95, 200*time.Millisecond)
	// A minute later they are forgotten, and what was known last still holds.
	f(2*time.Minute, 0.95, 200*time.Millisecond)
	add(1000, time.Millisecond)
	f(time.Second, 0.95, 10*time.Millisecond) // the floor
}

// instant answers at once with a body made beforehand.
type instant struct{}

func (instant) Call(_ context.Context, ex *pipeline.Exchange) error {
	ex.Response.SetBody(instantly)
	return nil
}

var instantly = []byte("{}")

func newInstant(tb testing.TB, settings Config) func(body []byte) {
	targets := []*pipeline.Target{{Index: 0, Name: "a", Provider: instant{}}, {Index: 1, Name: "b", Provider: instant{}}}
	h, err := settings.Build(tb.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Targets: targets})
	if err != nil {
		tb.Fatal(err)
	}
	return func(body []byte) {
		ex := pipeline.Acquire(context.Background())
		ex.Op = pipeline.OpChat
		ex.Request.Header.SetMethod("POST")
		ex.Request.Header.SetRequestURI("/v1/chat/completions")
		ex.Request.Header.Set("X-Stainless-Lang", "python")
		ex.Request.Body = body
		ex.Targets = targets
		if _, err := ex.Chat(); err != nil { // the edge has looked at it before
			tb.Fatal(err)
		}
		if err := h.Handle(ex.Context(), ex, nil); err != nil {
			tb.Fatal(err)
		}
		ex.Release()
	}
}

var prompt = []byte(`{"model":"m","stream":true,"temperature":0.2,"messages":[{"role":"system","content":"You are terse."},{"role":"user","content":"Why is the sky blue?"}]}`)

func TestUnfiredAllocatesNothing(t *testing.T) {
	if pipetest.Race {
		t.Skip("under the race detector pools forget at random")
	}
	f := func(c Config) {
		t.Helper()
		ask := newInstant(t, c)
		ask(prompt)
		if n := testing.AllocsPerRun(500, func() { ask(prompt) }); n != 0 {
			t.Errorf("after %v: %v allocations, want none", c.After, n)
		}
	}
	f(settings(Config{}))
	f(settings(Config{After: Fixed(time.Second)}))
	f(settings(Config{After: Never()}))
}

// BenchmarkUnfired compares a race that is armed and never fires with one that
// has a single attempt, and so stays out of the way.
func BenchmarkUnfired(b *testing.B) {
	single := settings(Config{})
	single.Attempts = 1
	for name, c := range map[string]Config{"single": single, "armed": settings(Config{})} {
		b.Run(name, func(b *testing.B) {
			ask := newInstant(b, c)
			b.ReportAllocs()
			for b.Loop() {
				ask(prompt)
			}
		})
	}
}
