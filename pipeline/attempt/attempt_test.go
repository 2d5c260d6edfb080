package attempt_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/attempt"
)

const ms = time.Millisecond

func TestHedge(t *testing.T) {
	f := func(after time.Duration, want string, took time.Duration, calls string, cs ...*candidate) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			p := &policy{candidates: cs}
			r := run(context.Background(), t, p, attempt.Plan{After: after})
			if r.err != nil || r.body != want {
				t.Errorf("answer %q, %v; want %q", r.body, r.err, want)
			}
			if r.took != took {
				t.Errorf("won after %v, want %v", r.took, took)
			}
			got := ""
			for _, c := range cs {
				got += string('0' + rune(c.calls.Load()))
			}
			if got != calls {
				t.Errorf("calls %s, want %s", got, calls)
			}
		})
	}
	say := func(s string) string { return "data: " + s + "\n\n" }

	// In time: nothing else starts.
	f(30*ms, "a", 20*ms, "10", &candidate{wait: 20 * ms, whole: "a"}, &candidate{whole: "b"})
	// Late: the second starts at the delay and wins.
	f(30*ms, "b", 40*ms, "11", &candidate{wait: time.Second, whole: "a"}, &candidate{wait: 10 * ms, whole: "b"})
	// Late, and yet first.
	f(30*ms, "a", 35*ms, "11", &candidate{wait: 35 * ms, whole: "a"}, &candidate{wait: 10 * ms, whole: "b"})
	// Never.
	f(-1, "a", time.Second, "10", &candidate{wait: time.Second, whole: "a"}, &candidate{whole: "b"})
	// Failed: the second starts at once, whether or not there are hedges.
	f(30*ms, "b", 15*ms, "11", &candidate{wait: 5 * ms, err: errDown}, &candidate{wait: 10 * ms, whole: "b"})
	f(-1, "b", 15*ms, "11", &candidate{wait: 5 * ms, status: 503, whole: "a"}, &candidate{wait: 10 * ms, whole: "b"})
	// The second fails, the first still wins; a third is asked at once.
	f(30*ms, "a", 60*ms, "11", &candidate{wait: 60 * ms, whole: "a"}, &candidate{wait: 10 * ms, err: errDown})
	f(30*ms, "c", 45*ms, "111", &candidate{wait: 60 * ms, whole: "a"}, &candidate{wait: 10 * ms, err: errDown}, &candidate{wait: 5 * ms, whole: "c"})
	// The first fails while the second runs: it is waited for, none is added.
	f(30*ms, "b", 130*ms, "110", &candidate{wait: 40 * ms, err: errDown}, &candidate{wait: 100 * ms, whole: "b"}, &candidate{whole: "c"})
	// A failover is hedged like a first attempt.
	f(30*ms, "c", 40*ms, "111", &candidate{wait: 5 * ms, err: errDown}, &candidate{wait: time.Second, whole: "b"}, &candidate{wait: 5 * ms, whole: "c"})
	// A bad request is an answer.
	f(30*ms, "a", 5*ms, "10", &candidate{wait: 5 * ms, status: 400, whole: "a"}, &candidate{whole: "b"})
	f(30*ms, "a", 35*ms, "11", &candidate{wait: 35 * ms, status: 400, whole: "a"}, &candidate{wait: 10 * ms, whole: "b"})
	// For the upstream that is asked beside: the first may take what it does not.
	f(30*ms, "a", 100*ms, "110", &candidate{wait: 100 * ms, whole: "a"}, &candidate{wait: 10 * ms, status: 400, whole: "b"}, &candidate{whole: "c"})
	f(30*ms, "b", 100*ms, "110", &candidate{wait: 100 * ms, err: errDown}, &candidate{wait: 10 * ms, status: 400, whole: "b"}, &candidate{whole: "c"})
	f(30*ms, "b", 100*ms, "110", &candidate{wait: 50 * ms, err: errDown}, &candidate{wait: 70 * ms, status: 400, whole: "b"}, &candidate{whole: "c"})
	// A panic is a failure of that attempt only, and not worth another one.
	f(30*ms, "a", 60*ms, "110", &candidate{wait: 60 * ms, whole: "a"}, &candidate{panics: true}, &candidate{whole: "c"})

	// The first useful event wins: neither the header nor the role does.
	f(30*ms, say(content)+say("[DONE]"), 45*ms, "11",
		&candidate{events: []event{{0, role}, {time.Second, content}}},
		&candidate{events: []event{{15 * ms, content}, {time.Hour, "[DONE]"}}})
	// What was held back is replayed in order.
	f(30*ms, say(role)+say(role)+say(content)+say("[DONE]"), 20*ms, "10",
		&candidate{events: []event{{0, role}, {0, role}, {20 * ms, content}, {time.Hour, "[DONE]"}}}, &candidate{whole: "b"})
	f(30*ms, say(role)+say(content), 40*ms, "11",
		&candidate{events: []event{{0, role}, {time.Second, content}}},
		&candidate{events: []event{{5 * ms, role}, {5 * ms, content}}})
	// A stream that breaks before it says anything is a failure, and so is one
	// without any event.
	f(-1, "b", 5*ms, "11", &candidate{events: []event{{5 * ms, role}}, ends: errDown}, &candidate{whole: "b"})
	f(-1, "b", 0, "11", &candidate{events: []event{}}, &candidate{whole: "b"})
	// One that ends in good order is an answer, however short.
	f(-1, say(role)+say("[DONE]"), 0, "10", &candidate{events: []event{{0, role}, {0, "[DONE]"}}}, &candidate{whole: "b"})
	f(-1, say(role), 0, "10", &candidate{events: []event{{0, role}}}, &candidate{whole: "b"})
	// What only has the type of a stream has no first event to wait for.
	f(-1, "", 0, "10", &candidate{events: []event{}, status: 204}, &candidate{whole: "b"})
	f(-1, say(role)+say(role), 0, "10", &candidate{events: []event{{0, role}, {ms, role}}, coding: "gzip"}, &candidate{whole: "b"})
}

func TestNothingIsTriedAfterTheCommitPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &policy{candidates: []*candidate{{events: []event{{0, role}, {0, content}}, ends: errDown}, {whole: "b"}}}
		r := run(context.Background(), t, p, attempt.Plan{After: -1})
		if !errors.Is(r.err, errDown) || strings.Count(r.body, "data:") != 2 || p.candidates[1].calls.Load() != 0 {
			t.Errorf("got %q, %v, %d further calls", r.body, r.err, p.candidates[1].calls.Load())
		}
	})
}

func TestLongIntroductionWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []event
		for range 2000 {
			events = append(events, event{ms, role})
		}
		p := &policy{candidates: []*candidate{{events: events}, {whole: "b"}}}
		r := run(context.Background(), t, p, attempt.Plan{After: -1})
		if strings.Count(r.body, role) != 2000 || r.took > 1500*ms {
			t.Errorf("%d events after %v", strings.Count(r.body, role), r.took)
		}
	})
}

func TestFailures(t *testing.T) {
	f := func(plan attempt.Plan, wantStatus int, wantErr error, calls int, cs ...*candidate) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			p := &policy{candidates: cs}
			r := run(context.Background(), t, p, plan)
			if r.status != wantStatus || !errors.Is(r.err, wantErr) {
				t.Errorf("got status %d, error %v; want %d, %v", r.status, r.err, wantStatus, wantErr)
			}
			got := 0
			for _, c := range cs {
				got += int(c.calls.Load())
			}
			if got != calls {
				t.Errorf("%d calls, want %d", got, calls)
			}
		})
	}
	other := &pipeline.Error{Status: 502, Code: "upstream_cut", Fault: pipeline.UpstreamFault}
	open := func(after time.Duration) *pipeline.Error {
		return &pipeline.Error{Status: 503, Code: "circuit_open", Fault: pipeline.OverloadFault, RetryAfter: after}
	}
	soon, late := open(time.Second), open(time.Minute)
	busy := &pipeline.Error{Status: 429, Fault: pipeline.OverloadFault}
	invalid := &pipeline.Error{Status: 400, Code: "context_length_exceeded"}
	vague := &pipeline.Error{Code: "vague"}
	never := attempt.Plan{After: -1}

	// All fail: the first failure, unless another says when to come back.
	f(never, 0, errDown, 2, &candidate{err: errDown}, &candidate{err: other})
	f(never, 429, nil, 2, &candidate{err: errDown}, &candidate{status: 429})
	f(never, 429, nil, 2, &candidate{status: 429}, &candidate{err: errDown})
	f(never, 429, nil, 3, &candidate{err: errDown}, &candidate{status: 429}, &candidate{err: soon})
	f(never, 0, soon, 3, &candidate{err: late}, &candidate{err: soon}, &candidate{err: late})
	f(never, 0, late, 3, &candidate{err: errDown}, &candidate{err: late}, &candidate{status: 503})
	f(never, 503, nil, 3, &candidate{err: errDown}, &candidate{status: 503, retry: "5"}, &candidate{status: 500})
	f(never, 502, nil, 3, &candidate{status: 502, retry: "5"}, &candidate{err: soon}, &candidate{status: 500})
	f(never, 0, busy, 3, &candidate{err: errDown}, &candidate{status: 503, retry: "5"}, &candidate{err: busy})
	// Of those that say nothing, the preferred one, whichever failed first.
	f(attempt.Plan{After: 10 * ms}, 0, errDown, 2, &candidate{wait: 50 * ms, err: errDown}, &candidate{wait: 10 * ms, err: other})
	f(attempt.Plan{After: 10 * ms}, 429, nil, 2, &candidate{wait: 20 * ms, err: errDown}, &candidate{wait: 30 * ms, status: 429})
	f(attempt.Plan{After: 10 * ms}, 429, nil, 2, &candidate{wait: 50 * ms, err: errDown}, &candidate{wait: 30 * ms, status: 429})
	// The plan bounds them.
	f(attempt.Plan{After: -1, Attempts: 2}, 0, errDown, 2, &candidate{err: errDown}, &candidate{err: other}, &candidate{whole: "c"})
	f(attempt.Plan{After: 0, Attempts: 1}, 0, errDown, 1, &candidate{err: errDown}, &candidate{whole: "b"})
	// Errors that no other upstream would mend.
	f(never, 0, invalid, 1, &candidate{err: invalid}, &candidate{whole: "b"})
	f(never, 0, vague, 1, &candidate{err: vague}, &candidate{whole: "b"})
	f(attempt.Plan{After: 10 * ms}, 200, nil, 2, &candidate{wait: 50 * ms, whole: "a"}, &candidate{wait: 10 * ms, err: vague})
	f(never, 0, context.Canceled, 1, &candidate{err: context.Canceled}, &candidate{whole: "b"})
	// What must not run twice: only if it has not run at all.
	once := attempt.Plan{After: ms, Once: true}
	f(once, 200, nil, 1, &candidate{wait: time.Second}, &candidate{whole: "b"})
	f(once, 0, errDown, 1, &candidate{err: errDown}, &candidate{whole: "b"})
	f(once, 503, nil, 1, &candidate{status: 503}, &candidate{whole: "b"})
	for _, code := range []string{"upstream_unreachable", "upstream_tls", "circuit_open", "overloaded"} {
		unsent := &pipeline.Error{Status: 502, Code: code, Fault: pipeline.UpstreamFault}
		f(once, 200, nil, 2, &candidate{err: unsent}, &candidate{whole: "b"})
	}
	for _, status := range []int{401, 402, 403, 429} {
		f(once, 200, nil, 2, &candidate{status: status}, &candidate{whole: "b"})
	}
	f(once, 429, nil, 2, &candidate{status: 429}, &candidate{status: 401})
	f(once, 200, nil, 2, &candidate{err: soon}, &candidate{wait: time.Second, whole: "b"}, &candidate{whole: "c"})
}

// What has been sent of a body that is with the client cannot be sent again.
func TestUploadGoesNowhereElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &policy{candidates: []*candidate{{status: 429}, {whole: "b"}}, upload: strings.NewReader("x")}
		if r := run(context.Background(), t, p, attempt.Plan{After: -1, Once: true}); r.status != 429 {
			t.Errorf("status %d, %v", r.status, r.err)
		}
	})
}

func TestEverybodyKnowsWhy(t *testing.T) {
	cancelled := func(c *candidate) error { err, _ := c.cause.Load().(error); return err }

	t.Run("lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := &candidate{wait: time.Second}, &candidate{wait: 10 * ms, whole: "b"}
			p := &policy{candidates: []*candidate{a, b}}
			run(context.Background(), t, p, attempt.Plan{After: 10 * ms, Class: 3})
			if cancelled(a) != pipeline.ErrLost {
				t.Errorf("the loser was cancelled for: %v", cancelled(a))
			}
			want := []attempt.Outcome{
				{Index: 0, Class: 3, Took: 20 * ms, Fault: pipeline.GoneFault, Lost: true},
				{Index: 1, Class: 3, Why: attempt.Hedge, Took: 10 * ms, Won: true},
			}
			if diff := cmp.Diff(want, p.outcomes, cmpopts.IgnoreFields(attempt.Outcome{}, "Began")); diff != "" {
				t.Error(diff)
			}
		})
	})
	t.Run("hedge lost mid-stream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &candidate{wait: 30 * ms, events: []event{{0, content}, {time.Second, content}}}
			b := &candidate{wait: ms, events: []event{{0, role}, {time.Hour, content}}}
			p := &policy{candidates: []*candidate{a, b}}
			r := run(context.Background(), t, p, attempt.Plan{After: 10 * ms})
			if r.took != 30*ms || cancelled(b) != pipeline.ErrLost || b.closed.Load() != 1 {
				t.Errorf("won after %v; hedge cancelled for %v, closed %d times", r.took, cancelled(b), b.closed.Load())
			}
			if len(p.outcomes) != 2 || p.outcomes[0].Won == p.outcomes[1].Won || p.outcomes[0].Lost == p.outcomes[1].Lost {
				t.Errorf("outcomes %+v", p.outcomes)
			}
		})
	})
	t.Run("client gone", func(t *testing.T) {
		for _, wait := range []time.Duration{5 * ms, 20 * ms} { // before the hedge, and beside it
			synctest.Test(t, func(t *testing.T) {
				a, b := &candidate{wait: time.Second}, &candidate{wait: time.Second}
				p := &policy{candidates: []*candidate{a, b, {}}}
				client := pipeline.Acquire(context.Background())
				time.AfterFunc(wait, func() { client.Scope().Cancel(pipeline.ErrClientGone) })
				r := run(client.Context(), t, p, attempt.Plan{After: 10 * ms})
				client.Release()
				if r.err != pipeline.ErrClientGone || r.took != wait {
					t.Errorf("got %v after %v", r.err, r.took)
				}
				for _, o := range p.outcomes {
					if o.Won || o.Lost || o.Fault != pipeline.GoneFault {
						t.Errorf("outcome %+v", o)
					}
				}
			})
		}
	})
	t.Run("client gone while a failed attempt waits for the other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &policy{candidates: []*candidate{{wait: 20 * ms, err: errDown}, {wait: time.Second}, {}}}
			client := pipeline.Acquire(context.Background())
			time.AfterFunc(30*ms, func() { client.Scope().Cancel(pipeline.ErrClientGone) })
			r := run(client.Context(), t, p, attempt.Plan{After: 10 * ms})
			client.Release()
			if r.err != pipeline.ErrClientGone || r.took != 30*ms || p.candidates[2].calls.Load() != 0 {
				t.Errorf("got %v after %v", r.err, r.took)
			}
		})
	})
	t.Run("client gone mid-answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &candidate{events: []event{{0, content}, {time.Hour, content}}}
			client := pipeline.Acquire(context.Background())
			time.AfterFunc(time.Minute, func() { client.Scope().Cancel(pipeline.ErrClientGone) })
			r := run(client.Context(), t, &policy{candidates: []*candidate{a, {}}}, attempt.Plan{After: 10 * ms})
			client.Release()
			if r.err != pipeline.ErrClientGone || cancelled(a) != pipeline.ErrClientGone {
				t.Errorf("got %v, upstream %v", r.err, cancelled(a))
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &policy{refuse: true, candidates: []*candidate{{wait: time.Second, err: errDown}, {whole: "b"}}}
			r := run(context.Background(), t, p, attempt.Plan{After: 10 * ms, Class: 5})
			if !errors.Is(r.err, errDown) {
				t.Errorf("got %v", r.err)
			}
			want := []attempt.Ask{
				{Index: 1, Class: 5, Why: attempt.Hedge},
				{Index: 1, Class: 5, Why: attempt.Failover, Err: errDown, Fault: pipeline.UpstreamFault},
			}
			if diff := cmp.Diff(want, p.asks, cmpopts.EquateErrors()); diff != "" {
				t.Error(diff)
			}
		})
	})
	t.Run("nobody asked", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			open := &pipeline.Error{Status: 503, Code: "circuit_open", Fault: pipeline.OverloadFault}
			p := &policy{candidates: []*candidate{{err: open}, {err: errDown}, {whole: "c"}}}
			run(context.Background(), t, p, attempt.Plan{After: -1})
			if len(p.asks) != 2 || !p.asks[0].Unasked || p.asks[1].Unasked {
				t.Errorf("asks %+v", p.asks)
			}
		})
	})
}

// Retry is a policy too: the same chain again, after a pause.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &policy{pause: 100 * ms, candidates: []*candidate{{err: errDown}, {status: 503}, {whole: "c"}}}
		if r := run(context.Background(), t, p, attempt.Plan{After: -1}); r.body != "c" || r.took != 200*ms {
			t.Errorf("%q after %v", r.body, r.took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := &policy{pause: time.Hour, candidates: []*candidate{{err: errDown}, {}}}
		client := pipeline.Acquire(context.Background())
		time.AfterFunc(ms, func() { client.Scope().Cancel(pipeline.ErrClientGone) })
		if r := run(client.Context(), t, p, attempt.Plan{After: -1}); r.err != pipeline.ErrClientGone || r.took != ms {
			t.Errorf("%v after %v", r.err, r.took)
		}
		client.Release()
	})
}

// A failing attempt's error may point into its exchange, which has to live as
// long as the client's.
func TestErrorOutlivesItsBranch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := pipeline.Live()
		p := &policy{candidates: []*candidate{{err: errDown}, {err: &pipeline.Error{Status: 429, Fault: pipeline.OverloadFault}}}}
		ex := pipeline.Acquire(context.Background())
		engine := attempt.New(p, slog.New(slog.DiscardHandler))
		if err := engine.Run(ex.Context(), ex, nil, attempt.Plan{Attempts: 2, After: -1}); err == nil {
			t.Error("no error")
		}
		if n := pipeline.Live() - before; n != 2 {
			t.Errorf("%d exchanges live before release, want the client's and the branch", n)
		}
		ex.Release()
		if n := pipeline.Live() - before; n != 0 {
			t.Errorf("%d exchanges live after release", n)
		}
	})
}

// What a stage must not do ends its own attempt, and neither the process nor the race.
func TestMistakesOfStages(t *testing.T) {
	f := func(after time.Duration, want, code string, cs ...*candidate) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			r := run(context.Background(), t, &policy{candidates: cs}, attempt.Plan{After: after})
			e, _ := errors.AsType[*pipeline.Error](r.err)
			if r.body != want || code == "" && r.err != nil || code != "" && (e == nil || e.Code != code) {
				t.Errorf("%q, %v", r.body, r.err)
			}
		})
	}
	events := []event{{0, content}}
	whole := "data: " + content + "\n\n"
	// The loser's stream cannot be closed: with nobody waiting, and as a failure before.
	f(10*ms, "a", "", &candidate{wait: 20 * ms, whole: "a"}, &candidate{wait: 50 * ms, deaf: true, events: events, jams: true})
	f(-1, "b", "", &candidate{events: events, status: 503, jams: true}, &candidate{whole: "b"})
	// An error that is none, and a stream that never comes to a point.
	f(-1, "", "internal_error", &candidate{events: events, next: func() ([]byte, error) { return nil, nil }}, &candidate{whole: "b"})
	f(10*ms, "b", "", &candidate{wait: time.Second, whole: "a"}, &candidate{whole: "b"}, &candidate{err: (*pipeline.Error)(nil)})
	f(10*ms, "a", "", &candidate{wait: 20 * ms, whole: "a"}, &candidate{err: (*pipeline.Error)(nil)})
	f(10*ms, whole, "", &candidate{wait: 20 * ms, events: events}, &candidate{events: events, next: func() ([]byte, error) { return []byte(whole), io.EOF }})
	// The first fails so, and the second is not asked: this program failed.
	f(-1, "", "internal_error", &candidate{events: events, next: func() ([]byte, error) { return []byte(whole), io.EOF }}, &candidate{whole: "b"})
}

// Many races at once, each with its own winner, must not mix anything up.
func TestConcurrentRaces(t *testing.T) {
	engine := attempt.New(shuffled{}, slog.New(slog.DiscardHandler))
	before := pipeline.Live()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				ex := pipeline.Acquire(context.Background())
				ex.Op = pipeline.OpEmbeddings
				want := strconv.Itoa(g*1000 + i)
				ex.Request.Body = []byte(want)
				err := engine.Run(ex.Context(), ex, nil, attempt.Plan{Attempts: 3, After: time.Duration(i%4) * 100 * time.Microsecond})
				if err == nil {
					frame, _ := ex.Response.Body.Next()
					if string(frame) != "data: "+content+want+"\n\n" {
						t.Errorf("answer %q to %s", frame, want)
					}
				} else if !errors.Is(err, errDown) {
					t.Error(err)
				}
				ex.Release()
			}
		})
	}
	wg.Wait()
	engine.Close()
	if n := pipeline.Live() - before; n != 0 {
		t.Errorf("%d exchanges left", n)
	}
}

// shuffled answers with the request's body after a while, or fails.
type shuffled struct{}

func (shuffled) Chain(ex *pipeline.Exchange, _ pipeline.Chain, i int) pipeline.Chain {
	c := &candidate{wait: time.Duration(rand.IntN(400)) * time.Microsecond}
	c.events = []event{{time.Duration(rand.IntN(300)) * time.Microsecond, content + string(ex.Request.Body)}}
	if rand.IntN(4) == 0 {
		c.err = errDown
	}
	return pipeline.Chain{c}
}

func (shuffled) Allow(attempt.Ask) (time.Duration, bool) { return 0, true }
func (shuffled) Ended(attempt.Outcome)                   {}
