package breaker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// load returns the stage as a file sets it up, and the file's snapshot.
func load(t *testing.T, settings string) (pipeline.Chain, *config.Snapshot) {
	t.Helper()
	file := "routes:\n  - name: test\n    match: { path: /v1/* }\n    chain:\n      - breaker: " + settings + "\n"
	s, err := config.Load(context.Background(), config.Source{File: "test.yaml", Data: []byte(file)}, config.Registry{Plugin}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s.Routes[0].Chain, s
}

// An upstream answers with what its test sets.
type upstream struct {
	chain  pipeline.Chain
	answer func(ctx context.Context, ex *pipeline.Exchange) error
	calls  int
}

func newUpstream(t *testing.T, settings string) *upstream {
	u := &upstream{}
	c, _ := load(t, settings)
	u.chain = append(c[:len(c):len(c)], pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		u.calls++
		return u.answer(ctx, ex)
	}))
	return u
}

// ask makes one request and reads the whole answer. It returns what the client
// would see: the body, or an error before or within it.
func (u *upstream) ask(t *testing.T) (string, error) {
	t.Helper()
	ex := pipeline.Acquire(t.Context())
	defer ex.Release()
	if err := u.chain.Handle(ex.Context(), ex); err != nil {
		return "", err
	}
	var got strings.Builder
	if ex.Response.Body == nil {
		return "", nil
	}
	for {
		frame, err := ex.Response.Body.Next()
		if err == io.EOF {
			return got.String(), nil
		}
		if err != nil {
			return got.String(), err
		}
		got.Write(frame)
	}
}

// frames is a stream whose frames turn into garbage once the next is asked for.
type frames struct {
	left []string
	end  error
	b    []byte
}

func (f *frames) Next() ([]byte, error) {
	for i := range f.b {
		f.b[i] = 0xDB
	}
	if len(f.left) == 0 {
		return nil, f.end
	}
	f.b = append(f.b[:0], f.left[0]...)
	f.left = f.left[1:]
	return f.b, nil
}

func (f *frames) Close() error { return nil }

// The ways to answer.
func whole(status int, fault pipeline.Fault) func(context.Context, *pipeline.Exchange) error {
	return func(_ context.Context, ex *pipeline.Exchange) error {
		ex.Response.Header.SetStatusCode(status)
		ex.Response.Header.SetContentType("application/json")
		ex.Response.SetBody([]byte("{}"))
		ex.Response.Fault = fault
		return nil
	}
}

func refused(err error) func(context.Context, *pipeline.Exchange) error {
	return func(context.Context, *pipeline.Exchange) error { return err }
}

func streams(end error, events ...string) func(context.Context, *pipeline.Exchange) error {
	return func(_ context.Context, ex *pipeline.Exchange) error {
		ex.Response.Header.SetStatusCode(200)
		ex.Response.Header.SetContentType("text/event-stream; charset=utf-8")
		ex.Response.Body = &frames{left: events, end: end}
		return nil
	}
}

var (
	good    = whole(200, pipeline.NoFault)
	bad     = whole(500, pipeline.UpstreamFault)
	errLine = &pipeline.Error{Status: 502, Code: "upstream_unreachable", Fault: pipeline.UpstreamFault}
)

// open reports whether the breaker answers by itself, which it must do with
// the right error.
func (u *upstream) open(t *testing.T) bool {
	t.Helper()
	before, answer := u.calls, u.answer
	u.answer = refused(pipeline.ErrClientGone) // counts for nothing, if it comes to that
	_, err := u.ask(t)
	u.answer = answer
	if u.calls != before {
		u.calls = before
		return false
	}
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok || e.Status != 503 || e.Code != "circuit_open" || e.Fault != pipeline.OverloadFault || e.RetryAfter <= 0 {
		t.Errorf("refused with %#v", err)
	}
	return true
}

// Every kind of end, and whether it counts as a failure.
func TestWhatCounts(t *testing.T) {
	f := func(name string, answer func(context.Context, *pipeline.Exchange) error, counts bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			u := newUpstream(t, "{ failures: 3 }")
			u.answer = answer
			for range 3 {
				u.ask(t)
			}
			if got := u.open(t); got != counts {
				t.Errorf("%s: open is %v after three in a row; want %v", name, got, counts)
			}
		})
	}
	const event, finish = "data: {\"choices\":[]}\n\n", "data: [DONE]\n\n"
	f("200", good, false)
	f("500", bad, true)
	f("503", whole(503, pipeline.OverloadFault), true)
	f("429", whole(429, pipeline.OverloadFault), true)
	f("504", whole(504, pipeline.TimeoutFault), true)
	f("401 of ours", whole(401, pipeline.UpstreamFault), true)
	f("400", whole(400, pipeline.CallerFault), false)
	f("400 for its content", whole(400, pipeline.PolicyFault), false)
	f("no connection", refused(errLine), true)
	f("an error of no kind", refused(errors.New("strange")), true)
	f("timeout", refused(&pipeline.Error{Status: 504, Code: "upstream_timeout"}), true)
	f("deadline", refused(context.DeadlineExceeded), true)
	f("our own limit", refused(&pipeline.Error{Status: 503, Code: "overloaded"}), false)
	f("our own mistake", refused(&pipeline.Error{Status: 500, Code: "x", Fault: pipeline.GatewayFault}), false)
	f("client left", refused(fmt.Errorf("call: %w", pipeline.ErrClientGone)), false)
	f("lost a race", refused(fmt.Errorf("call: %w", pipeline.ErrLost)), false)
	f("shutdown", refused(pipeline.ErrShutdown), false)
	f("nobody answers", refused(nil), false)

	f("stream", streams(io.EOF, event, event, finish), false)
	f("stream in one frame", streams(io.EOF, event+event+finish), false)
	f("stream broken in the middle", streams(errLine, event, event), true)
	f("stream broken before its first event", streams(errLine), true)
	f("stream broken after comments", streams(errLine, ": ping\n\n", ": ping\n\n"), true)
	f("stream without an event", streams(io.EOF), true)
	f("stream of comments", streams(io.EOF, ": ping\n\n"), true)
	f("stream cut", streams(io.ErrUnexpectedEOF, event), true)
	f("stream the client left", streams(pipeline.ErrClientGone, event), false)
	f("stream the client left early", streams(pipeline.ErrClientGone), false)
	f("error for an event", streams(io.EOF, "data: {\"error\":{\"message\":\"overloaded\"}}\n\n"), true)
	f("error behind an event", streams(io.EOF, event, "data: {\"error\":{\"type\":\"server_error\"}}\n\n"), true)
	f("error in the same frame", streams(io.EOF, event+"data: {\"error\":\"x\"}\n\n"), true)
	f("error by name", streams(io.EOF, "event: error\ndata: {\"type\":\"overloaded_error\"}\n\n"), true)
	f("error by name, in no JSON", streams(io.EOF, "event: error\ndata: sorry\n\n"), true)
	f("error of the caller in a stream", streams(io.EOF, "data: {\"error\":{\"type\":\"invalid_request_error\"}}\n\n"), false)
	f("error for the content in a stream", streams(io.EOF, event, "data: {\"error\":{\"code\":\"content_filter\"}}\n\n"), false)
	f("no error in a stream", streams(io.EOF, "data: {\"error\":null}\n\n", "data: {\"choices\":[{\"delta\":{\"content\":\"an error\"}}]}\n\n"), false)
}

func TestAClientThatLeavesItsContext(t *testing.T) {
	u := newUpstream(t, "{ failures: 1 }")
	u.answer = func(_ context.Context, ex *pipeline.Exchange) error {
		ex.Scope().Cancel(pipeline.ErrClientGone)
		return errLine // as it looks from below, when the cause got lost on the way
	}
	u.ask(t)
	if u.open(t) {
		t.Error("a departure opened the breaker")
	}
}

// A stream abandoned before its first event says nothing about the upstream.
func TestAbandonedStream(t *testing.T) {
	u := newUpstream(t, "{ failures: 1 }")
	u.answer = streams(errLine)
	ex := pipeline.Acquire(t.Context())
	if err := u.chain.Handle(ex.Context(), ex); err != nil {
		t.Fatal(err)
	}
	ex.Release()
	if u.open(t) {
		t.Error("the breaker is open")
	}
}

func TestFailuresInARow(t *testing.T) {
	f := func(script string, want bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			u := newUpstream(t, "{ failures: 3, window: 1s }")
			for _, c := range script {
				u.answer = map[rune]func(context.Context, *pipeline.Exchange) error{
					'+': good, '-': bad, '?': whole(400, pipeline.CallerFault),
					's': streams(io.EOF, "data: {}\n\n"), 'b': streams(errLine, "data: {}\n\n"),
				}[c]
				time.Sleep(time.Minute) // a row is a row, however long it takes
				u.ask(t)
			}
			if got := u.open(t); got != want {
				t.Errorf("after %q: open is %v", script, got)
			}
		})
	}
	f("--", false)
	f("---", true)
	f("--+--", false)
	f("--+---", true)
	f("--??-", true) // what says nothing ends no row
	f("--s--", false)
	f("bbb", true) // a stream's first event ends a row only if the stream does not break
	f("-b-", true)
	f("b+b", false)
	f("bb", false)
}

func TestShareOfFailures(t *testing.T) {
	f := func(script string, want bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			u := newUpstream(t, "{ failures: 50%, min_requests: 8, window: 10s }")
			for _, c := range script {
				switch c {
				case '+':
					u.answer = good
				case '-':
					u.answer = bad
				case 'b':
					u.answer = streams(errLine, "data: {}\n\n")
				case '?':
					u.answer = whole(400, pipeline.CallerFault)
				case ' ':
					time.Sleep(11 * time.Second)
					continue
				}
				u.ask(t)
			}
			if got := u.open(t); got != want {
				t.Errorf("after %q: open is %v", script, got)
			}
		})
	}
	f("-------", false) // too few to tell
	f("--------", true)
	f("++++----", true)
	f("+++++----", false)
	f("++++???????---", false) // what says nothing dilutes nothing
	f("++++???????----", true)
	f("bbbbbbbb", true) // a broken stream is one request, not a success and a failure
	f("++++bbbb", true)
	f("+++++bbbb", false)
	f("---- ---- ", false) // long ago
	f("++++++++++++++++ --------", true)
}

// Verdicts count when they are reached: a timeout longer than the window is
// one all the same.
func TestSlowFailuresCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream(t, "{ failures: 50%, min_requests: 4, window: 10s }")
		u.answer = func(context.Context, *pipeline.Exchange) error {
			time.Sleep(time.Minute)
			return &pipeline.Error{Status: 504, Code: "upstream_timeout"}
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				ex := pipeline.Acquire(context.Background())
				defer ex.Release()
				_ = u.chain[0].Handle(ex.Context(), ex, pipeline.Chain{pipeline.HandlerFunc(
					func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error { return u.answer(ctx, ex) })})
			})
		}
		wg.Wait()
		if !u.open(t) {
			t.Error("four timeouts did not open the breaker")
		}
	})
}

func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream(t, "{ failures: 2, cooldown: 15s }")
		u.answer = bad
		u.ask(t)
		u.ask(t)
		began := time.Now()
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
		for began = time.Now(); u.open(t); time.Sleep(100 * time.Millisecond) {
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

// Reaction: of many requests at once, those in flight fail, and not one more.
func TestUnderLoad(t *testing.T) {
	c, _ := load(t, "{ failures: 5, cooldown: 1h }")
	var mu sync.Mutex
	calls := 0
	chain := append(c[:len(c):len(c)], pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		mu.Lock()
		calls++
		mu.Unlock()
		return errLine
	}))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				ex := pipeline.Acquire(context.Background())
				if chain.Handle(ex.Context(), ex) == nil {
					t.Error("an answer out of nothing")
				}
				ex.Release()
			}
		})
	}
	wg.Wait()
	if calls < 5 || calls > 5+8 {
		t.Errorf("%d of 4000 requests reached an upstream that fails; want 5, and what was in flight", calls)
	}
}

func TestMetrics(t *testing.T) {
	c, s := load(t, "{ failures: 1 }")
	chain := append(c[:len(c):len(c)], pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return errLine }))
	for range 3 {
		ex := pipeline.Acquire(t.Context())
		_ = chain.Handle(ex.Context(), ex)
		ex.Release()
	}
	all, err := s.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range all {
		for _, m := range family.Metric {
			name := family.GetName()
			for _, l := range m.Label {
				if l.GetName() == "to" {
					name += " " + l.GetValue()
				}
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"headrace_breaker_state": 2, "headrace_breaker_refused_total": 2,
		"headrace_breaker_transitions_total open": 1, "headrace_breaker_transitions_total closed": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v; want %v", name, v, want)
		}
	}
}

func TestThreshold(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var l Threshold
		got := "error"
		if err := l.UnmarshalText([]byte(in)); err == nil {
			got = l.String()
		}
		if got != want {
			t.Errorf("%q gives %s; want %s", in, got, want)
		}
	}
	f("5", "5")
	f("1", "1")
	f("50%", "50%")
	f("0.5%", "0.5%")
	f("100 %", "100%")
	for _, in := range []string{"", "0", "-1", "0%", "101%", "NaN%", "five", "5.5", "99999999999", "%"} {
		f(in, "error")
	}
}

// The closed breaker is on the way of every request.
func TestClosedAllocatesNothing(t *testing.T) {
	if raced() {
		t.Skip("the race detector makes pools forget")
	}
	c, _ := load(t, "{ failures: 50% }")
	body := []byte("{}")
	ctx := context.Background()
	run := func(name string, answer pipeline.HandlerFunc) {
		t.Helper()
		chain := append(c[:len(c):len(c)], answer)
		if n := testing.AllocsPerRun(1000, func() {
			ex := pipeline.Acquire(ctx)
			if err := chain.Handle(ctx, ex); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := ex.Response.Body.Next(); err != nil {
					break
				}
			}
			ex.Release()
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	run("whole", func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		ex.Response.SetBody(body)
		return nil
	})
	var s one
	run("stream", func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		s.done = false
		ex.Response.Header.SetContentType("text/event-stream")
		ex.Response.Body = &s
		return nil
	})
}

// one is a stream of one event.
type one struct{ done bool }

var oneEvent = []byte("data: {\"error\":null}\n\n")

func (o *one) Next() ([]byte, error) {
	if o.done {
		return nil, io.EOF
	}
	o.done = true
	return oneEvent, nil
}

func (o *one) Close() error { return nil }

func BenchmarkClosed(b *testing.B) {
	h, err := Plugin.Build(context.Background(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	chain := pipeline.Chain{h.(pipeline.Handler), pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		ex.Response.SetBody(oneEvent)
		return nil
	})}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			ex := pipeline.Acquire(ctx)
			_ = chain.Handle(ctx, ex)
			ex.Release()
		}
	})
}

// raced reports whether the race detector is on. Pools then drop what they are
// given now and then, so that allocations cannot be counted.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
