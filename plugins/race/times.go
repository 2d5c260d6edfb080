package race

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// classes are the kinds of request whose times must not be mixed: a stream's
// first event comes long before a whole answer, and an embedding before either.
const classes = 2 * (int(pipeline.OpModels) + 1)

// times are what one candidate's answers took, by class; nil until asked for.
type times [classes]atomic.Pointer[latency]

func classOf(ex *pipeline.Exchange) int {
	class := 2 * int(ex.Op)
	if !ex.Op.HasModel() {
		return class
	}
	if c, err := ex.Chat(); err == nil && c.Stream() {
		class++
	}
	return class
}

// latency returns what is known of target, or of branch number i.
func (h *handler) latency(target *pipeline.Target, i, class int) *latency {
	if len(h.branches) == 0 {
		i = target.Index
	}
	at := &h.times[i][class]
	if l := at.Load(); l != nil {
		return l
	}
	name := "branch " + strconv.Itoa(i+1)
	if len(h.branches) == 0 {
		name = target.Name
	}
	stream := strconv.FormatBool(class%2 == 1)
	gauge := h.metrics.delay.WithLabelValues(name, pipeline.Operation(class/2).String(), stream)
	at.CompareAndSwap(nil, newLatency(time.Now(), gauge))
	return at.Load()
}
