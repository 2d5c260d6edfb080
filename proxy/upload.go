package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
)

// An upload is the body of the request being served, read from the connection.
// It bounds how slowly it may come, and how large it may get.
type upload struct {
	ctx   *fasthttp.RequestCtx
	conn  *conn
	began time.Time
	armed time.Time // when the read deadline was last set
	idle  time.Duration
	max   int64 // -1: not bounded here
	read  int64
	begun atomic.Bool // Read has been called: the connection may be in use
	whole atomic.Bool // the end has been read
	ended atomic.Bool // Close has been called
	err   error

	memory *budget
	held   int64 // of memory
}

// hold reserves memory for n bytes of body in all. It is given back with the
// request.
func (u *upload) hold(n int64) bool {
	if !u.memory.take(n - u.held) {
		return false
	}
	u.held = n
	return true
}

// leastRate is how many bytes a second a body must bring on average, once it
// has taken longer than the idle time. A body that trickles in below it keeps
// a connection for nothing.
const leastRate = 1 << 10

var (
	errSlowBody = errors.New("the request body came too slowly")
	errCutBody  = errors.New("the request body ended early, or is malformed")
	errTooBig   = errors.New("the request body is larger than this server accepts")
)

// Read implements io.Reader. Any error but io.EOF is a *pipeline.Error.
func (u *upload) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	if u.ended.Load() {
		return 0, errCutBody
	}
	u.begun.Store(true)
	n, err := u.conn.body(p, u)
	u.read += int64(n)
	switch {
	case err == io.EOF:
		u.err = io.EOF
		u.whole.Store(true)
	case err != nil:
		u.err = bodyError(err)
	case u.max >= 0 && u.read > u.max:
		u.err = refuse(413, "request_too_large", "", errTooBig)
		return 0, u.err
	}
	return n, u.err
}

// arm moves the read deadline, at most a few times in one idle period. The connection
// calls it before it waits for more: what has arrived may end within a line of chunked
// framing, so only it knows when it does.
func (u *upload) arm() {
	if u == nil {
		return
	}
	now := time.Now()
	if now.Sub(u.armed) < u.idle/8 {
		return
	}
	u.armed = now
	deadline := now.Add(u.idle)
	if least := u.began.Add(u.idle + time.Duration(u.read)*time.Second/leastRate); least.Before(deadline) {
		deadline = least
	}
	_ = u.ctx.SetReadDeadline(deadline)
	if u.ended.Load() {
		_ = u.ctx.SetReadDeadline(past) // Close may have come in between
	}
}

// past is a deadline that makes what is running end at once.
var past = time.Unix(1, 0)

// Close ends the upload for whoever reads it, also while it is blocked in
// Read. What has not been read then is not read any more.
func (u *upload) Close() error {
	if !u.ended.Swap(true) && !u.whole.Load() {
		_ = u.ctx.SetReadDeadline(past)
	}
	return nil
}

// bodyError says what went wrong in words that are safe for the client.
func bodyError(err error) error {
	switch {
	case violated(err) == errCut:
		return refuse(400, "incomplete_body", "", errCutBody)
	case violated(err) != nil:
		return refuse(400, "malformed_request", "", violated(err))
	case isTimeout(err):
		return refuse(408, "request_timeout", "", errSlowBody)
	}
	return &pipeline.Error{Status: 400, Code: "incomplete_body", Fault: pipeline.GoneFault, Err: errCutBody}
}
