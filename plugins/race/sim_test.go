package race

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// upstreams draw how long a call takes: lognormal around median, and for a
// share of calls ten times as long.
type upstreams struct {
	mu     sync.Mutex
	rng    *rand.Rand
	sigma  float64
	share  float64
	median time.Duration // guarded by mu
	fails  bool          // guarded by mu

	calls atomic.Int64
	first []time.Duration // what each request took, or would have taken, unhedged; guarded by mu
}

func (u *upstreams) draw() (time.Duration, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	d := float64(u.median) * math.Exp(u.sigma*u.rng.NormFloat64())
	if u.rng.Float64() < u.share {
		d *= 10
	}
	return time.Duration(d), u.fails
}

// provider is target number i.
type provider struct {
	u *upstreams
	i int
}

func (p provider) Call(ctx context.Context, ex *pipeline.Exchange) error {
	p.u.calls.Add(1)
	d, fails := p.u.draw()
	if p.i == 0 {
		p.u.mu.Lock()
		p.u.first = append(p.u.first, d)
		p.u.mu.Unlock()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return pipeline.Cause(ctx)
	}
	if fails {
		return &pipeline.Error{Status: 502, Code: "upstream_cut", Fault: pipeline.UpstreamFault}
	}
	ex.Response.SetBody([]byte("{}"))
	return nil
}

type simulation struct {
	*upstreams
	h       *handler
	targets []*pipeline.Target
}

func newSimulation(t *testing.T, c Config, u *upstreams, targets int) *simulation {
	s := &simulation{upstreams: u}
	u.rng = rand.New(rand.NewPCG(1, 2))
	for i := range targets {
		s.targets = append(s.targets, &pipeline.Target{Index: i, Name: string('a' + rune(i)), Provider: provider{u, i}})
	}
	h, err := c.Build(t.Context(), config.Env{
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Targets: s.targets,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.h = h.(*handler)
	return s
}

// run sends n requests at random moments, rate a second, and returns how long
// each took, how many failed, and how many calls there were.
func (s *simulation) run(n int, rate float64) (took []time.Duration, failed, calls int) {
	var wg sync.WaitGroup
	took = make([]time.Duration, n)
	var errs atomic.Int64
	before := s.calls.Load()
	for i := range n {
		s.mu.Lock()
		gap := time.Duration(s.rng.ExpFloat64() / rate * float64(time.Second))
		s.mu.Unlock()
		time.Sleep(gap)
		wg.Go(func() {
			began := time.Now()
			ex := pipeline.Acquire(context.Background())
			ex.Op = pipeline.OpEmbeddings
			ex.Targets = s.targets
			if s.h.Handle(ex.Context(), ex, nil) != nil {
				errs.Add(1)
			}
			ex.Release()
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took, int(errs.Load()), int(s.calls.Load() - before)
}

func at(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)))]
}

func settings(c Config) Config {
	d := Config{After: Quantile(0.95), Floor: 50 * time.Millisecond, Budget: 0.05, Attempts: 8}
	if c.After != (After{}) {
		d.After = c.After
	}
	if c.Budget > 0 {
		d.Budget = c.Budget
	}
	return d
}

func TestSlowTail(t *testing.T) {
	f := func(n int, rate float64, u *upstreams) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			s := newSimulation(t, settings(Config{}), u, 2)
			took, failed, calls := s.run(n, rate)
			slices.Sort(u.first)
			p99, plain, extra := at(took, 0.99), at(u.first, 0.99), float64(calls-n)/float64(n)
			t.Logf("p50 %v p95 %v p99 %v; unhedged %v; ratio %.3f; extra calls %.2f %%", at(took, .5), at(took, .95), p99, plain, float64(p99)/float64(plain), 100*extra)
			if failed > 0 || float64(p99) > 0.28*float64(plain) || extra > 0.053 {
				t.Errorf("%d failed, p99 %.3f of unhedged, %.2f %% extra calls; want 0, 0.28, 5.3 %%", failed, float64(p99)/float64(plain), 100*extra)
			}
			s.h.Close()
		})
	}
	f(20000, 100, &upstreams{median: 100 * time.Millisecond, sigma: 0.15, share: 0.05})
	if pipetest.Race {
		return // the rest is arithmetic, and slow
	}
	f(20000, 300, &upstreams{median: 100 * time.Millisecond, sigma: 0.15, share: 0.05})
	f(20000, 100, &upstreams{median: 400 * time.Millisecond, sigma: 0.15, share: 0.05})
	f(20000, 300, &upstreams{median: 100 * time.Millisecond, sigma: 0.05, share: 0.04})
}

// When everything is slow, another target is slow as well: hedges have to die
// out, and to come back when they help again.
func TestAllSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstreams{median: 100 * time.Millisecond, sigma: 0.15, share: 0.05}
		s := newSimulation(t, settings(Config{Budget: 0.05}), u, 2)
		s.run(5000, 100)
		set := func(median time.Duration, share float64) {
			u.mu.Lock()
			u.median, u.share = median, share
			u.mu.Unlock()
		}
		f := func(n int, least, most float64) {
			t.Helper()
			_, _, calls := s.run(n, 100)
			if extra := float64(calls-n) / float64(n); extra < least || extra > most {
				t.Errorf("%.2f %% extra calls, want %.2f to %.2f", 100*extra, 100*least, 100*most)
			}
		}
		set(3*time.Second, 0)
		f(2000, 0, 0.05)
		f(10000, 0, 0.005)
		set(100*time.Millisecond, 0.05)
		s.run(6000, 100) // while it finds out
		f(10000, 0.03, 0.053)
		s.h.Close()
	})
}

func TestAllFail(t *testing.T) {
	f := func(c Config, median time.Duration, n int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			u := &upstreams{median: median, sigma: 0.15, fails: true}
			s := newSimulation(t, settings(c), u, 3)
			_, failed, calls := s.run(n, 100)
			if ratio := float64(calls) / float64(n); failed != n || ratio > 1.10 {
				t.Errorf("%v: %d of %d failed, %.3f calls a request; want at most 1.10; refused for budget %v", s.h.after, failed, n, ratio, testutil.ToFloat64(s.h.metrics.budget))
			}
			s.h.Close()
		})
	}
	for _, c := range []Config{{}, {After: Never()}, {After: Fixed(300 * time.Millisecond)}} {
		f(c, 5*time.Millisecond, 1000)
		f(c, 100*time.Millisecond, 1000)
		f(c, 500*time.Millisecond, 3000)
	}
}

// A target that stays dead must not use up what lets the others stand in.
func TestOneIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstreams{median: 500 * time.Millisecond, sigma: 0.15}
		s := newSimulation(t, settings(Config{}), u, 2)
		down := &pipeline.Target{Name: "down", Provider: dead{}}
		alive := s.targets[1]
		s.targets = []*pipeline.Target{down, alive}
		if _, failed, _ := s.run(5000, 200); failed > 0 {
			t.Errorf("%d of 5000 failed", failed)
		}
		// Now all are, for a while.
		u.mu.Lock()
		u.fails = true
		u.mu.Unlock()
		s.run(1000, 200)
		u.mu.Lock()
		u.fails = false
		u.mu.Unlock()
		if _, failed, _ := s.run(1000, 200); failed > 250 {
			t.Errorf("%d of 1000 failed before the failovers were resumed", failed)
		}
		if _, failed, _ := s.run(1000, 200); failed > 0 {
			t.Errorf("%d of 1000 failed afterwards", failed)
		}
		s.h.Close()
	})
}

type dead struct{}

func (dead) Call(context.Context, *pipeline.Exchange) error {
	return &pipeline.Error{Status: 502, Code: "upstream_unreachable", Fault: pipeline.UpstreamFault}
}
