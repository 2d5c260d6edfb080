package pipetest

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/headrace/headrace/pipeline"
)

// patience is how long something may take to end on a busy machine. Only the
// tests of this package shorten it.
var patience = 10 * time.Second

// NoLeaks makes the test fail if, at its end, there are exchanges or goroutines
// that were not there when NoLeaks was called. Both get some time to end. Tests
// that use it cannot run in parallel with others.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := pipeline.Live()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		t.Helper()
		if t.Failed() {
			return // what failed may have left anything behind
		}
		deadline := time.Now().Add(patience)
		for pipeline.Live() != before && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if live := pipeline.Live(); live != before {
			t.Errorf("%d exchanges were not released", live-before)
		}
		err := goleak.Find(ignore)
		for err != nil && time.Now().Before(deadline) {
			err = goleak.Find(ignore)
		}
		if err != nil {
			t.Error(err)
		}
	})
}
