package config_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// Many requests run while files are swapped under them. None uses a component
// that is closed, and in the end everything is.
func TestLive(t *testing.T) {
	allClosed(t)
	const acquires, users = 100_000, 4
	var live config.Live
	var texts [2]string
	texts[0] = file("[ call: { provider: one } ]")
	texts[1] = file("[ call: { provider: two }, pass ]")
	live.Swap(load(t, nil, texts[0]))
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(acquires)
	for range users {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				s := live.Acquire()
				if at(s, 0).closed.Load() > 0 {
					t.Error("acquired a snapshot that is closed")
				}
				if s.Targets[0].Provider.(answerer).closed.Load() > 0 {
					t.Error("a provider was closed under its user")
				}
				s.Release()
			}
		})
	}
	swaps := 0
	for ; left.Load() > 0; swaps++ {
		old := live.Acquire()
		live.Swap(load(t, old, texts[(swaps+1)%2]))
		old.Release()
	}
	wg.Wait()
	live.Swap(nil)
	if live.Acquire() != nil {
		t.Error("there is a snapshot after it was swapped for none")
	}
	t.Logf("%d acquires, %d swaps", acquires, swaps)
}

// A snapshot stays usable for whoever acquired it, after it was swapped.
func TestHeldAfterSwap(t *testing.T) {
	allClosed(t)
	var live config.Live
	if live.Acquire() != nil {
		t.Error("the zero Live has a snapshot")
	}
	live.Swap(load(t, nil, file("[ pass ]")))
	held := live.Acquire()
	live.Swap(load(t, nil, file("[ guard ]")))
	if at(held, 0).closed.Load() > 0 {
		t.Error("closed while it was held")
	}
	ex := pipeline.Acquire(context.Background())
	if err := held.Targets[0].Provider.Call(ex.Context(), ex); err != nil {
		t.Error(err)
	}
	ex.Release()
	stage := at(held, 0)
	held.Release()
	if stage.closed.Load() != 1 {
		t.Error("not closed with its last user")
	}
	live.Swap(nil)
}

func TestAcquireDoesNotAllocate(t *testing.T) {
	var live config.Live
	live.Swap(load(t, nil, file("[ pass ]")))
	defer live.Swap(nil)
	if n := testing.AllocsPerRun(1000, func() { live.Acquire().Release() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAcquire(b *testing.B) {
	var live config.Live
	live.Swap(load(b, nil, file("[ pass ]")))
	defer live.Swap(nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			live.Acquire().Release()
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	text := file("[ nest: { each: [ pass, guard ], branches: [ [ pass ], [ kinds ] ] }, pass: { store: answers } ]")
	b.ReportAllocs()
	for b.Loop() {
		load(b, nil, text).Release()
	}
}
