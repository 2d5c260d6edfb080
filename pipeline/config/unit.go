package config

import (
	"io"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
)

// A unit is one component of a file, from its settings to the running thing.
// Units that the next file has unchanged are carried over to its snapshot.
type unit struct {
	comp     Component
	base     string // its name, before it is told from others of the same
	path     string // for problems
	at       *node
	name     string // of a provider or store, as declared
	target   *target
	settings reflect.Value
	refs     []*link
	nested   []*compiled // chains in its settings
	each     []perTarget

	carried *unit // the previous snapshot's unit that is used instead
	sum     [32]byte
	needs   []*unit // what it was built with
	serves  *pipeline.Target
	env     string // Env.Name
	value   any
	log     *slog.Logger
	metrics metrics
	users   atomic.Int32 // snapshots that hold it
}

// perTarget is what an Each holds for one target.
type perTarget struct {
	chains []pipeline.Chain // of the Each, by Index
	target *target
	chain  *compiled
}

// stages returns the units in the chains of u's settings.
func (u *unit) stages() []*unit {
	var out []*unit
	for _, c := range u.nested {
		out = append(out, c.units...)
	}
	for _, e := range u.each {
		out = append(out, e.chain.units...)
	}
	return out
}

// named are what u refers to, the stages in its settings included.
func (u *unit) named() []*link {
	out := slices.Clip(u.refs)
	for _, s := range u.stages() {
		out = append(out, s.named()...)
	}
	return out
}

// final returns the unit that the snapshot uses for u.
func (u *unit) final() *unit {
	if u.carried != nil {
		return u.carried
	}
	return u
}

// release gives up one snapshot's hold on units and closes those that no other
// has, what needs something before what it needs.
func release(units []*unit) {
	for _, u := range slices.Backward(units) {
		if u.users.Add(-1) == 0 {
			u.close()
		}
	}
}

// maxClose is how long a component may take to close. Whoever waits for it is a reload, a
// request or the end of the process, none of which may hang for good.
const maxClose = 10 * time.Second

func (u *unit) close() {
	c, ok := u.value.(io.Closer)
	if !ok {
		return
	}
	done := make(chan error, 1)
	go func() { done <- guarded(c.Close) }()
	late := time.NewTimer(maxClose)
	defer late.Stop()
	select {
	case err := <-done:
		if err != nil {
			u.log.Warn("closing a component", "error", err)
		}
	case <-late.C:
		u.log.Error("a component does not close; going on without it", "after", maxClose.String())
	}
}

// metrics is a registry that is made when the first metric is registered: most
// components have none.
type metrics struct {
	mu  sync.Mutex
	reg *prometheus.Registry // guarded by mu
}

func (m *metrics) made() *prometheus.Registry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reg
}

func (m *metrics) registry() *prometheus.Registry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reg == nil {
		m.reg = prometheus.NewRegistry()
	}
	return m.reg
}

// Register implements prometheus.Registerer.
func (m *metrics) Register(c prometheus.Collector) error { return m.registry().Register(c) }

// MustRegister implements prometheus.Registerer.
func (m *metrics) MustRegister(cs ...prometheus.Collector) { m.registry().MustRegister(cs...) }

// Unregister implements prometheus.Registerer.
func (m *metrics) Unregister(c prometheus.Collector) bool { return m.registry().Unregister(c) }
