package config

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
)

// closable notes that it was closed.
type closable struct{ closed atomic.Int32 }

func (c *closable) Close() error { c.closed.Add(1); return nil }

// A snapshot is never closed while somebody has it, and once afterwards. Half
// of its component is carried over from each to the next.
func TestAcquireAgainstSwap(t *testing.T) {
	const acquires, users = 1_000_000, 4
	var live Live
	var all []*closable
	var shared *unit
	next := func() *Snapshot {
		own := &unit{value: &closable{}, log: slog.New(slog.DiscardHandler)}
		if len(all)%4 == 0 {
			shared = &unit{value: &closable{}, log: own.log}
			all = append(all, shared.value.(*closable))
		}
		all = append(all, own.value.(*closable))
		s := &Snapshot{units: []*unit{shared, own}}
		s.refs.Store(1)
		for _, u := range s.units {
			u.users.Add(1)
		}
		return s
	}
	live.Swap(next())
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(acquires)
	for range users {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				s := live.Acquire()
				for _, u := range s.units {
					if u.value.(*closable).closed.Load() > 0 {
						t.Error("acquired what is closed")
						left.Store(0)
					}
				}
				s.Release()
			}
		})
	}
	swaps := 0
	for ; left.Load() > 0; swaps++ {
		live.Swap(next())
	}
	wg.Wait()
	live.Swap(nil)
	for i, c := range all {
		if n := c.closed.Load(); n != 1 {
			t.Fatalf("component %d of %d was closed %d times", i, len(all), n)
		}
	}
	t.Logf("%d acquires, %d swaps", acquires, swaps)
}
