// Package memory keeps answers in the gateway's own memory, bounded by bytes.
// The least recently used make room for new ones. Nothing survives a restart;
// a reload of the configuration leaves it as it is.
package memory

import (
	"context"
	_ "embed"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/lru"
)

//go:embed memory.go
var source string

// Component describes memory_cache to a registry.
var Component = config.Define[pipeline.CacheStore]("memory_cache", Config{Max: 64 << 20}, source)

// Config keeps answers in the memory of the gateway.
type Config struct {
	// Max is how much memory the answers may take. One answer may take at most
	// an eighth of its share of that, which is 2MiB from 256MiB on.
	Max config.Size `yaml:"max" check:"min=64KiB"`
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.CacheStore, error) {
	s := &store{lru.New(int64(c.Max))}
	for _, m := range []prometheus.Collector{
		s.counter("headrace_memory_cache_hits_total", "Look-ups that found an answer.", func(s lru.Stats) uint64 { return s.Hits }),
		s.counter("headrace_memory_cache_misses_total", "Look-ups that found none.", func(s lru.Stats) uint64 { return s.Misses }),
		s.counter("headrace_memory_cache_evicted_total", "Answers dropped for want of room.", func(s lru.Stats) uint64 { return s.Evicted }),
		s.counter("headrace_memory_cache_expired_total", "Answers dropped for their age.", func(s lru.Stats) uint64 { return s.Expired }),
		s.counter("headrace_memory_cache_refused_total", "Answers too large to be kept.", func(s lru.Stats) uint64 { return s.Refused }),
		s.gauge("headrace_memory_cache_entries", "Answers kept.", func(s lru.Stats) float64 { return float64(s.Entries) }),
		s.gauge("headrace_memory_cache_bytes", "Memory that the answers take.", func(s lru.Stats) float64 { return float64(s.Bytes) }),
		s.gauge("headrace_memory_cache_max_bytes", "Memory that the answers may take.", func(lru.Stats) float64 { return float64(c.Max) }),
	} {
		if err := env.Metrics.Register(m); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// store is the cache as a port. Its errors are always nil.
type store struct{ cache *lru.Cache }

// Get implements pipeline.CacheStore.
func (s *store) Get(_ context.Context, key pipeline.Key) ([]byte, bool, error) {
	value, ok := s.cache.Get(key)
	return value, ok, nil
}

// Set implements pipeline.CacheStore.
func (s *store) Set(_ context.Context, key pipeline.Key, value []byte, ttl time.Duration) error {
	s.cache.Set(key, value, ttl)
	return nil
}

// counter is a metric read from the cache's own counts when it is asked for,
// so that a look-up pays for none.
func (s *store) counter(name, help string, of func(lru.Stats) uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
		func() float64 { return float64(of(s.cache.Stats())) })
}

func (s *store) gauge(name, help string, of func(lru.Stats) float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
		func() float64 { return of(s.cache.Stats()) })
}
