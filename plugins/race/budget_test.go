package race

import "testing"

// After five failovers in a row that failed none starts, but one in twenty-five
// requests, one at a time, to see whether an upstream is back.
func TestFailoversStop(t *testing.T) {
	f := newFailovers()
	take := func(want bool) {
		t.Helper()
		if got := f.take(false); got != want {
			t.Fatalf("a failover may start: %v", got)
		}
	}
	fail := func(n int) {
		t.Helper()
		for range n {
			take(true)
			f.ended(false, true)
		}
		take(false)
	}
	requests := func(n int) {
		for range n {
			f.request()
		}
	}
	requests(1000) // saves nothing as long as failovers answer
	fail(failoverTokens - failoverStop)
	if !f.take(true) {
		t.Error("no upstream was called, and none may be")
	}
	f.ended(false, false)

	requests(24)
	take(false)
	requests(1)
	take(true)
	requests(50)
	take(false) // while the other runs
	f.ended(false, true)
	take(true) // what was saved meanwhile is for one
	f.ended(false, false)
	take(false)

	requests(25)
	take(true)
	f.ended(true, false)
	fail(3) // back, but not as if nothing had been
	requests(25)
	take(true)
	f.ended(true, false)
	for range 10 {
		take(true)
		f.ended(true, false)
	}
	fail(failoverTokens - failoverStop)
}

// What was saved up while hedges helped is spent no more once they do not.
func TestHedgesThatDoNotHelp(t *testing.T) {
	h := newHedges(0.05)
	for range 10_000 {
		h.request()
	}
	n := 0
	for h.take() {
		h.ended(true)
		n++
	}
	if n != hedgeBurst {
		t.Errorf("%d hedges at once, want %d", n, hedgeBurst)
	}
	for range 10_000 {
		h.request()
	}
	n = 0
	for h.take() {
		h.ended(false)
		n++
	}
	saved := n
	for range 20 {
		h.request()
	}
	for n = 0; h.take(); n++ {
		h.ended(false)
	}
	if saved >= hedgeBurst || n > 1 {
		t.Errorf("%d hedges out of %d that were saved lost, and %d of twenty requests after them", saved, hedgeBurst, n)
	}
}
