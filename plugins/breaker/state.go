package breaker

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/headrace/headrace/pipeline"
)

// breaker is the state machine. gobreaker keeps the state and rations the
// probes; when to open is decided by a tally of our own. gobreaker counts a
// request when it is let in and drops outcomes older than its window, which
// would drop every timeout longer than that; and it cannot take back the
// success of a stream that breaks later.
type breaker struct {
	gate        *gobreaker.TwoStepCircuitBreaker[struct{}]
	tally       tally
	cooldown    time.Duration
	maxCooldown time.Duration
	epoch       time.Time // what the times below count from; it has a monotonic clock

	state      atomic.Int32  // a gobreaker.State, for those who only want to pass
	generation atomic.Uint64 // counts changes of state
	until      atomic.Int64  // when the cooldown ends
	hold       atomic.Int64  // until when the upstream asked to be left alone

	refusal error
	log     *slog.Logger
	moves   [3]prometheus.Counter // by gobreaker.State
	refused prometheus.Counter
}

// What is told to gobreaker.
var (
	errFailed  = errors.New("failed")
	errIgnored = errors.New("says nothing about the upstream")
)

func (b *breaker) set(c Config, epoch time.Time) {
	b.cooldown, b.maxCooldown, b.epoch = c.Cooldown, c.MaxCooldown, epoch
	b.tally = tally{limit: c.Failures, min: c.MinRequests, width: max(1, c.Window/buckets)}
}

func (b *breaker) connect(probes int) {
	b.gate = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   uint32(probes),
		Timeout:       b.cooldown,
		ReadyToTrip:   func(gobreaker.Counts) bool { return true }, // it is told of a failure once the tally is full
		IsExcluded:    func(err error) bool { return err == errIgnored },
		OnStateChange: b.moved,
	})
}

// moved runs under gobreaker's lock.
func (b *breaker) moved(_ string, _, to gobreaker.State) {
	if to == gobreaker.StateOpen {
		b.until.Store(max(b.now()+int64(b.cooldown), b.hold.Swap(0)))
	}
	b.state.Store(int32(to))
	b.generation.Add(1)
	b.moves[to].Inc()
}

func (b *breaker) now() int64 { return int64(time.Since(b.epoch)) }

// A call is a request that was let through.
type call struct {
	b          *breaker
	done       func(error) // of a probe that has no verdict yet
	generation uint64      // in which its verdict counts
	counted    mark        // of its success, to take it back
}

// admit lets a request through or refuses it.
func (b *breaker) admit() (call, error) {
	c := call{b: b, generation: b.generation.Load()}
	if gobreaker.State(b.state.Load()) == gobreaker.StateClosed {
		return c, nil
	}
	if wait := b.until.Load() - b.now(); wait > 0 {
		return c, b.refuse(time.Duration(wait))
	}
	done, err := b.gate.Allow()
	if err != nil { // a probe is under way
		return c, b.refuse(0)
	}
	c.generation = b.generation.Load()
	if gobreaker.State(b.state.Load()) == gobreaker.StateHalfOpen {
		c.done = done
	} else {
		done(errIgnored) // closed just now; it counts like any other
	}
	return c, nil
}

func (b *breaker) refuse(wait time.Duration) error {
	b.refused.Inc()
	return &pipeline.Error{
		Status: 503, Code: "circuit_open", Fault: pipeline.OverloadFault,
		RetryAfter: max(wait, time.Second), Err: b.refusal,
	}
}

// settle gives the call its verdict, once. wait is how long the upstream asked
// to be left alone.
func (c *call) settle(v verdict, wait time.Duration) {
	if v == failure && wait > 0 {
		c.b.holdFor(wait)
	}
	if c.done == nil {
		switch v {
		case success:
			c.counted = c.b.tally.success(c.generation, c.b.now())
		case failure:
			c.b.count(c.generation, mark{})
		}
		return
	}
	done := c.done
	c.done = nil
	switch v {
	case success:
		done(nil)
		// What happens to the rest of its answer counts from now on.
		c.generation = c.b.generation.Load()
		if gobreaker.State(c.b.state.Load()) == gobreaker.StateClosed {
			c.b.log.Info("upstream answers again")
		}
	case failure:
		done(errFailed)
		c.b.log.Warn("upstream still fails; leaving it alone", "for", c.b.rest())
	default:
		done(errIgnored)
	}
}

// revoke turns the success of a call into a failure: its stream broke.
func (c *call) revoke() { c.b.count(c.generation, c.counted) }

// count counts a failure, in place of the success that m marks, and opens the
// breaker if it was one too many. Failures of an earlier state come too late
// to say anything.
func (b *breaker) count(generation uint64, m mark) {
	if generation != b.generation.Load() {
		return
	}
	if gobreaker.State(b.state.Load()) == gobreaker.StateClosed && !b.tally.failure(generation, b.now(), m) {
		return
	}
	// Between two probes a broken stream is a verdict too.
	if done, err := b.gate.Allow(); err == nil {
		done(errFailed)
		b.log.Warn("upstream keeps failing; leaving it alone", "for", b.rest())
	}
}

// holdFor notes that the upstream asked to be left alone. It matters if the
// breaker is open, or opens before then.
func (b *breaker) holdFor(wait time.Duration) {
	until := b.now() + int64(min(wait, b.maxCooldown))
	raise(&b.hold, until)
	if gobreaker.State(b.state.Load()) == gobreaker.StateOpen {
		raise(&b.until, until)
	}
}

// rest is how long the upstream is left alone from now.
func (b *breaker) rest() time.Duration {
	return max(0, time.Duration(b.until.Load()-b.now())).Round(time.Millisecond)
}

func raise(v *atomic.Int64, to int64) {
	for old := v.Load(); old < to && !v.CompareAndSwap(old, to); old = v.Load() {
	}
}
