package race

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	windows    = 6
	windowSpan = 10 * time.Second
	// recent is how long an estimate is served before it is made anew.
	recent = 100 * time.Millisecond
	// enough is how many answers an estimate needs.
	enough = 20
	// blind times the least delay is the delay before the first answer.
	blind = 20

	// Buckets are linear within a power of two and count from 64 µs to 4.6
	// minutes: an estimate is at most 6 % too high.
	subBits  = 4
	minShift = 6
	octaves  = 22
	buckets  = octaves<<subBits + 1 // the last holds what outlasted every answer
	never    = buckets - 1
)

// latency knows how long answers of one kind took in the last minute. Adding is
// a few nanoseconds; the estimate is made ten times a second at most.
type latency struct {
	epoch time.Time // when counting began
	ring  [windows]window

	made  atomic.Int64 // when delay was made, since epoch; 0 for not yet
	delay atomic.Int64
	// settled says that delay comes from enough answers.
	settled atomic.Bool
	gauge   prometheus.Gauge // shows delay in seconds
}

type window struct {
	slot   atomic.Int64 // which span it counts
	counts [buckets]atomic.Uint32
}

func newLatency(now time.Time, gauge prometheus.Gauge) *latency {
	return &latency{epoch: now.Add(-windowSpan), gauge: gauge}
}

// add counts an answer that took d.
func (l *latency) add(now time.Time, d time.Duration) { l.count(now, bucket(d)) }

// addLost counts an attempt that was given up without an answer. How long it
// would have taken nobody knows; it counts as slower than any answer.
func (l *latency) addLost(now time.Time) { l.count(now, never) }

func (l *latency) count(now time.Time, bucket int) {
	slot := int64(now.Sub(l.epoch) / windowSpan)
	w := &l.ring[slot%windows]
	if old := w.slot.Load(); old != slot && w.slot.CompareAndSwap(old, slot) {
		// Counts that others add meanwhile may be lost: a statistic.
		for i := range w.counts {
			w.counts[i].Store(0)
		}
	}
	w.counts[bucket].Add(1)
}

// after returns the delay after which an answer counts as late: such that a
// share of at most 1-quantile of the answers takes longer, and least at least.
func (l *latency) after(now time.Time, quantile float64, least time.Duration) time.Duration {
	at := int64(now.Sub(l.epoch))
	made := l.made.Load()
	if made != 0 && at-made < int64(recent) || !l.made.CompareAndSwap(made, at) {
		if d := time.Duration(l.delay.Load()); d > 0 {
			return d
		}
		return blind * least
	}
	d := l.estimate(at, quantile, least)
	l.delay.Store(int64(d))
	l.gauge.Set(d.Seconds())
	return d
}

// overrun is how much a longer delay must save to be worth it: the estimate
// lets more answers count as late than asked for if each tenth more shortens
// the delay by a fifth. Without it, a tail of slow answers that is about as
// large as the share asked for would throw the estimate from one side of the
// gap to the other.
const overrun = 2 / math.Ln2

func (l *latency) estimate(at int64, quantile float64, least time.Duration) time.Duration {
	var sum [buckets]uint32
	total := l.sum(&sum, at/int64(windowSpan))
	answers := total - sum[never]
	switch {
	case answers < enough && l.settled.Load():
		return time.Duration(l.delay.Load()) // better the last minute's than a handful's
	case answers == 0:
		return blind * least
	case answers < enough:
		return max(least, 4*median(&sum, answers))
	}
	late := float64(sum[never])
	share := (1 - quantile) * float64(total)
	best, cost := never-1, math.Inf(1)
	for i := never - 1; i >= 0; i-- {
		if sum[i] == 0 {
			continue
		}
		c := math.Log2(float64(edge(i))) + overrun*max(0, late/share-1)
		if c < cost {
			best, cost = i, c
		}
		late += float64(sum[i])
	}
	l.settled.Store(true)
	return max(least, edge(best))
}

// sum adds up the windows that are not older than a minute.
func (l *latency) sum(dst *[buckets]uint32, slot int64) (total uint32) {
	for w := range l.ring {
		w := &l.ring[w]
		if slot-w.slot.Load() >= windows {
			continue
		}
		for i := range w.counts {
			n := w.counts[i].Load()
			dst[i] += n
			total += n
		}
	}
	return total
}

func median(sum *[buckets]uint32, answers uint32) time.Duration {
	seen := uint32(0)
	for i, n := range sum[:never] {
		if seen += n; 2*seen >= answers {
			return edge(i)
		}
	}
	return 0
}

// bucket is where d is counted.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 1<<minShift {
		return 0
	}
	octave := bits.Len64(us) - 1 - minShift
	if octave >= octaves {
		return never - 1
	}
	sub := us >> (octave + minShift - subBits) & (1<<subBits - 1)
	return octave<<subBits + int(sub)
}

// edge is the time that everything in bucket i is below.
func edge(i int) time.Duration {
	octave, sub := i>>subBits, i&(1<<subBits-1)
	us := (1<<subBits + uint64(sub) + 1) << (octave + minShift - subBits)
	return time.Duration(us) * time.Microsecond
}
