package attempt_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/attempt"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// fixed answers at once with a body made beforehand.
type fixed struct {
	chain  pipeline.Chain
	events bool
}

func newFixed(events bool) *fixed {
	f := &fixed{events: events}
	f.chain = pipeline.Chain{f}
	return f
}

func (f *fixed) Handle(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	if !f.events {
		ex.Response.SetBody(answer)
		return nil
	}
	ex.Response.Header.SetContentTypeBytes(eventStream)
	ex.Response.Body = &twoEvents{}
	return nil
}

func (f *fixed) Chain(*pipeline.Exchange, pipeline.Chain, int) pipeline.Chain { return f.chain }
func (f *fixed) Allow(attempt.Ask) (time.Duration, bool)                      { return 0, false }
func (f *fixed) Ended(attempt.Outcome)                                        {}

var (
	eventStream = []byte("text/event-stream")
	answer      = []byte(`{"id":"x"}`)
	first       = []byte("data: " + role + "\n\n")
	second      = []byte("data: " + content + "\n\n")
)

// twoEvents is a stream whose second event is the first useful one.
type twoEvents struct{ n int }

func (s *twoEvents) Next() ([]byte, error) {
	s.n++
	switch s.n {
	case 1:
		return first, nil
	case 2:
		return second, nil
	}
	return nil, io.EOF
}

func (s *twoEvents) Close() error { return nil }

// once runs one exchange as the edge would.
func once(tb testing.TB, run func(context.Context, *pipeline.Exchange) error) {
	ex := pipeline.Acquire(context.Background())
	ex.Op = pipeline.OpEmbeddings
	h := &ex.Request.Header
	h.SetMethod("POST")
	h.SetRequestURI("/v1/embeddings")
	h.SetHost("127.0.0.1:8080")
	h.SetContentType("application/json")
	h.Set("Accept", "application/json")
	h.Set("Accept-Encoding", "gzip, deflate")
	h.Set("User-Agent", "OpenAI/Python 2.1.0")
	h.Set("X-Stainless-Lang", "python")
	h.Set("X-Stainless-Package-Version", "2.1.0")
	h.Set("X-Stainless-Os", "Linux")
	h.Set("X-Stainless-Arch", "x64")
	h.Set("X-Stainless-Runtime", "CPython")
	h.Set("X-Stainless-Runtime-Version", "3.13.0")
	h.Set("Authorization", "Bearer sk-0123456789abcdef0123456789abcdef")
	if err := run(ex.Context(), ex); err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := ex.Response.Body.Next(); err != nil {
			break
		}
	}
	ex.Release()
}

func TestUnfiredRaceAllocatesNothing(t *testing.T) {
	if pipetest.Race {
		t.Skip("under the race detector pools forget at random")
	}
	f := func(events bool, want float64) {
		t.Helper()
		p := newFixed(events)
		engine := attempt.New(p, slog.New(slog.DiscardHandler))
		plan := attempt.Plan{Attempts: 2, After: time.Hour}
		run := func(ctx context.Context, ex *pipeline.Exchange) error { return engine.Run(ctx, ex, nil, plan) }
		once(t, run)
		if got := testing.AllocsPerRun(200, func() { once(t, run) }); got > want {
			t.Errorf("events %v: %v allocations, want %v", events, got, want)
		}
	}
	f(false, 0)
	f(true, 1) // the fake's own stream
}

// BenchmarkRun compares a plain call with a race that is armed and never fires.
func BenchmarkRun(b *testing.B) {
	p := newFixed(false)
	engine := attempt.New(p, slog.New(slog.DiscardHandler))
	for _, bench := range []struct {
		name string
		run  func(context.Context, *pipeline.Exchange) error
	}{
		{"plain", func(ctx context.Context, ex *pipeline.Exchange) error { return p.chain.Handle(ctx, ex) }},
		{"armed", func(ctx context.Context, ex *pipeline.Exchange) error {
			return engine.Run(ctx, ex, nil, attempt.Plan{Attempts: 2, After: time.Hour})
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				once(b, bench.run)
			}
		})
	}
}
