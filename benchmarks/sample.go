package main

import (
	"math"
	"os"
	"slices"
	"time"

	"github.com/headrace/headrace/benchmarks/load"
	"github.com/headrace/headrace/benchmarks/measure"
	"github.com/headrace/headrace/benchmarks/mock"
	"github.com/headrace/headrace/benchmarks/stats"
)

// A sample is one slice of load on one target and what it cost.
type sample struct {
	load.Result
	used          measure.Usage // by the target; unknown if it was not started here
	known         bool
	before, after measure.Memory
	upstream      mock.Stats
	foreign       float64 // share of the machine that went to other programs
	size          int     // of a request's body, in bytes
}

// A metric is one measure of a sample.
type metric struct {
	name   string
	digits int
	// ratio also compares with the base target; spread shows the interval.
	ratio, spread bool
	of            func(s *sample) float64
}

var unknown = math.NaN()

// cost returns the processor time per n, in units of unit.
func (s *sample) cost(n int, unit time.Duration) float64 {
	if !s.known || n == 0 {
		return unknown
	}
	return float64(s.used.CPU) / float64(unit) / float64(n)
}

// quantile returns a metric's function for a list of times. The list is sorted
// in place: nobody needs it in another order.
func quantile(list func(*sample) []float64, q float64) func(*sample) float64 {
	return func(s *sample) float64 {
		l := list(s)
		slices.Sort(l)
		return stats.Quantile(l, q)
	}
}

func latencies(s *sample) []float64 { return s.Latencies }
func firsts(s *sample) []float64    { return s.FirstChunk }
func held(s *sample) []float64      { return s.Held }

func milliseconds(of func(*sample) float64) func(*sample) float64 {
	return func(s *sample) float64 { return of(s) / 1e3 }
}

// The metrics, under the names that goals and charts use.
var (
	cpu      = metric{name: "CPU µs/request", digits: 1, ratio: true, of: func(s *sample) float64 { return s.cost(s.Done, time.Microsecond) }}
	system   = metric{name: "of it kernel", digits: 2, of: func(s *sample) float64 { return known(s, float64(s.used.System)/float64(s.used.CPU)) }}
	rps      = metric{name: "requests/s", ratio: true, of: func(s *sample) float64 { return float64(s.Done) / s.Took.Seconds() }}
	p50      = metric{name: "p50 ms", digits: 2, of: milliseconds(quantile(latencies, 0.5))}
	p95      = metric{name: "p95 ms", digits: 2, of: milliseconds(quantile(latencies, 0.95))}
	p99      = metric{name: "p99 ms", digits: 2, of: milliseconds(quantile(latencies, 0.99))}
	p99Ratio = metric{name: "p99 ms", digits: 1, ratio: true, of: p99.of}
	calls    = metric{name: "upstream calls/request", digits: 3, of: func(s *sample) float64 {
		return float64(s.upstream.Calls) / float64(s.Done+s.Errors+len(s.Left))
	}}
	chunkCPU = metric{name: "CPU ms/1000 chunks", digits: 1, ratio: true, of: func(s *sample) float64 { return s.cost(len(s.Held), time.Microsecond) }}
	chunkRPS = metric{name: "chunks/s", of: func(s *sample) float64 { return float64(len(s.Held)) / s.Took.Seconds() }}
	first50  = metric{name: "first chunk p50 ms", digits: 2, of: milliseconds(quantile(firsts, 0.5))}
	first99  = metric{name: "first chunk p99 ms", digits: 2, of: milliseconds(quantile(firsts, 0.99))}
	held50   = metric{name: "chunk held p50 ms", digits: 2, of: milliseconds(quantile(held, 0.5))}
	held99   = metric{name: "chunk held p99 ms", digits: 2, of: milliseconds(quantile(held, 0.99))}
	mbCPU    = metric{name: "CPU ms/MB", digits: 2, ratio: true, of: func(s *sample) float64 { return s.cost(s.Done, time.Millisecond) / float64(s.size) * 1e6 }}
	mbRate   = metric{name: "MB/s", of: func(s *sample) float64 { return float64(s.Done) * float64(s.size) / 1e6 / s.Took.Seconds() }}
	resident = metric{name: "RSS MB", digits: 1, of: func(s *sample) float64 { return known(s, float64(s.after.Resident)/1e6) }}
	peak     = metric{name: "peak RSS MB", digits: 1, of: func(s *sample) float64 { return known(s, float64(s.after.Peak)/1e6) }}
	perHeld  = metric{name: "RSS KiB/stream", digits: 1, spread: true, of: func(s *sample) float64 {
		return known(s, float64(s.after.Resident-s.before.Resident)/1024/float64(s.Done))
	}}
	noticed50 = metric{name: "upstream closed after p50 ms", digits: 2, of: func(s *sample) float64 { return s.noticed(0.5) }}
	noticed99 = metric{name: "p99 ms", digits: 2, spread: true, of: func(s *sample) float64 { return s.noticed(0.99) }}
	missed    = metric{name: "never", of: func(s *sample) float64 { return float64(s.missed()) }}
	left      = metric{name: "clients left", of: func(s *sample) float64 { return float64(len(s.Left)) }}
	lag       = metric{name: "load late p99 ms", digits: 2, of: milliseconds(quantile(func(s *sample) []float64 { return s.Lag }, 0.99))}
	failures  = metric{name: "errors", of: func(s *sample) float64 { return float64(s.Errors) }}
	foreign   = metric{name: "others' CPU", digits: 2, of: func(s *sample) float64 { return s.foreign }}
)

func known(s *sample, v float64) float64 {
	if !s.known {
		return unknown
	}
	return v
}

// gone returns how long after its client left each upstream call was given
// up, in milliseconds and sorted.
func (s *sample) gone() []float64 {
	var ms []float64
	for ref, at := range s.Left {
		if seen, ok := s.upstream.Departed[ref]; ok {
			ms = append(ms, float64(seen-at)/1e6)
		}
	}
	slices.Sort(ms)
	return ms
}

// missed is how many calls the upstream answered although their clients had
// left.
func (s *sample) missed() (n int) {
	for ref := range s.Left {
		if s.upstream.Served[ref] {
			n++
		}
	}
	return n
}

// noticed is a quantile of gone. A call that was never given up counts as
// infinitely late; a request that never reached the upstream cost it nothing
// and does not count.
func (s *sample) noticed(q float64) float64 {
	ms := s.gone()
	for range s.missed() {
		ms = append(ms, math.Inf(1))
	}
	return stats.Quantile(ms, q)
}

// A meter takes the readings around a slice of load.
type meter struct {
	target, ours []int
	used         measure.Usage
	all          time.Duration
	busy         time.Duration
	at           time.Time
	before       measure.Memory
}

// begin reads the meters. The target's processes may be none; upstream's and
// this program's own count as ours too.
func begin(target, upstream []int) (*meter, error) {
	m := &meter{target: target, ours: slices.Concat(target, upstream, []int{os.Getpid()})}
	var err error
	if m.before, err = measure.MemoryOf(target); err != nil {
		return nil, err
	}
	all, err := measure.Of(m.ours)
	if err != nil {
		return nil, err
	}
	if m.busy, err = measure.Machine(); err != nil {
		return nil, err
	}
	m.all, m.at = all.CPU, time.Now()
	m.used, err = measure.Of(target)
	return m, err
}

// end fills in what the target used since begin.
func (m *meter) end(s *sample, processors int) error {
	now, err := measure.Of(m.target)
	if err != nil {
		return err
	}
	all, err := measure.Of(m.ours)
	if err != nil {
		return err
	}
	busy, err := measure.Machine()
	if err != nil {
		return err
	}
	if s.after, err = measure.MemoryOf(m.target); err != nil {
		return err
	}
	s.known = len(m.target) > 0
	s.used = measure.Usage{CPU: now.CPU - m.used.CPU, System: now.System - m.used.System}
	s.before = m.before
	others := (busy - m.busy) - (all.CPU - m.all)
	s.foreign = max(0, float64(others)/float64(time.Since(m.at))/float64(processors))
	return nil
}
