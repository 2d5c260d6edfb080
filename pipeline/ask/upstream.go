package ask

import (
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

// Upstream makes ex the gateway's own request for op, a JSON object, has chain answer it,
// and returns the whole answer, which is valid until ex is released. by says who asks. An
// answer of more than most bytes is an error, and so is one with the status of an error:
// that wraps a *Refused.
func Upstream(ex *pipeline.Exchange, chain pipeline.Chain, op pipeline.Operation, by string, body []byte, most int) ([]byte, error) {
	h := &ex.Request.Header
	h.SetMethod("POST")
	h.SetRequestURI(paths[op])
	h.SetHost(by)
	h.SetContentType("application/json")
	h.SetContentLength(len(body))
	ex.Op, ex.Route, ex.Request.Body = op, by, body
	if err := chain.Handle(ex.Context(), ex); err != nil {
		return nil, err
	}
	if ex.Response.Body == nil {
		return nil, errors.New("the upstream gave no answer")
	}
	b, ok := ex.Response.Whole()
	for !ok {
		frame, err := ex.Response.Body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		if b = append(b, frame...); len(b) > most {
			return nil, &pipeline.Error{
				Status: 502, Code: "upstream_too_large", Fault: pipeline.UpstreamFault,
				Err: fmt.Errorf("the answer has more than %d bytes", most),
			}
		}
	}
	status := ex.Response.Header.StatusCode()
	fault := ex.Response.Fault
	if fault == pipeline.NoFault {
		fault = pipeline.FaultOfStatus(status)
	}
	if fault == pipeline.NoFault {
		return b, nil
	}
	e := &pipeline.Error{
		Status: 502, Code: "upstream_error", Fault: fault, RetryAfter: ex.Response.RetryAfter(), Err: &Refused{status},
	}
	if status == 429 {
		e.Status = status // to wait helps, and the caller can
	}
	return nil, e
}
