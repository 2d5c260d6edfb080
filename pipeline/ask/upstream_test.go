package ask_test

import (
	"context"
	"errors"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// What is said of an answer is known to every stage but the last, and what comes without
// the last is read all the same.
func TestUpstream(t *testing.T) {
	useless := errors.New("of no use")
	var body *pipetest.Body
	says := func(status int, frames ...string) pipeline.Handler {
		return pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
			ex.Response.Header.SetStatusCode(status)
			switch len(frames) {
			case 0:
			case 1:
				ex.Response.SetBody([]byte(frames[0]))
			default:
				body = pipetest.Stream(frames...)
				ex.Response.Body = body
			}
			return nil
		})
	}
	var seen error
	var ran, whole bool
	front := pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		seen = next.Handle(ctx, ex)
		ran = true
		_, whole = ex.Response.Whole()
		return seen
	})
	f := func(chain pipeline.Chain, verdict error, used string, inFront, got bool) {
		t.Helper()
		seen, ran, whole, body = nil, false, false, nil
		read := ""
		ex := pipeline.Acquire(t.Context())
		err := ask.Upstream(ex, chain, pipeline.OpRerank, "test", []byte("{}"), 8, func(answer []byte) error {
			read += string(answer)
			return verdict
		})
		if read != used || (seen != nil) != inFront || (err != nil) != got || inFront && verdict != nil && seen != verdict {
			t.Errorf("read %q, in front %v, got %v", read, seen, err)
		}
		if ran && used != "" && !whole {
			t.Error("the stage in front has no whole answer")
		}
		ex.Release()
		if body != nil && (body.Closes() != 1 || body.Abused()) {
			t.Errorf("the body was closed %d times, abused %v", body.Closes(), body.Abused())
		}
	}
	f(pipeline.Chain{says(200, "{}")}, nil, "{}", false, false)
	f(pipeline.Chain{says(200, "{}")}, useless, "{}", false, true)
	f(pipeline.Chain{front, says(200, "{}")}, nil, "{}", false, false)
	f(pipeline.Chain{front, says(200, "{}")}, useless, "{}", true, true)
	f(pipeline.Chain{front, says(200, "{", "}")}, useless, "{}", true, true)
	f(pipeline.Chain{front, says(200, "{", "}")}, nil, "{}", false, false)
	f(pipeline.Chain{front, says(200, "{       ", "}")}, nil, "", true, true) // too large
	f(pipeline.Chain{front, says(200)}, nil, "", true, true)
	f(pipeline.Chain{front, says(429, "{}")}, nil, "", false, true) // an answer, to the stages
	f(pipeline.Chain{says(200, "{}"), front, says(500, "{}")}, useless, "{}", false, true)
	f(pipeline.Chain{says(500, "{}"), says(200, "{}")}, nil, "", false, true)
}
