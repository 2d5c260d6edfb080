package ask_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// Whatever the client of an endpoint has sent, a model gets a request for a model. Its
// error keeps the status that tells the client something.
func TestModel(t *testing.T) {
	models := pipeline.NewModels([]*pipeline.Model{{Name: "m", Targets: []*pipeline.Target{{Name: "t"}}}})
	f := func(answer func(ex *pipeline.Exchange) error, want string, wantStatus int, fault pipeline.Fault) *pipeline.Error {
		t.Helper()
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		ex.Models, ex.Target = models, &pipeline.Target{Name: "earlier"}
		ex.Request.Header.SetMethod("PUT")
		ex.Request.Header.SetRequestURI("/graph/extract")
		ex.Request.Header.SetContentType("text/plain")
		ex.Request.Body = []byte("sent")
		got, err := ask.Model(ex.Context(), ex, pipeline.Chain{pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
			h := &ex.Request.Header
			if !h.IsPost() || string(h.RequestURI()) != "/v1/chat/completions" || string(h.ContentType()) != "application/json" || string(ex.Request.Body) != "{}" {
				t.Errorf("asked by %s %s", h, ex.Request.Body)
			}
			if ex.Op != pipeline.OpChat || ex.Model == nil || ex.Model.Name != "m" || len(ex.Targets) != 1 || ex.Target != nil {
				t.Errorf("asked for %+v at %v", ex.Model, ex.Target)
			}
			return answer(ex)
		})}, pipeline.OpChat, "m", []byte("{}"))
		e, _ := errors.AsType[*pipeline.Error](err)
		if string(got) != want || (err != nil) != (wantStatus != 0) || err != nil && (e == nil || e.Status != wantStatus || pipeline.FaultOfError(err) != fault) {
			t.Errorf("got %.50q, %v; want %.50q, status %d, %v", got, err, want, wantStatus, fault)
		}
		return e
	}
	says := func(status int, fault pipeline.Fault, frames ...string) func(ex *pipeline.Exchange) error {
		return func(ex *pipeline.Exchange) error {
			ex.Response.Header.SetStatusCode(status)
			ex.Response.Header.Set("Retry-After", "7")
			ex.Response.Body, ex.Response.Fault = pipetest.Stream(frames...), fault
			return nil
		}
	}
	f(says(200, 0, `{"a"`, `:1}`), `{"a":1}`, 0, 0)
	f(says(399, 0, `{}`), `{}`, 0, 0)
	for _, status := range []int{400, 404, 409, 413, 415, 422, 429, 504} {
		f(says(status, 0, `{}`), "", status, pipeline.FaultOfStatus(status))
	}
	for _, status := range []int{401, 402, 403, 408, 500, 503} {
		f(says(status, 0, `{}`), "", 502, pipeline.FaultOfStatus(status))
	}
	f(says(400, pipeline.PolicyFault, `{}`), "", 400, pipeline.PolicyFault)
	if e := f(says(429, 0, `{"error":`, `{}}`), "", 429, pipeline.OverloadFault); e != nil && (string(e.Body) != `{"error":{}}` || e.RetryAfter != 7*time.Second) {
		t.Errorf("%+v", e)
	}
	if e := f(says(500, 0, `<html>`), "", 502, pipeline.UpstreamFault); e != nil && e.Body != nil {
		t.Errorf("%s would be sent as JSON", e.Body)
	}
	f(func(*pipeline.Exchange) error { return nil }, "", 500, pipeline.GatewayFault)
	cut := &pipeline.Error{Status: 502, Code: "upstream_cut", Fault: pipeline.UpstreamFault, Err: io.ErrUnexpectedEOF}
	f(func(*pipeline.Exchange) error { return cut }, "", 502, pipeline.UpstreamFault)
	f(func(ex *pipeline.Exchange) error {
		ex.Response.Body = pipetest.Broken(cut, `{"a"`)
		return nil
	}, "", 502, pipeline.UpstreamFault)
	mib := strings.Repeat(" ", 1<<20)
	if e := f(says(200, 0, mib, mib, mib, mib, mib, mib, mib, mib, mib, mib, mib, mib, mib, mib, mib, mib, "1"), "", 502, pipeline.UpstreamFault); e != nil && e.Code != "upstream_too_large" {
		t.Error(e)
	}
}

func TestRead(t *testing.T) {
	f := func(answer, text, model, usage string, ok bool) {
		t.Helper()
		r, err := ask.Read([]byte(answer))
		if r.Text != text || r.Model != model || string(r.Usage) != usage || (err == nil) != ok {
			t.Errorf("%s is %+v, %v", answer, r, err)
		}
		if e, is := errors.AsType[*pipeline.Error](err); err != nil && (!is || e.Status != 502 || e.Code != "upstream_protocol") {
			t.Error(err)
		}
	}
	f(`{"model":"m","choices":[{"message":{"content":"a\n"}},{"message":{"content":"b"}}],"usage":{"total_tokens":1}}`, "a\n", "m", `{"total_tokens":1}`, true)
	f(`{"choices":[{"message":{"content":null,"tool_calls":[]}}]}`, "", "", "", true)
	f(`{"choices":[{"message":{}}]}`, "", "", "", false)
	f(`{"choices":[{"message":{"content":[]}}]}`, "", "", "", false)
	f(`{"choices":[]}`, "", "", "", false)
	f(`{"choices":[{"message":{"content":"a"}}]`, "", "", "", false)
}

// The answer that an endpoint makes has nothing of those it was made from, but for what
// the cache says.
func TestSet(t *testing.T) {
	f := func(cache string) {
		t.Helper()
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		h := &ex.Response.Header
		h.SetStatusCode(429)
		h.Set("X-Upstream", "x")
		if cache != "" {
			h.Set("X-Headrace-Cache", cache)
		}
		ex.Response.Fault = pipeline.OverloadFault
		body := pipetest.Stream("a")
		ex.Response.Body = body
		ask.Set(ex, 201, []byte("{}"))
		if got, _ := ex.Response.Whole(); string(got) != "{}" || h.StatusCode() != 201 || string(h.ContentType()) != "application/json" || ex.Response.Fault != pipeline.NoFault {
			t.Errorf("%s %s", h, got)
		}
		if len(h.Peek("X-Upstream")) > 0 || string(h.Peek("X-Headrace-Cache")) != cache {
			t.Errorf("%s", h)
		}
	}
	f("hit")
	f("")
}
