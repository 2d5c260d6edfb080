// Package ask makes the gateway's own requests to models. Model lets an endpoint put a
// question to a model of the file, through the same stages as a client's request for
// that model; Upstream has a chain answer an embedder or a reranker. Vectors and Scores
// take out of an answer what it is asked for, and say if it is of no use.
package ask

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 16 << 20

// paths are what the operations are asked at.
var paths = map[pipeline.Operation]string{
	pipeline.OpChat:       "/v1/chat/completions",
	pipeline.OpEmbeddings: "/v1/embeddings",
	pipeline.OpRerank:     "/v1/rerank",
}

// Model has the model called name answer body, a JSON object with that model in
// it, and returns the answer, which is the caller's. It makes ex that request:
// the stages behind see a client's. next answers for models without a chain of
// their own.
//
// A well-formed answer that is an error is an *Error here: with the status of
// the upstream where that tells the client something, else 502.
func Model(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain, op pipeline.Operation, name string, body []byte) ([]byte, error) {
	if ex.Models == nil {
		return nil, errors.New("BUG: an endpoint stands first in its route's chain")
	}
	m := ex.Models.Find([]byte(name))
	if m == nil {
		return nil, &pipeline.Error{
			Status: 404, Code: "model_not_found", Param: "model", Fault: pipeline.CallerFault,
			Err: fmt.Errorf("the model %.200q does not exist here", name),
		}
	}
	ex.Op, ex.Model, ex.Targets, ex.Target = op, m, m.Targets, nil
	h := &ex.Request.Header
	h.SetMethod("POST")
	h.SetRequestURI(paths[op])
	h.SetContentType("application/json")
	ex.Request.Body = body
	chain := next
	if m.Chain != nil {
		chain = m.Chain
	}
	if err := chain.Handle(ctx, ex); err != nil {
		return nil, err
	}
	answer, err := read(&ex.Response)
	if err != nil {
		return nil, err
	}
	if status := ex.Response.Header.StatusCode(); status >= 400 {
		return nil, failed(&ex.Response, status, answer)
	}
	return answer, nil
}

// failed is the error for an answer that is one.
func failed(r *pipeline.Response, status int, answer []byte) error {
	e := &pipeline.Error{
		Status: 502, Code: "upstream_error", Fault: r.Fault, RetryAfter: r.RetryAfter(),
		Err: fmt.Errorf("the upstream answered with status %d", status),
	}
	switch status {
	case 400, 404, 409, 413, 415, 422, 429, 504:
		e.Status = status
	}
	if e.Fault == pipeline.NoFault {
		e.Fault = pipeline.FaultOfStatus(status)
	}
	if chat.Valid(answer) == nil {
		e.Body = answer
	}
	return e
}

// read reads the answer to its end and closes it.
func read(r *pipeline.Response) ([]byte, error) {
	if r.Body == nil {
		return nil, &pipeline.Error{Status: 500, Code: "no_answer", Fault: pipeline.GatewayFault, Err: errors.New("no stage of this route answers")}
	}
	defer r.CloseBody()
	var all []byte
	for {
		frame, err := r.Body.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if all = append(all, frame...); len(all) > maxAnswer {
			return nil, &pipeline.Error{
				Status: 502, Code: "upstream_too_large", Fault: pipeline.UpstreamFault,
				Err: fmt.Errorf("the upstream's answer is larger than %d bytes", maxAnswer),
			}
		}
	}
}

// A Reply is what a model said in a chat.
type Reply struct {
	Text  string
	Model string // the upstream's own name of it; may be empty
	Usage []byte // as the upstream reports it, JSON; nil if it does not
}

// Read takes the text out of the answer to a chat.
func Read(answer []byte) (Reply, error) {
	var r Reply
	if chat.Valid(answer) != nil {
		return r, unreadable("no JSON")
	}
	for choice := range chat.Array(chat.Get(answer, "choices")) {
		text, ok := chat.Text(chat.Get(choice, "message", "content"))
		if !ok && string(chat.Get(choice, "message", "content")) != "null" {
			break
		}
		r.Text = text
		r.Model, _ = chat.Text(chat.Get(answer, "model"))
		r.Usage = chat.Get(answer, "usage")
		return r, nil
	}
	return r, unreadable("no choice with a text")
}

func unreadable(why string) error {
	return &pipeline.Error{
		Status: 502, Code: "upstream_protocol", Fault: pipeline.UpstreamFault,
		Err: errors.New("the upstream's answer cannot be used: it is " + why),
	}
}

// Set makes body the answer, as JSON with the given status, and forgets all
// that the answers in between left behind but for what the cache says of itself.
func Set(ex *pipeline.Exchange, status int, body []byte) {
	kept := string(ex.Response.Header.Peek("X-Headrace-Cache"))
	ex.Response.Reset()
	if kept != "" {
		ex.Response.Header.Set("X-Headrace-Cache", kept)
	}
	ex.Response.Header.SetStatusCode(status)
	ex.Response.Header.SetContentType("application/json")
	ex.Response.SetBody(body)
}
