package config_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// careless is a stage whose Build does what build says.
type careless struct {
	build func(env config.Env) (pipeline.Handler, error)
}

func (c careless) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return c.build(env)
}

// loadCareless loads a file with one such stage.
func loadCareless(t *testing.T, build func(env config.Env) (pipeline.Handler, error)) (*config.Snapshot, error) {
	t.Helper()
	reg := registry.With(config.Define[pipeline.Handler]("careless", careless{build}, ""))
	const file = "providers: { a: { answer: {} } }\nmodels: { \"*\": [ { provider: a } ] }\n" +
		"routes: [ { name: r, match: { path: /v1/* }, chain: [ careless: {}, pass: {} ] } ]\n"
	return config.Load(t.Context(), config.Source{File: "a.yaml", Data: []byte(file)}, reg, nil, nil)
}

// TestBuildsNothing needs a nil that an interface hides to be found when the file is
// loaded, and not by the first request.
func TestBuildsNothing(t *testing.T) {
	f := func(h pipeline.Handler) {
		t.Helper()
		_, err := loadCareless(t, func(config.Env) (pipeline.Handler, error) { return h, nil })
		if err == nil || !strings.Contains(err.Error(), "routes[0].chain[0].careless: BUG: Build returned nothing") {
			t.Errorf("%T: %v", h, err)
		}
	}
	f(nil)
	f((*stage)(nil))
	f(pipeline.HandlerFunc(nil))
}

// bursting panics when it is asked for its metrics.
type bursting struct{ prometheus.Collector }

func (bursting) Collect(chan<- prometheus.Metric) { panic("canary-collect") }

// TestMetricsThatPanic needs them to cost themselves, and neither the others nor the
// process.
func TestMetricsThatPanic(t *testing.T) {
	s, err := loadCareless(t, func(env config.Env) (pipeline.Handler, error) {
		opts := func(name string) prometheus.GaugeOpts { return prometheus.GaugeOpts{Name: name, Help: "h"} }
		env.Metrics.MustRegister(
			prometheus.NewGaugeFunc(opts("careless_write"), func() float64 { panic("canary-write") }),
			bursting{prometheus.NewGauge(opts("careless_collect"))},
			prometheus.NewGaugeFunc(opts("careless_well"), func() float64 { return 7 }),
		)
		return pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return nil }), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	families, err := s.Gather()
	for _, want := range []string{"canary-write", "canary-collect"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in %v", want, err)
		}
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] += f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
	}
	if got["careless_well"] != 7 || got["fake_built_total"] == 0 {
		t.Errorf("others are missing: %v", got)
	}
}

// TestMetricsTwice needs whoever registers a metric again to get the first one back, as
// from any registry, and to be able to take it out.
func TestMetricsTwice(t *testing.T) {
	s, err := loadCareless(t, func(env config.Env) (pipeline.Handler, error) {
		one := func() *prometheus.CounterVec {
			return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "careless_total", Help: "h"}, []string{"a"})
		}
		first, second := one(), one()
		if err := env.Metrics.Register(first); err != nil {
			return nil, err
		}
		e, ok := errors.AsType[prometheus.AlreadyRegisteredError](env.Metrics.Register(second))
		if known, _ := e.ExistingCollector.(*prometheus.CounterVec); !ok || known != first {
			t.Errorf("%v: %T", ok, e.ExistingCollector)
		}
		if !env.Metrics.Unregister(first) {
			t.Error("not taken out")
		}
		return pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return nil }), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
}

// stuck does not close before it is let go.
type stuck struct {
	*stage
	until chan struct{}
}

func (s stuck) Close() error {
	<-s.until
	return nil
}

// TestCloseThatHangs needs a component that does not close to hold up neither a reload nor
// the end of the process, and the others to be closed.
func TestCloseThatHangs(t *testing.T) {
	var log strings.Builder
	before := open.Load()
	const file = "providers: { a: { answer: {} } }\nmodels: { \"*\": [ { provider: a } ] }\n" +
		"routes: [ { name: r, match: { path: /v1/* }, chain: [ careless: {}, pass: {} ] } ]\n"
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		defer close(until)
		reg := registry.With(config.Define[pipeline.Handler]("careless", careless{func(config.Env) (pipeline.Handler, error) { return stuck{until: until}, nil }}, ""))
		s, err := config.Load(t.Context(), config.Source{File: "a.yaml", Data: []byte(file)}, reg, slog.New(slog.NewTextHandler(&log, nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
		if open.Load() != before {
			t.Errorf("%d components are open", open.Load()-before)
		}
	})
	if !strings.Contains(log.String(), "does not close") || !strings.Contains(log.String(), "component=routes.r.careless") {
		t.Error(log.String())
	}
}

// TestBuildThatHangs needs a Build that does not heed its context to be named, and to be
// given up when the context ends; what comes of it later is closed.
func TestBuildThatHangs(t *testing.T) {
	var log strings.Builder
	before := open.Load()
	const file = "routes: [ { name: r, match: { path: /v1/* }, chain: [ careless: {} ] } ]\n"
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		reg := registry.With(config.Define[pipeline.Handler]("careless", careless{func(env config.Env) (pipeline.Handler, error) {
			<-until
			return &stage{life: born(env)}, nil
		}}, ""))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := config.Load(ctx, config.Source{File: "a.yaml", Data: []byte(file)}, reg, slog.New(slog.NewTextHandler(&log, nil)), nil)
		if err == nil || !strings.Contains(err.Error(), "routes[0].chain[0].careless: not built: context deadline exceeded") {
			t.Error(err)
		}
		if took := time.Since(began); took > 62*time.Second {
			t.Errorf("given up after %v", took)
		}
		close(until)
		synctest.Wait()
		if open.Load() != before {
			t.Errorf("%d components are open", open.Load()-before)
		}
	})
	if !strings.Contains(log.String(), "takes long to build") || !strings.Contains(log.String(), "component=routes.r.careless") {
		t.Error(log.String())
	}
}
