package breaker

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/headrace/headrace/pipeline"
)

// maxModels bounds the models of one target that are told apart. Clients choose the
// names, so that only those that have failed are remembered.
const maxModels = 256

// models are the breakers of the models behind a target that stands for any: one that is
// broken must not take the others with it.
type models struct {
	config  Config
	target  *breaker // whose log, clock and counters they share
	moves   [3]prometheus.Counter
	failing atomic.Int32 // len(list)

	mu   sync.RWMutex
	list map[string]*modelBreaker // by the name that clients use; guarded by mu
}

type modelBreaker struct {
	breaker
	failed atomic.Int64 // when it last did, by the target's clock
}

// modelOf is the model that a request is for, if its target stands for many.
func modelOf(ex *pipeline.Exchange) []byte {
	m, t := ex.Model, ex.Target
	if t == nil && len(ex.Targets) == 1 {
		t = ex.Targets[0]
	}
	if m == nil || t == nil || !strings.HasSuffix(m.Name, "*") || t.Model != "" && !strings.Contains(t.Model, "*") {
		return nil
	}
	c, err := ex.Chat()
	if err != nil {
		return nil
	}
	return c.Model()
}

func (m *models) find(name []byte) *modelBreaker {
	if m.failing.Load() == 0 {
		return nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.list[string(name)]
}

// add returns the breaker of a model that has failed. Where there is no room, of those
// that are not left alone the one that failed longest ago makes some; it returns nil if
// all are left alone.
func (m *models) add(name []byte) *modelBreaker {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.list[string(name)]
	if b != nil {
		return b
	}
	if len(m.list) >= maxModels && !m.evict() {
		return nil
	}
	b = &modelBreaker{}
	b.set(m.config, m.target.epoch)
	b.log = m.target.log.With("model", clip(name))
	b.refusal = errors.New("this model keeps failing at its upstream and is left alone for a while")
	b.moves, b.refused = m.moves, m.target.refused
	b.connect(m.config.Probes)
	b.failed.Store(b.now())
	m.list[string(name)] = b
	m.failing.Store(int32(len(m.list)))
	return b
}

func (m *models) evict() bool {
	var oldest string
	var at int64
	for name, b := range m.list {
		if failed := b.failed.Load(); !b.resting() && (oldest == "" || failed < at) {
			oldest, at = name, failed
		}
	}
	delete(m.list, oldest)
	return oldest != ""
}

// resting reports whether requests for the model are refused. Once its cooldown is over it
// may be that nobody will ask for it again.
func (b *modelBreaker) resting() bool {
	switch gobreaker.State(b.state.Load()) {
	case gobreaker.StateClosed:
		return false
	case gobreaker.StateOpen:
		return b.until.Load() > b.now()
	}
	return true // it is being tried
}

// open is how many models are left alone.
func (m *models) open() float64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n := 0
	for _, b := range m.list {
		if gobreaker.State(b.state.Load()) == gobreaker.StateOpen {
			n++
		}
	}
	return float64(n)
}

// clip is a name as logs have it.
func clip(name []byte) string {
	const most = 128
	return string(bytes.ToValidUTF8(name[:min(len(name), most)], []byte("\uFFFD")))
}

// A subject is whom an answer is the verdict on: the target, or one of its models.
type subject struct {
	call
	models *models // of the target; nil if it is the target itself
	name   []byte  // of the model
}

// admit lets a request for a model through or refuses it.
func (m *models) admit(name []byte) (subject, error) {
	s := subject{models: m, name: name}
	b := m.find(name)
	if b == nil {
		return s, nil
	}
	var err error
	s.call, err = b.admit()
	return s, err
}

// settle gives the request's verdict, once.
func (s *subject) settle(v verdict, wait time.Duration) {
	if s.models != nil && v == failure {
		b := s.models.add(s.name)
		if b == nil {
			return
		}
		b.failed.Store(b.now())
		if s.b == nil {
			s.call = call{b: &b.breaker, generation: b.generation.Load()}
		}
	}
	if s.b != nil {
		s.call.settle(v, wait)
	}
}

// revoke turns a success into a failure: its stream broke.
func (s *subject) revoke() {
	if s.b == nil {
		s.settle(failure, 0)
		return
	}
	s.call.revoke()
}
