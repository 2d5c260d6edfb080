package ask

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/headrace/headrace/pipeline"
)

// A Refused is an upstream's status in place of an answer.
type Refused struct{ Status int }

// Error implements error.
func (r *Refused) Error() string {
	return fmt.Sprintf("the upstream answered with status %d", r.Status)
}

// OfRequest reports whether it may be the request that was refused, for something in it
// that this upstream does not know.
func (r *Refused) OfRequest() bool { return r.Status == 400 || r.Status == 415 || r.Status == 422 }

// ErrWhom is the problem of settings that name both a provider and a chain to ask, or neither.
var ErrWhom = errors.New("set either provider or chain: it says who is asked")

// Provider is the chain that asks p and no other.
func Provider(p pipeline.Provider) pipeline.Chain {
	return pipeline.Chain{pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error { return p.Call(ctx, ex) })}
}

// Upstream makes ex the gateway's own request for op, a JSON object, has chain answer it,
// and has use read the whole answer, which is valid until ex is released. by says who asks.
// An answer of more than most bytes is an error, and so is one with the status of an error:
// that wraps a *Refused.
//
// An answer that use has an error for is one that failed, to the stages in front of the last:
// a breaker must not take an upstream for well that says nothing of use.
func Upstream(ex *pipeline.Exchange, chain pipeline.Chain, op pipeline.Operation, by string, body []byte, most int, use func(answer []byte) error) error {
	h := &ex.Request.Header
	h.SetMethod("POST")
	h.SetRequestURI(paths[op])
	h.SetHost(by)
	h.SetContentType("application/json")
	h.SetContentLength(len(body))
	ex.Op, ex.Route, ex.Request.Body = op, by, body
	used := false
	judge := pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		if err := next.Handle(ctx, ex); err != nil || refusal(ex) != nil {
			return err
		}
		used = true
		return answered(ex, most, use)
	})
	last := max(0, len(chain)-1)
	if err := append(append(chain[:last:last], judge), chain[last:]...).Handle(ex.Context(), ex); err != nil {
		return err
	}
	if err := refusal(ex); err != nil || used {
		return err
	}
	return answered(ex, most, use) // a stage in front has answered by itself
}

// answered has use read the answer.
func answered(ex *pipeline.Exchange, most int, use func(answer []byte) error) error {
	if ex.Response.Body == nil {
		return errors.New("the upstream gave no answer")
	}
	b, ok := ex.Response.Whole()
	if ok {
		return use(b)
	}
	for {
		frame, err := ex.Response.Body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if b = append(b, frame...); len(b) > most {
			return &pipeline.Error{
				Status: 502, Code: "upstream_too_large", Fault: pipeline.UpstreamFault,
				Err: fmt.Errorf("the answer has more than %d bytes", most),
			}
		}
	}
	ex.Response.SetBody(b)
	return use(b)
}

// refusal is the error for an answer that is one.
func refusal(ex *pipeline.Exchange) error {
	if ex.Response.Body == nil {
		return nil
	}
	status := ex.Response.Header.StatusCode()
	fault := ex.Response.Fault
	if fault == pipeline.NoFault {
		fault = pipeline.FaultOfStatus(status)
	}
	if fault == pipeline.NoFault {
		return nil
	}
	e := &pipeline.Error{
		Status: 502, Code: "upstream_error", Fault: fault, RetryAfter: ex.Response.RetryAfter(), Err: &Refused{status},
	}
	if status == 429 {
		e.Status = status // to wait helps, and the caller can
	}
	return e
}
