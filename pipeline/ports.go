package pipeline

import (
	"context"
	"time"
)

// A Provider answers exchanges by calling one upstream.
//
// A well-formed answer is no error, whatever its status: Call fills
// ex.Response, Fault included, and returns nil. An error means that there is no
// answer to pass on. A body that is not a stream of events has been read whole
// before Call returns, except for operations that the gateway only passes
// through.
type Provider interface {
	// Call sends the exchange upstream, for ex.Target where that is set, and
	// fills its Response. It never sends a request twice.
	Call(ctx context.Context, ex *Exchange) error
}

// A Transport carries HTTP to the one upstream that it was built for.
type Transport interface {
	// RoundTrip sends req and returns once the response header has arrived;
	// resp.Body yields the rest, as it comes and in pieces that follow no
	// message boundary. Cancelling ctx aborts the call in either phase: the
	// connection is closed. It never sends a request twice.
	RoundTrip(ctx context.Context, req *Request, resp *Response) error
}

// A Key identifies a cached answer.
type Key [32]byte

// A CacheStore keeps finished answers.
type CacheStore interface {
	// Get's value is shared: callers must not modify it.
	Get(ctx context.Context, key Key) (value []byte, ok bool, err error)
	// Set keeps value, which must not change any more, for at most ttl.
	Set(ctx context.Context, key Key, value []byte, ttl time.Duration) error
}
