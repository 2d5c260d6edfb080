package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Fault is whose failure an answer or an error is. It decides what may be
// tried again elsewhere and what a breaker counts.
type Fault uint8

// The faults, from the requester's to the gateway's own.
const (
	NoFault       Fault = iota
	CallerFault         // the request is wrong: no other upstream would take it
	PolicyFault         // refused for its content
	GoneFault           // nobody waits for the answer any more
	OverloadFault       // too many requests, here or there; worth a wait or another upstream
	TimeoutFault        // the upstream was too slow
	UpstreamFault       // the upstream, or the way to it, failed
	GatewayFault        // this program failed
)

// String returns the name used in logs and metrics.
func (f Fault) String() string {
	return [...]string{"none", "caller", "policy", "gone", "overload", "timeout", "upstream", "gateway"}[f]
}

// Retryable reports whether another upstream might do better.
func (f Fault) Retryable() bool {
	return f == OverloadFault || f == TimeoutFault || f == UpstreamFault
}

// An Error is a failure the client sees with its own status. Anything else is a 502, whose
// text is in the log alone.
type Error struct {
	Status int    // HTTP status
	Type   string // OpenAI's error type; derived from Status when empty
	Code   string // machine-readable: snake_case, stable
	Param  string // the field at fault, if one is
	Fault  Fault  // derived from Status when NoFault
	// RetryAfter is how long the client should wait before it tries again;
	// zero says nothing.
	RetryAfter time.Duration
	// Body, if not nil, is sent to the client instead of a body made from the
	// fields above: an upstream's own error object, as JSON.
	Body []byte
	Err  error // what happened, in one sentence; reaches the client
}

// Error implements error.
func (e *Error) Error() string {
	if e == nil { // as an error it is not nil; who asks for its text must not fail too
		return "a nil *pipeline.Error"
	}
	if e.Err == nil {
		return e.Code
	}
	return fmt.Sprintf("%s: %v", e.Code, e.Err)
}

// Unwrap returns the sentence's own error.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Fail returns an *Error.
func Fail(status int, code string, err error) error {
	return &Error{Status: status, Code: code, Err: err}
}

// FaultOf classifies what a chain returned: its error, or else the answer in
// ex.
func FaultOf(ex *Exchange, err error) Fault {
	if err == nil {
		return ex.Response.Fault
	}
	return FaultOfError(err)
}

// FaultOfError classifies an error: that of a chain, or that of a stream.
func FaultOfError(err error) Fault {
	if err == nil {
		return NoFault
	}
	if e, ok := errors.AsType[*Error](err); ok {
		if e == nil { // a nil *Error in an error: a mistake in a stage
			return GatewayFault
		}
		if e.Fault != NoFault {
			return e.Fault
		}
		return FaultOfStatus(e.Status)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return GoneFault
	case errors.Is(err, context.DeadlineExceeded):
		return TimeoutFault
	}
	return UpstreamFault
}

// FaultOfStatus classifies an HTTP status that comes without further word.
func FaultOfStatus(status int) Fault {
	switch {
	case status < 400:
		return NoFault
	case status == 408, status == 504:
		return TimeoutFault
	case status == 429, status == 503, status == 529:
		return OverloadFault
	case status == 401, status == 402, status == 403, status == 407, status == 421, status == 425, status == 426:
		// To an upstream the caller is this gateway: its key is wrong or its
		// account empty, or it speaks to the wrong server, or in the wrong way or
		// too early. With another upstream that need not be.
		return UpstreamFault
	case status < 500:
		return CallerFault
	}
	return UpstreamFault
}

// TypeOfStatus is OpenAI's type of error for a status.
func TypeOfStatus(status int) string {
	switch {
	case status == 401:
		return "authentication_error"
	case status == 403:
		return "permission_error"
	case status == 404:
		return "not_found_error"
	case status == 429:
		return "rate_limit_error"
	case status < 500:
		return "invalid_request_error"
	}
	return "server_error"
}
