package memory_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/providers/memory"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, memory.Component, "max: 1MiB")
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{memory.Component}, "testdata")
}

// build returns the store as its settings make it, and its metrics.
func build(t *testing.T, c memory.Config) (pipeline.CacheStore, func(name string) float64) {
	t.Helper()
	reg := prometheus.NewRegistry()
	s, err := c.Build(t.Context(), config.Env{Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	return s, func(name string) float64 {
		t.Helper()
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if f.GetName() == name {
				return f.Metric[0].GetCounter().GetValue() + f.Metric[0].GetGauge().GetValue()
			}
		}
		t.Fatalf("no metric %s", name)
		return 0
	}
}

func TestStoreAndMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, metric := build(t, memory.Config{Max: 1 << 20})
		ctx := context.Background()
		get := func(k byte, want string, found bool) {
			t.Helper()
			v, ok, err := s.Get(ctx, pipeline.Key{k})
			if string(v) != want || ok != found || err != nil {
				t.Errorf("key %d: %q, %v, %v; want %q, %v", k, v, ok, err, want, found)
			}
		}
		set := func(k byte, v []byte, ttl time.Duration) {
			t.Helper()
			if err := s.Set(ctx, pipeline.Key{k}, v, ttl); err != nil {
				t.Error(err)
			}
		}
		get(1, "", false)
		set(1, []byte("a"), time.Minute)
		get(1, "a", true)
		set(2, make([]byte, 1<<20), time.Minute) // more than there is room for
		get(2, "", false)
		time.Sleep(time.Minute)
		get(1, "", false)
		for i := range 20 {
			set(byte(100+i), make([]byte, 100<<10), time.Minute)
		}
		for name, want := range map[string]float64{
			"headrace_memory_cache_hits_total": 1, "headrace_memory_cache_misses_total": 3, "headrace_memory_cache_expired_total": 1,
			"headrace_memory_cache_refused_total": 1, "headrace_memory_cache_evicted_total": 10, "headrace_memory_cache_entries": 10,
			"headrace_memory_cache_bytes": 10 * (100<<10 + 222), "headrace_memory_cache_max_bytes": 1 << 20,
		} {
			if got := metric(name); got != want {
				t.Errorf("%s is %v; want %v", name, got, want)
			}
		}
	})
}

// A changed file that leaves the store alone leaves its answers there.
func TestSurvivesReload(t *testing.T) {
	var stores []pipeline.CacheStore
	reg := config.Registry{memory.Component, config.Define[pipeline.Handler]("use", use{see: func(s pipeline.CacheStore) { stores = append(stores, s) }}, "package p")}
	load := func(max, extra string, old *config.Snapshot) *config.Snapshot {
		t.Helper()
		s, err := config.Load(t.Context(), config.Source{File: "test.yaml", Data: []byte("stores:\n  answers: { memory_cache: { max: " + max +
			" } }\nroutes:\n  - name: test\n    match: { path: /v1/* }\n    chain: [ use: { store: answers, extra: " + extra + " } ]\n")}, reg, nil, old)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Release)
		return s
	}
	s := load("1MiB", "a", nil)
	s = load("1MiB", "b", s)
	load("2MiB", "b", s)
	if len(stores) != 3 || stores[0] != stores[1] || stores[1] == stores[2] {
		t.Errorf("three loads, the last with another size, made %v", stores)
	}
}

type use struct {
	Store config.Ref[pipeline.CacheStore] `yaml:"store"`
	Extra string                          `yaml:"extra"`
	see   func(pipeline.CacheStore)
}

func (u use) Build(context.Context, config.Env) (pipeline.Handler, error) {
	u.see(u.Store.Get())
	return pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return nil }), nil
}
