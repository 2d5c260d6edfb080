package cache

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are the stage's metrics, resolved once.
type counts struct {
	hit, miss, bypass     prometheus.Counter
	stored, unfit, failed prometheus.Counter
}

func (c *counts) register(r prometheus.Registerer) error {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_cache_requests_total",
		Help: "Requests that reached the cache, by how it took part in the answer.",
	}, []string{"result"})
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_cache_answers_total",
		Help: "Fresh answers by whether they were kept: stored, unfit to be kept, or failed for an error of the store.",
	}, []string{"result"})
	for _, v := range []prometheus.Collector{requests, answers} {
		if err := r.Register(v); err != nil {
			return err
		}
	}
	c.hit, c.miss, c.bypass = requests.WithLabelValues(hit), requests.WithLabelValues(miss), requests.WithLabelValues(bypass)
	c.stored, c.unfit, c.failed = answers.WithLabelValues("stored"), answers.WithLabelValues("unfit"), answers.WithLabelValues("failed")
	return nil
}

// quiet is how long the log says nothing after a warning: a store that is
// down fails every request.
const quiet = 10 * time.Second

// limitedLog warns now and then, and says how often it did not.
type limitedLog struct {
	log  *slog.Logger
	next atomic.Int64 // when the next warning may be written, in Unix nanoseconds
	held atomic.Int64 // warnings since the last
}

func newLog(log *slog.Logger) *limitedLog { return &limitedLog{log: log} }

func (l *limitedLog) warn(what string, err error) {
	now := time.Now().UnixNano()
	next := l.next.Load()
	if now < next || !l.next.CompareAndSwap(next, now+int64(quiet)) {
		l.held.Add(1)
		return
	}
	l.log.Warn(what, "err", err, "held", l.held.Swap(0))
}
