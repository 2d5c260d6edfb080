package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

// frames is a stream that counts how often it is closed.
type frames struct {
	list   []string
	closed int
}

func (f *frames) Next() ([]byte, error) {
	if len(f.list) == 0 {
		return nil, io.EOF
	}
	s := f.list[0]
	f.list = f.list[1:]
	return []byte(s), nil
}

func (f *frames) Close() error { f.closed++; return nil }

func TestChainHandsOnTheRest(t *testing.T) {
	var order string
	stage := func(name string, times int) Handler {
		return HandlerFunc(func(ctx context.Context, ex *Exchange, next Chain) error {
			order += name
			for range times {
				if err := next.Handle(ctx, ex); err != nil {
					return err
				}
			}
			return nil
		})
	}
	f := func(want string, c Chain) {
		t.Helper()
		order = ""
		if err := c.Handle(t.Context(), nil); err != nil || order != want {
			t.Errorf("%q, %v; want %q", order, err, want)
		}
	}
	f("", nil)
	f("ab", Chain{stage("a", 1), stage("b", 1)})
	f("abb", Chain{stage("a", 2), stage("b", 0)})
	f("a", Chain{stage("a", 0), stage("b", 1)})
}

func TestEvents(t *testing.T) {
	f := func(want bool, method string, status int, kind, coding string) {
		t.Helper()
		ex := Acquire(nil)
		defer ex.Release()
		ex.Request.Header.SetMethod(method)
		h := &ex.Response.Header
		h.SetStatusCode(status)
		h.SetContentType(kind)
		h.SetContentEncoding(coding)
		if got := ex.Events(); got != want {
			t.Errorf("%s, %d %q %q: %v, want %v", method, status, kind, coding, got, want)
		}
	}
	f(true, "POST", 200, "text/event-stream", "")
	f(true, "GET", 201, "Text/Event-Stream; charset=utf-8", "identity")
	f(false, "POST", 200, "text/event-streams", "")
	f(false, "POST", 200, "text/event", "")
	f(false, "POST", 200, "text/event-stream", "gzip")
	f(false, "POST", 204, "text/event-stream", "")
	f(false, "GET", 304, "text/event-stream", "")
	f(false, "HEAD", 200, "text/event-stream", "")
}

func TestWholeBodies(t *testing.T) {
	ex := Acquire(nil)
	defer ex.Release()
	old := &frames{}
	ex.Response.Body = old
	ex.Response.SetBody([]byte("abc"))
	if b, ok := ex.Response.Whole(); !ok || string(b) != "abc" || ex.Response.Header.ContentLength() != 3 || old.closed != 1 {
		t.Errorf("%q %v; length %d; the old body closed %d times", b, ok, ex.Response.Header.ContentLength(), old.closed)
	}
	if b, err := ex.Response.Body.Next(); string(b) != "abc" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	if _, err := ex.Response.Body.Next(); err != io.EOF {
		t.Errorf("after the only frame: %v", err)
	}
	ex.Response.SetBody(nil)
	if _, err := ex.Response.Body.Next(); err != io.EOF {
		t.Errorf("an empty body: %v", err)
	}
	ex.Response.Body = &frames{}
	if _, ok := ex.Response.Whole(); ok {
		t.Error("a wrapped body is taken for a whole one")
	}
}

func TestChatIsScannedOncePerBody(t *testing.T) {
	ex := Acquire(nil)
	defer ex.Release()
	f := func(body, model string) {
		t.Helper()
		ex.Request.Body = []byte(body)
		for range 2 {
			view, err := ex.Chat()
			if err != nil || string(view.Model()) != model {
				t.Errorf("%s: %v", body, err)
			}
		}
	}
	f(`{"model":"a"}`, "a")
	f(`{"model":"b"}`, "b")
	good := []byte(`{"model":"c"} `)
	ex.Request.Body = good
	for _, bad := range [][]byte{[]byte(`{"model":"d","model":"e"}`), good[:12]} {
		ex.Request.Body = bad
		_, err := ex.Chat()
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != 400 || e.Code != "invalid_json" || e.Fault != CallerFault {
			t.Errorf("%s: %v", bad, err)
		}
		ex.Request.Body = good
		if view, err := ex.Chat(); err != nil || string(view.Model()) != "c" {
			t.Errorf("after %s: %v", bad, err)
		}
	}
	ex.Request.Body = []byte(`{"model":"d","model":"e"}`)
	_, err := ex.Chat()
	if e, ok := errors.AsType[*Error](err); !ok || e.Param != "model" {
		t.Errorf("the error names no parameter: %v", err)
	}
}

func TestSkips(t *testing.T) {
	ex := Acquire(nil)
	defer ex.Release()
	f := func(header, name string, want bool) {
		t.Helper()
		ex.SetSkip([]byte(header))
		if ex.Skips(name) != want {
			t.Errorf("%q skips %q: %v", header, name, !want)
		}
	}
	f("", "cache", false)
	f("cache", "cache", true)
	f("race, Cache ", "cache", true)
	f("cached", "cache", false)
	f("race,,", "cache", false)
}

// TestBranchesKeepTheirParent needs what branches share to live as long as the
// last of them, and everything to be recycled then.
func TestBranchesKeepTheirParent(t *testing.T) {
	before := Live()
	ex := Acquire(t.Context())
	b := NewBuffer()
	b.B = append(b.B, `{"model":"a"}`...)
	ex.OwnBody(b)
	ex.Request.Header.Set("A", "b")
	ex.Tenant, ex.Passages, ex.Retrieval = "t", append(ex.Passages, Passage{ID: "1"}), &Retrieval{Query: "q"}
	x, y := ex.Fork(ex.Context()), ex.Fork(ex.Context())
	x.Request.Header.Set("A", "c")
	x.Retrieval.Query = "r"
	if string(ex.Request.Header.Peek("A")) != "b" || ex.Retrieval.Query != "q" {
		t.Error("a branch writes into its parent")
	}
	if y.Tenant != "t" || len(y.Passages) != 1 || &y.Request.Body[0] != &ex.Request.Body[0] {
		t.Error("a branch lacks what its parent had")
	}
	x.CountAttempt()
	y.CountAttempt()
	if ex.Attempts() != 2 {
		t.Errorf("%d attempts counted", ex.Attempts())
	}
	ex.Release()
	if string(x.Request.Body) != `{"model":"a"}` || Live() != before+3 {
		t.Errorf("the parent is gone while branches run; %d live", Live()-before)
	}
	x.Release()
	y.Release()
	if Live() != before {
		t.Errorf("%d exchanges are live", Live()-before)
	}
}

func TestAdopt(t *testing.T) {
	before := Live()
	ex := Acquire(t.Context())
	old, won := &frames{}, &frames{list: []string{"x"}}
	ex.Response.Body = old
	b := ex.Fork(ex.Context())
	b.Target = &Target{Name: "n"}
	b.Response.Header.SetStatusCode(201)
	b.Response.Fault = CallerFault
	b.Response.Body = won
	ex.Adopt(b)
	if old.closed != 1 || ex.Response.Header.StatusCode() != 201 || ex.Target.Name != "n" || ex.Response.Fault != CallerFault {
		t.Errorf("adopted %d %v %v", ex.Response.Header.StatusCode(), ex.Target, ex.Response.Fault)
	}
	if f, err := ex.Response.Body.Next(); string(f) != "x" || err != nil {
		t.Errorf("%q %v", f, err)
	}
	ex.Release()
	if won.closed != 1 || Live() != before {
		t.Errorf("closed %d times, %d live", won.closed, Live()-before)
	}
	ex = Acquire(nil)
	ex.Adopt(ex.Fork(ex.Context())) // a branch without an answer
	ex.Release()
	if Live() != before {
		t.Errorf("%d live", Live()-before)
	}
}

func TestScopes(t *testing.T) {
	ex := Acquire(t.Context())
	defer ex.Release()
	ctx := ex.Context()
	if _, ok := ctx.Deadline(); ok || ctx.Value("x") != nil || ctx.Err() != nil {
		t.Error("a fresh scope is not empty")
	}
	branch := ex.Fork(ctx)
	defer branch.Release()
	derived, stop := context.WithTimeout(ctx, time.Hour)
	defer stop()
	ran := make(chan struct{})
	context.AfterFunc(ctx, func() { close(ran) })
	never := ex.Scope().AfterFunc(func() { t.Error("a stopped function ran") })
	if !never() || never() {
		t.Error("stop does not say whether it stopped anything")
	}
	ex.Scope().Cancel(ErrClientGone)
	ex.Scope().Cancel(ErrLost)
	<-ctx.Done()
	<-derived.Done()
	<-branch.Context().Done()
	<-ran
	for _, c := range []context.Context{ctx, derived, branch.Context()} {
		if Cause(c) != ErrClientGone || !errors.Is(c.Err(), context.Canceled) || !Gone(c, nil) {
			t.Errorf("ended with %v, caused by %v", c.Err(), Cause(c))
		}
	}
	<-ex.Fork(ctx).Context().Done() // of a scope that has ended
	late := make(chan struct{})
	context.AfterFunc(ctx, func() { close(late) })
	<-late
}

func TestGone(t *testing.T) {
	if Gone(t.Context(), io.EOF) || !Gone(t.Context(), ErrLost) || Cause(t.Context()) != nil {
		t.Error("gone is told from the wrong things")
	}
	// The end of a client's own time is the end of a deadline, and nobody's fault.
	hurried, stop := context.WithTimeoutCause(t.Context(), 0, ErrHurried)
	defer stop()
	within, stop := context.WithTimeout(hurried, time.Hour)
	defer stop()
	late, stop := context.WithTimeout(t.Context(), 0)
	defer stop()
	if !Gone(within, io.EOF) || !Gone(t.Context(), fmt.Errorf("call: %w", ErrHurried)) || Gone(late, late.Err()) {
		t.Error("gone is told from the wrong deadlines")
	}
	if !errors.Is(ErrHurried, context.DeadlineExceeded) || errors.Is(ErrHurried, context.Canceled) || errors.Is(ErrLost, context.DeadlineExceeded) {
		t.Error("an end of time is no cancellation")
	}
}

func TestFaults(t *testing.T) {
	f := func(err error, want Fault) {
		t.Helper()
		if got := FaultOfError(err); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
	f(nil, NoFault)
	f(io.EOF, UpstreamFault)
	f(ErrLost, GoneFault)
	f(context.DeadlineExceeded, TimeoutFault)
	f(ErrHurried, TimeoutFault)
	f(Fail(400, "x", io.EOF), CallerFault)
	f(Fail(408, "x", io.EOF), TimeoutFault)
	f(Fail(504, "x", io.EOF), TimeoutFault)
	for _, status := range []int{429, 503, 529} {
		f(Fail(status, "x", io.EOF), OverloadFault)
	}
	f(Fail(499, "x", io.EOF), CallerFault)
	for _, status := range []int{401, 402, 403, 407, 421, 425, 426} { // of the gateway, not of its client
		f(Fail(status, "x", io.EOF), UpstreamFault)
	}
	f(Fail(500, "x", io.EOF), UpstreamFault)
	f(&Error{Status: 400, Fault: PolicyFault}, PolicyFault)
	f((*Error)(nil), GatewayFault)
	f(Fail(200, "x", io.EOF), NoFault)
	for status, want := range map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
		429: "rate_limit_error", 499: "invalid_request_error", 500: "server_error", 503: "server_error",
	} {
		if got := TypeOfStatus(status); got != want {
			t.Errorf("an error of status %d is of type %s, want %s", status, got, want)
		}
	}
	for fault, want := range map[Fault]bool{NoFault: false, CallerFault: false, PolicyFault: false, OverloadFault: true, TimeoutFault: true, UpstreamFault: true, GatewayFault: false} {
		if fault.Retryable() != want {
			t.Errorf("%v: %v", fault, !want)
		}
	}
	e := &Error{Code: "c", Err: io.EOF}
	if !errors.Is(e, io.EOF) || e.Error() != "c: EOF" || (&Error{Code: "c"}).Error() != "c" {
		t.Errorf("%v", e)
	}
	ex := Acquire(nil)
	defer ex.Release()
	ex.Response.Fault = PolicyFault
	if FaultOf(ex, nil) != PolicyFault || FaultOf(ex, io.EOF) != UpstreamFault {
		t.Error("the fault of an answer")
	}
}

func TestModels(t *testing.T) {
	var list []*Model
	for _, n := range []string{"a", "open*", "*", "openai/*", "openai/x"} {
		list = append(list, &Model{Name: n})
	}
	m := NewModels(list)
	f := func(name, want string) {
		t.Helper()
		if got := m.Find([]byte(name)); got == nil || got.Name != want {
			t.Errorf("%s leads to %v, want %s", name, got, want)
		}
	}
	f("a", "a")
	f("ab", "*")
	f("open", "open*")
	f("openai/x", "openai/x")
	f("openai/y", "openai/*")
	if m.Any().Name != "*" || len(m.List()) != 5 {
		t.Error("the list")
	}
	m = NewModels(list[:2])
	if m.Any() != nil || m.Find([]byte("b")) != nil {
		t.Error("a model that nobody declared")
	}
}

func TestUpstreamNames(t *testing.T) {
	f := func(declared, target, asked, want string) {
		t.Helper()
		if got := (&Target{Model: target}).Upstream(&Model{Name: declared}, asked); got != want {
			t.Errorf("%s asked of %s, target %q: %q, want %q", asked, declared, target, got, want)
		}
	}
	f("m", "", "m", "m")
	f("m", "n", "m", "n")
	f("*", "", "x/y", "x/y")
	f("openai/*", "", "openai/y", "openai/y")
	f("openai/*", "*", "openai/y", "y")
	f("openai/*", "azure/*", "openai/y", "azure/y")
	f("openai/*", "fixed", "openai/y", "fixed")
}

func TestCallTarget(t *testing.T) {
	ex := Acquire(nil)
	defer ex.Release()
	ex.Target = &Target{Provider: failing{}}
	if err := CallTarget.Handle(t.Context(), ex, nil); err != io.EOF || ex.Attempts() != 1 {
		t.Errorf("%v, %d attempts", err, ex.Attempts())
	}
}

type failing struct{}

func (failing) Call(context.Context, *Exchange) error { return io.EOF }

func TestOperations(t *testing.T) {
	for op, want := range map[Operation]bool{OpOther: false, OpChat: true, OpCompletions: true, OpEmbeddings: true, OpResponses: true, OpRerank: true, OpModels: false} {
		if op.HasModel() != want || op.String() == "" {
			t.Errorf("%v: %v", op, !want)
		}
	}
}

func TestLargeBuffersAreNotKept(t *testing.T) {
	b := NewBuffer()
	b.B = make([]byte, maxKept+1)
	b.Free()
	if c := NewBuffer(); cap(c.B) > maxKept {
		t.Error("the pool keeps a large buffer")
	}
}

func TestRetryAfter(t *testing.T) {
	f := func(value string, least, most time.Duration) {
		t.Helper()
		var r Response
		r.Header.Set("Retry-After", value)
		if got := r.RetryAfter(); got < least || got > most {
			t.Errorf("%q: %v; want %v to %v", value, got, least, most)
		}
	}
	f("", 0, 0)
	f("7", 7*time.Second, 7*time.Second)
	f("1.5", 1500*time.Millisecond, 1500*time.Millisecond)
	f("-1", 0, 0)
	f("NaN", 0, 0)
	f("soon", 0, 0)
	f("99999999999999999999", 0, 0)
	f("999999999", 24*time.Hour, 24*time.Hour)
	f(time.Now().Add(time.Minute).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), 58*time.Second, time.Minute)
	f("Mon, 02 Jan 2006 15:04:05 GMT", 0, 0)
	f("Mon, 02 Jan 2090 15:04:05 GMT", 24*time.Hour, 24*time.Hour)
}

func TestUndocumented(t *testing.T) {
	f := func(r *Retrieval, op Operation, header string, refused bool) {
		t.Helper()
		ex := Acquire(context.Background())
		defer ex.Release()
		ex.Op, ex.Retrieval = op, r
		ex.Request.Header.Set(RetrievalHeader, header)
		if err := Undocumented(ex); (err != nil) != refused {
			t.Errorf("got %v", err)
		}
	}
	f(nil, OpChat, "Required", true)
	f(&Retrieval{}, OpResponses, "required", true) // branches have looked, and nobody has put it into the request
	f(&Retrieval{Options: &RetrievalOptions{}}, OpChat, "required", false)
	f(nil, OpChat, "on", false)
	f(nil, OpEmbeddings, "required", false)
}
