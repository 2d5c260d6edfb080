package breaker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
)

func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream(t, "{ failures: 2, cooldown: 15s }")
		u.answer = bad
		u.ask(t)
		u.ask(t)
		_, err := u.ask(t)
		if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.RetryAfter != 15*time.Second {
			t.Fatalf("refused with %v", err)
		}
		if u.calls != 2 {
			t.Fatalf("%d calls let through", u.calls)
		}
		time.Sleep(15*time.Second - time.Millisecond)
		if !u.open(t) {
			t.Fatal("asked before the cooldown was over")
		}
		time.Sleep(2 * time.Millisecond)
		u.ask(t) // a probe, which fails
		if u.calls != 3 || !u.open(t) {
			t.Fatalf("%d calls; a probe that failed must leave the breaker open", u.calls)
		}
		u.answer = good
		began := time.Now()
		for ; u.open(t); time.Sleep(100 * time.Millisecond) {
		}
		if took := time.Since(began); took < 14*time.Second || took > 16*time.Second {
			t.Errorf("probed again after %v", took)
		}
		if got, err := u.ask(t); got != "{}" || err != nil {
			t.Errorf("the probe got %q, %v", got, err)
		}
		u.answer = bad
		if u.ask(t); u.open(t) {
			t.Error("one failure after the recovery opened it again: the old ones still count")
		}
	})
}

// While a probe is under way, everybody else is refused; and whatever becomes
// of it, the next one is let through.
func TestOneProbeAtATime(t *testing.T) {
	f := func(name string, end func(u *upstream, release chan struct{}), wantOpen bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			u := newUpstream(t, "{ failures: 1, cooldown: 1s }")
			u.answer = bad
			u.ask(t)
			time.Sleep(1001 * time.Millisecond)
			release := make(chan struct{})
			end(u, release)
			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() { _ = recover() }()
				u.ask(t)
			})
			synctest.Wait()
			probes := u.calls
			for range 10 {
				if _, err := u.ask(t); err == nil {
					t.Errorf("%s: let through beside the probe", name)
				}
			}
			if u.calls != probes {
				t.Errorf("%s: %d calls beside the probe", name, u.calls-probes)
			}
			close(release)
			wg.Wait()
			if got := u.open(t); got != wantOpen {
				t.Errorf("%s: open is %v after the probe; want %v", name, got, wantOpen)
			}
			time.Sleep(1001 * time.Millisecond)
			u.answer = good
			if got, err := u.ask(t); got != "{}" {
				t.Errorf("%s: stuck: %v", name, err)
			}
		})
	}
	slow := func(then func(context.Context, *pipeline.Exchange) error) func(*upstream, chan struct{}) {
		return func(u *upstream, release chan struct{}) {
			u.answer = func(ctx context.Context, ex *pipeline.Exchange) error {
				<-release
				return then(ctx, ex)
			}
		}
	}
	f("good", slow(good), false)
	f("bad", slow(bad), true)
	f("refused", slow(refused(errLine)), true)
	f("client gone", slow(refused(pipeline.ErrClientGone)), false)
	f("caller's fault", slow(whole(400, pipeline.CallerFault)), false)
	f("panic", slow(func(context.Context, *pipeline.Exchange) error { panic("a bug") }), false)
	f("stream broken at once", slow(streams(errLine)), true)
	f("stream broken later", slow(streams(errLine, "data: {}\n\n")), true)
}

// What was asked before the circuit opened says nothing of the upstream that has come
// back meanwhile, whether it fails late or its stream breaks late.
func TestLateFailures(t *testing.T) {
	f := func(late func(context.Context, *pipeline.Exchange) error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			u := newUpstream(t, "{ failures: 1, cooldown: 1s }")
			release := make(chan struct{})
			u.answer = func(ctx context.Context, ex *pipeline.Exchange) error {
				<-release
				return late(ctx, ex)
			}
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = u.ask(t) })
			synctest.Wait()
			u.answer = bad
			_, _ = u.ask(t)
			if !u.open(t) {
				t.Fatal("not open")
			}
			time.Sleep(1001 * time.Millisecond)
			u.answer = good
			if _, err := u.ask(t); err != nil {
				t.Fatal(err)
			}
			close(release)
			wg.Wait()
			if u.open(t) {
				t.Error("opened again by a request of long ago")
			}
		})
	}
	f(bad)
	f(refused(errLine))
	f(streams(errLine))
	f(streams(errLine, "data: {}\n\n"))
}

// A probe's stream is judged by its first event, not by its end.
func TestProbeByStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream(t, "{ failures: 2, cooldown: 1s }")
		u.answer = bad
		u.ask(t)
		u.ask(t)
		time.Sleep(1001 * time.Millisecond)
		u.answer = streams(errLine, ": ping\n\n", "data: {}\n\n")
		ex := pipeline.Acquire(t.Context())
		if err := u.chain.Handle(ex.Context(), ex); err != nil {
			t.Fatal(err)
		}
		if _, err := ex.Response.Body.Next(); err != nil || !u.open(t) {
			t.Error("a comment closed the breaker")
		}
		if _, err := ex.Response.Body.Next(); err != nil || u.open(t) {
			t.Error("the first event did not close it")
		}
		if _, err := ex.Response.Body.Next(); err != errLine {
			t.Errorf("the stream ended with %v", err)
		}
		ex.Release()
		if u.open(t) {
			t.Error("open after one failure of two")
		}
		u.answer = bad
		if u.ask(t); !u.open(t) {
			t.Error("the probe's broken stream was not counted")
		}
	})
}

func TestSeveralProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream(t, "{ failures: 1, cooldown: 1s, probes: 3 }")
		u.answer = bad
		u.ask(t)
		time.Sleep(1001 * time.Millisecond)
		u.answer = good
		for range 3 {
			if _, err := u.ask(t); err != nil {
				t.Fatal(err)
			}
		}
		u.answer = whole(400, pipeline.CallerFault)
		for range 10 {
			if _, err := u.ask(t); err != nil {
				t.Fatal("not closed after three good probes")
			}
		}
	})
}

func TestRetryAfter(t *testing.T) {
	f := func(field string, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			u := newUpstream(t, "{ failures: 1, cooldown: 5s, max_cooldown: 60s }")
			u.answer = func(ctx context.Context, ex *pipeline.Exchange) error {
				ex.Response.Header.Set("Retry-After", field)
				return whole(429, pipeline.OverloadFault)(ctx, ex)
			}
			u.ask(t)
			_, err := u.ask(t)
			if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.RetryAfter != want {
				t.Errorf("Retry-After: %q: refused with %v; want to wait %v", field, err, want)
			}
			time.Sleep(want - time.Millisecond)
			if !u.open(t) {
				t.Errorf("Retry-After: %q: asked too early", field)
			}
			time.Sleep(2 * time.Millisecond)
			if u.open(t) {
				t.Errorf("Retry-After: %q: still open", field)
			}
		})
	}
	f("30", 30*time.Second)
	f("3", 5*time.Second)
	f("100000", 60*time.Second)
	f("99999999999999999999", 5*time.Second)
	f("soon", 5*time.Second)
	f("Sat, 01 Jan 2000 00:00:30 GMT", 30*time.Second) // a bubble's clock starts at midnight
	f("Sat, 01 Jan 1999 00:00:30 GMT", 5*time.Second)
}
