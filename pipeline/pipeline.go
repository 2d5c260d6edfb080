// Package pipeline is the vocabulary shared by every stage of the gateway: the
// exchange, the handlers that work on it, the stream of its answer, and the
// ports behind which providers and stores live.
//
// A chain is a slice of handlers. Each is given the exchange and the rest of
// the chain, so a stage may answer by itself, call the rest once, or call it
// several times. There are no hooks, no phases and no registration.
package pipeline

import (
	"context"
	"io"
)

// A Handler is one stage of a chain. It may answer by itself, or call next
// and then inspect, replace or wrap what came back.
//
// Handle runs concurrently. ctx ends when the answer is no longer wanted.
// When Handle returns an error, whatever it left in ex.Response is closed by
// the exchange's owner and never sent.
type Handler interface {
	Handle(ctx context.Context, ex *Exchange, next Chain) error
}

// HandlerFunc lets a function be a Handler.
type HandlerFunc func(ctx context.Context, ex *Exchange, next Chain) error

// Handle implements Handler.
func (f HandlerFunc) Handle(ctx context.Context, ex *Exchange, next Chain) error {
	return f(ctx, ex, next)
}

// A Guard is a Handler that may refuse a client by who it is. A route without
// one in front is open, and an open gateway listens on loopback only.
type Guard interface {
	Handler
	// Guards reports whether the handler, as it is set up, lets only known
	// clients pass.
	Guards() bool
}

// An Endpoint is a Handler that serves an API of its own. Standing first in a
// route's chain it has the edge read the whole body into memory, bounded as for
// a model, before any stage of the route runs; no model needs to be named in it.
// It also words the route's errors, those of the stages before it included.
type Endpoint interface {
	Handler
	// Refuse is what the client is told of e: a status, and JSON.
	Refuse(e *Error) (status int, body []byte)
}

// A Chain is a compiled list of stages. The empty chain does nothing.
type Chain []Handler

// Handle runs the first stage and hands it the rest.
func (c Chain) Handle(ctx context.Context, ex *Exchange) error {
	if len(c) == 0 {
		return nil
	}
	return c[0].Handle(ctx, ex, c[1:])
}

// A Stream is a response body, pulled one frame at a time. A frame is one or
// more whole server-sent events, never a part of one, or any piece of another
// kind of body. Several events come in one frame only when they had already
// arrived together; package sse takes them apart.
type Stream interface {
	// Next returns the next frame, or io.EOF after the last, and never both: the
	// reader drops what comes with an error. Any other error means that the body is
	// not whole. The frame is read only, as others may hold the same bytes, and valid
	// until the following call to Next or Close; it is never empty when the error is
	// nil.
	Next() ([]byte, error)
	// Close releases what the stream holds. Its owner calls it exactly once,
	// also after an error, and not while Next runs: to interrupt a blocked
	// Next, cancel the context that the answer was made with.
	Close() error
}

// whole is a body that is already complete, as a stream of one frame.
type whole struct {
	b    []byte
	done bool
}

func (w *whole) Next() ([]byte, error) {
	if w.done || len(w.b) == 0 {
		return nil, io.EOF
	}
	w.done = true
	return w.b, nil
}

func (w *whole) Close() error { return nil }
