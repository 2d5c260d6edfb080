package pipetest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// provider checks a provider, which may have nobody to call.
func (b *bench) provider(t *testing.T) {
	use := func(t *testing.T, f func(p pipeline.Provider)) {
		NoLeaks(t)
		got := &holder[pipeline.Provider]{}
		s := b.holding(t, holds("conform_hold", got))
		f(got.ref.Get())
		s.Release()
	}
	t.Run("client gone before", func(t *testing.T) {
		use(t, func(p pipeline.Provider) {
			ex := newExchange(context.Background(), `{"model":"m","messages":[{"role":"user","content":"hi"}]}`)
			defer ex.Release()
			ex.Scope().Cancel(pipeline.ErrClientGone)
			if err := within(t, func() error { return p.Call(ex.Context(), ex) }); err == nil {
				t.Error("Call answered although its context had ended")
			}
		})
	})
	t.Run("20 at once", func(t *testing.T) {
		use(t, func(p pipeline.Provider) {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					ex := newExchange(ctx, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`)
					defer ex.Release()
					if err := p.Call(ex.Context(), ex); err != nil {
						if pe := (*pipeline.Error)(nil); !errors.As(err, &pe) && ctx.Err() == nil {
							t.Errorf("Call: %v; a failure is a *pipeline.Error", err)
						}
						return
					}
					if _, err := readAll(ex); err != nil {
						t.Errorf("read the answer: %v", err)
					}
				})
			}
			wg.Wait()
		})
	})
}

// within returns what f returns, or fails the test if that takes for ever.
func within(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatalf("not returned after %v", patience)
		return nil
	}
}

// store checks a store, if it is of a kind that is known here.
func (b *bench) store(t *testing.T) {
	if b.component.Kind() != "cachestore" {
		return
	}
	t.Run("set and get", func(t *testing.T) {
		NoLeaks(t)
		got := &holder[pipeline.CacheStore]{}
		s := b.holding(t, holds("conform_hold", got))
		store := got.ref.Get()
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				key, value := pipeline.Key{byte(n)}, bytes.Repeat([]byte{byte(n)}, n)
				ctx := context.Background()
				if _, ok, err := store.Get(ctx, key); ok || err != nil {
					t.Errorf("Get before Set: %v, %v", ok, err)
				}
				if err := store.Set(ctx, key, value, time.Hour); err != nil {
					t.Errorf("Set: %v", err)
				}
				if v, ok, err := store.Get(ctx, key); !ok || err != nil || !bytes.Equal(v, value) {
					t.Errorf("Get after Set: %q, %v, %v", v, ok, err)
				}
			})
		}
		wg.Wait()
		s.Release()
	})
}

// holding loads the bench's file with one more stage, which refers to the
// component under test.
func (b *bench) holding(t *testing.T, c config.Component) *config.Snapshot {
	t.Helper()
	file := b.file() + "      - conform_hold: { of: under_test }\n"
	s, err := config.Load(t.Context(), source(file, nil), b.registry().With(c), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A holder gets hold of a component by its name in the file.
type holder[T any] struct{ ref config.Ref[T] }

type hold[T any] struct {
	Of config.Ref[T] `yaml:"of" check:"required"`
	to func(config.Ref[T])
}

// Build implements config.Builder.
func (h hold[T]) Build(context.Context, config.Env) (pipeline.Handler, error) {
	h.to(h.Of)
	return pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		return next.Handle(ctx, ex)
	}), nil
}

func holds[T any](name string, to *holder[T]) config.Component {
	return config.Define[pipeline.Handler](name, hold[T]{to: func(r config.Ref[T]) { to.ref = r }}, "")
}

// memory is a cache store that never forgets.
type memory struct {
	mu     sync.Mutex
	values map[pipeline.Key][]byte
}

// Get implements pipeline.CacheStore.
func (m *memory) Get(_ context.Context, key pipeline.Key) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[key]
	return v, ok, nil
}

// Set implements pipeline.CacheStore.
func (m *memory) Set(_ context.Context, key pipeline.Key, value []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[pipeline.Key][]byte{}
	}
	m.values[key] = value
	return nil
}
