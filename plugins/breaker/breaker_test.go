package breaker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

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

// With nobody else to ask, a client is better served with the upstream's own 429: it
// may be about this request's model, or its size.
func TestOnlyTarget(t *testing.T) {
	u := newUpstream(t, "{ failures: 2 }")
	u.answer = whole(429, pipeline.OverloadFault)
	ask := func(targets ...*pipeline.Target) (status int, err error) {
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		ex.Targets = targets
		err = u.chain.Handle(ex.Context(), ex)
		return ex.Response.Header.StatusCode(), err
	}
	one, other := &pipeline.Target{Name: "one"}, &pipeline.Target{Name: "other"}
	for range 5 {
		if status, err := ask(one); status != 429 || err != nil {
			t.Fatalf("the only target: %d, %v", status, err)
		}
	}
	for range 2 {
		if status, err := ask(one, other); status != 429 || err != nil {
			t.Fatalf("one of two: %d, %v", status, err)
		}
	}
	if _, err := ask(one, other); err == nil {
		t.Error("one of two is asked again and again")
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
// as gives an answer another status and a coding.
func as(status int, coding string, answer func(context.Context, *pipeline.Exchange) error) func(context.Context, *pipeline.Exchange) error {
	return func(ctx context.Context, ex *pipeline.Exchange) error {
		err := answer(ctx, ex)
		ex.Response.Header.SetStatusCode(status)
		ex.Response.Header.SetContentEncoding(coding)
		return err
	}
}

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
	f("no body of that type", as(204, "", streams(io.EOF)), false)
	f("not modified", as(304, "", streams(io.EOF)), false)
	f("compressed stream", as(200, "gzip", streams(io.EOF, "\x1f\x8b\x08")), false)
	f("compressed stream, broken", as(200, "gzip", streams(errLine, "\x1f\x8b\x08")), true)
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

// TestSkipped needs a client that leaves the breaker out to reach the upstream,
// and its outcome to count for nobody.
func TestSkipped(t *testing.T) {
	u := newUpstream(t, "{ failures: 1, cooldown: 1h }")
	u.answer = func(context.Context, *pipeline.Exchange) error { return errors.New("down") }
	ask := func(skip string) error {
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		ex.SetSkip([]byte(skip))
		return u.chain.Handle(ex.Context(), ex)
	}
	for range 3 {
		if err := ask("breaker"); err == nil || err.Error() != "down" {
			t.Fatalf("left out, and %v", err)
		}
	}
	_ = ask("")
	if err := ask(""); err == nil || err.Error() == "down" {
		t.Errorf("not open after a failure: %v", err)
	}
	if err := ask("breaker"); err == nil || err.Error() != "down" || u.calls != 5 {
		t.Errorf("left out while open: %v, %d calls", err, u.calls)
	}
}
