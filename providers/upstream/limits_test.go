package upstream

import (
	"testing"

	"github.com/headrace/headrace/pipeline"
)

// A request has bounds of its own in place of the client's, but for the whole call:
// there the sooner of the two ends it.
func TestLimits(t *testing.T) {
	f := func(own, client, want pipeline.Wait) {
		t.Helper()
		o := &Options{FirstByte: client.FirstByte, Idle: client.Idle, Total: client.Total}
		if got := limits(own, o); got != want {
			t.Errorf("%v within %v are %v, want %v", own, client, got, want)
		}
	}
	f(pipeline.Wait{}, pipeline.Wait{}, pipeline.Wait{})
	f(pipeline.Wait{}, pipeline.Wait{FirstByte: 1, Idle: 2, Total: 3}, pipeline.Wait{FirstByte: 1, Idle: 2, Total: 3})
	f(pipeline.Wait{FirstByte: 1, Idle: 2, Total: 3}, pipeline.Wait{}, pipeline.Wait{FirstByte: 1, Idle: 2, Total: 3})
	f(pipeline.Wait{FirstByte: 9, Idle: 9, Total: 9}, pipeline.Wait{FirstByte: 1, Idle: 2, Total: 3}, pipeline.Wait{FirstByte: 9, Idle: 9, Total: 3})
	f(pipeline.Wait{FirstByte: 1, Idle: 1, Total: 1}, pipeline.Wait{FirstByte: 9, Idle: 9, Total: 9}, pipeline.Wait{FirstByte: 1, Idle: 1, Total: 1})
}
