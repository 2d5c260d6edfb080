package upstream

import (
	"errors"
	"fmt"
	"net"

	"github.com/headrace/headrace/pipeline"
)

// reason is a sentence for the client over a cause for the log. The cause
// may name addresses or quote the upstream, so it is not part of the text.
type reason struct {
	text  string
	cause error
}

func (r *reason) Error() string { return r.text }
func (r *reason) Unwrap() error { return r.cause }

func failure(status int, code string, fault pipeline.Fault, text string, cause error) error {
	return &pipeline.Error{Status: status, Code: code, Fault: fault, Err: &reason{text, cause}}
}

func unreachable(cause error) error {
	return failure(502, "upstream_unreachable", pipeline.UpstreamFault, "the upstream cannot be reached", cause)
}

func badTLS(cause error) error {
	return failure(502, "upstream_tls", pipeline.UpstreamFault, "no trusted connection to the upstream", cause)
}

func timeout(text string, cause error) error {
	return failure(504, "upstream_timeout", pipeline.TimeoutFault, text, cause)
}

func cut(text string, cause error) error {
	return failure(502, "upstream_cut", pipeline.UpstreamFault, text, cause)
}

func abandoned(cause error) error {
	return fmt.Errorf("call to the upstream abandoned: %w", cause)
}

func overloaded(limit int) error {
	return failure(503, "overloaded", pipeline.OverloadFault,
		fmt.Sprintf("all %d connections to the upstream are in use", limit), nil)
}

// malformed is what is wrong with an answer: a fixed text, never a quote.
type malformed string

func (m malformed) Error() string { return string(m) }

// errTooLarge is a response header over the limit.
var errTooLarge = errors.New("response header over the limit")

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
