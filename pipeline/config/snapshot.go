package config

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/headrace/headrace/pipeline"
)

// A Snapshot is a file, compiled. It does not change, and stays usable until
// the last of its users has released it.
type Snapshot struct {
	// Server is the file's section of that name.
	Server Server
	// Before runs before the chain of every route.
	Before pipeline.Chain
	// Guarded says that no route and no model answers without a key.
	Guarded bool
	// Models are what clients may ask for.
	Models *pipeline.Models
	// Targets is every target of the models, by Index.
	Targets []*pipeline.Target
	// Routes are in the order of the file.
	Routes []Route

	units     []*unit // in the order built: what one refers to stands before it
	providers []*unit // of the targets, by Index
	refs      atomic.Int64
	close     sync.Once
}

// A Route is which requests take which chain.
type Route struct {
	Name string
	// Paths are matched whole, or as a prefix when they end in "/*".
	Paths []string
	// Methods are upper-case; none stands for any.
	Methods []string
	// Chain is what the route's requests run through, after Before.
	Chain pipeline.Chain
}

// Release ends one use of the snapshot. With the last, every component that no
// other snapshot uses is closed before Release returns.
func (s *Snapshot) Release() {
	if s.refs.Add(-1) == 0 {
		s.close.Do(func() { release(s.units) })
	}
}

// Gather implements prometheus.Gatherer over the metrics of all components.
func (s *Snapshot) Gather() ([]*dto.MetricFamily, error) {
	var all prometheus.Gatherers
	for _, u := range s.units {
		if reg := u.metrics.made(); reg != nil {
			all = append(all, reg)
		}
	}
	return all.Gather()
}

// Live is the snapshot in use. The zero Live has none.
type Live struct {
	cur atomic.Pointer[Snapshot]
}

// Acquire returns the current snapshot, which stays usable until it is
// released, whatever Swap does meanwhile. It returns nil if there is none. It
// does not allocate.
func (l *Live) Acquire() *Snapshot {
	for {
		s := l.cur.Load()
		if s == nil {
			return nil
		}
		s.refs.Add(1)
		// While the second load still sees s, the reference that Live itself
		// holds on it has not been given up, so s was not closed before Add.
		if l.cur.Load() == s {
			return s
		}
		s.Release()
	}
}

// Swap makes s current, which Load returned and Swap has not been given before,
// and takes over the caller's reference to it. It releases the previous
// snapshot, which its running exchanges may keep for a while. A nil s leaves
// none.
func (l *Live) Swap(s *Snapshot) {
	if old := l.cur.Swap(s); old != nil {
		old.Release()
	}
}
