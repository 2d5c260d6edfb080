package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
)

const (
	// maxInterim bounds the 1xx responses before a final one.
	maxInterim = 8
	// maxInline is the largest body that is written before the answer is
	// looked for. A larger one might not fit into the buffers of the
	// kernels, and an upstream that answers without reading it would be
	// waited for until the write times out.
	maxInline = 64 << 10
	// maxJoined is the largest body that is copied behind the header. Larger
	// ones leave in the same system call without that, which measures the
	// same at 20 KB, and holds no memory.
	maxJoined = 8 << 10
	// grace is how long the answer of an upstream that takes no more of the
	// request is waited for.
	grace = 250 * time.Millisecond
)

// call is one exchange with the upstream: first the RoundTrip, then the stream
// of its body. It is pooled.
type call struct {
	client *Client
	hook   pipeline.Hook
	conn   *conn
	r      *bufio.Reader
	body   body

	started time.Time
	wait    pipeline.Wait
	total   time.Time // when the call is to be over; zero for never
	close   bool      // the connection cannot be used again
	safe    bool      // the request may be sent twice
	heard   bool      // something has come back
	end     error     // what Next returns from now on

	out    []byte // the request header, and a small body
	large  []byte // a body that is not in out
	vector [2][]byte
	bufs   net.Buffers
	sender sender

	mu       sync.Mutex
	cause    error              // guarded by mu; why the call was cancelled
	raw      net.Conn           // guarded by mu; what Cancel closes
	stopDial context.CancelFunc // guarded by mu
}

var _ pipeline.Stream = (*call)(nil)

func (c *Client) acquire() *call {
	if k, ok := c.calls.Get().(*call); ok {
		return k
	}
	return &call{client: c}
}

// release puts k back. Nothing of it may be in use.
func (k *call) release() {
	if cap(k.out) > 4*maxJoined {
		k.out = nil
	}
	k.large, k.vector, k.bufs = nil, [2][]byte{}, nil
	k.sender = sender{}
	k.cause, k.raw, k.stopDial, k.end = nil, nil, nil, nil
	k.client.calls.Put(k)
}

// Cancel implements pipeline.Canceler. It closes the connection while it holds
// k.mu, so that once detach has returned, no close is to come.
func (k *call) Cancel(cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause != nil {
		return
	}
	k.cause = cause
	if k.raw != nil {
		_ = k.raw.Close() // the reader and the writer find out
	}
	if k.stopDial != nil {
		k.stopDial()
	}
}

// attach makes c the connection that Cancel closes, or reports false if
// Cancel has come before.
func (k *call) attach(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.raw, k.stopDial = c, nil
	return k.cause == nil
}

// detach ends Cancel's power over the connection, and returns what it was
// called with.
func (k *call) detach() error {
	k.hook.Detach()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.raw, k.stopDial = nil, nil
	return k.cause
}

// do sends req and reads the header of the answer. After an error, k holds
// nothing.
func (k *call) do(ctx context.Context, req *pipeline.Request, lines []byte, resp *pipeline.Response) (err error) {
	k.begin(req)
	if k.out, err = appendRequest(k.out[:0], req, lines, k.client.o.Address); err != nil {
		return err
	}
	k.large = nil
	if n := len(req.Body); n <= maxJoined {
		k.out = append(k.out, req.Body...)
	} else {
		k.large = req.Body
	}
	if !k.hook.OnDone(ctx, k) {
		return abandoned(pipeline.Cause(ctx))
	}
	toHead := string(req.Header.Method()) == "HEAD"
	if err = k.connect(false); err == nil {
		if err = k.exchange(req, resp, toHead); errors.Is(err, errUnsent) {
			k.client.pool.drop(k.conn)
			if err = k.connect(true); err == nil {
				err = k.exchange(req, resp, toHead)
			}
		}
	}
	if err != nil {
		return k.abort(err)
	}
	return nil
}

// begin works out the limits of the call.
func (k *call) begin(req *pipeline.Request) {
	o := &k.client.o
	k.started = time.Now()
	k.close, k.safe = false, safe(req.Header.Method())
	k.wait = limits(req.Wait, o)
	k.total = time.Time{}
	if k.wait.Total > 0 {
		k.total = k.started.Add(k.wait.Total)
	}
}

// limits returns the bounds of a call, from those it asks for and the client's.
func limits(w pipeline.Wait, o *Options) pipeline.Wait {
	if w.FirstByte <= 0 {
		w.FirstByte = o.FirstByte
	}
	if w.Idle <= 0 {
		w.Idle = o.Idle
	}
	if w.Total <= 0 || o.Total > 0 && o.Total < w.Total {
		w.Total = o.Total
	}
	return w
}

// until returns the deadline, if the call as a whole does not end before.
func (k *call) until(deadline time.Time) time.Time {
	if !k.total.IsZero() && k.total.Before(deadline) {
		return k.total
	}
	return deadline
}

// connect sets k.conn to a connection from the pool, or to a new one.
func (k *call) connect(fresh bool) (err error) {
	p := &k.client.pool
	k.conn = nil
	if fresh {
		err = p.fresh()
	} else {
		k.conn, err = p.get(k.started)
	}
	if err != nil {
		return err
	}
	if k.conn == nil {
		if k.conn, err = k.dial(); err != nil {
			p.forget()
			return err
		}
	}
	if !k.attach(k.conn.raw) {
		return errCancelled
	}
	return nil
}

// errCancelled stands for the call's own cause, which abort puts in its place.
var errCancelled = errors.New("cancelled")

// dial makes a connection, and can be cancelled doing so.
func (k *call) dial() (*conn, error) {
	o := &k.client.o
	limit := k.until(k.started.Add(k.wait.FirstByte))
	if d := time.Now().Add(o.Connect); d.Before(limit) {
		limit = d
	}
	ctx, stop := context.WithDeadline(context.Background(), limit)
	defer stop()
	k.mu.Lock()
	k.stopDial = stop
	cancelled := k.cause != nil
	k.mu.Unlock()
	if cancelled {
		return nil, errCancelled
	}
	c, err := dial(ctx, o.Address, o.TLS, nil)
	if err != nil {
		return nil, o.dialFault(ctx, err)
	}
	return c, nil
}

// abort frees everything after a failure and returns what the caller is told.
func (k *call) abort(err error) error {
	cause := k.detach()
	if k.conn != nil {
		k.client.pool.drop(k.conn)
		k.conn = nil
	}
	k.freeReader()
	k.sender.stop()
	if own := k.sender.wait(); own != nil && cause == nil {
		err = own
	}
	if cause != nil {
		return abandoned(cause)
	}
	return err
}

func (k *call) freeReader() {
	if k.r != nil {
		k.client.freeReader(k.r)
		k.r = nil
	}
}

// Next implements pipeline.Stream.
func (k *call) Next() ([]byte, error) {
	if k.end != nil {
		return nil, k.end
	}
	piece, err := k.body.next(k.arm)
	switch {
	case err == nil:
		return piece, nil
	case err == io.EOF && k.conn.ended():
		_ = k.finish() // the answer is whole: why it might have been cancelled does not matter
		k.end = io.EOF
	default:
		k.end = k.broken(err)
	}
	return nil, k.end
}

// arm readies the connection for a read of the body.
func (k *call) arm() {
	k.conn.allowRead(time.Now(), k.wait.Idle, k.total)
}

// broken ends a call whose body could not be read to its end.
func (k *call) broken(err error) error {
	k.close = true
	if cause := k.finish(); cause != nil {
		return abandoned(cause)
	}
	return k.fault(err, "before its answer was complete", "no more of the answer in time")
}

// finish gives the connection back, or closes it unless all of the body and
// nothing else has come over it, or all but its end. It returns why the call was
// cancelled, if it was.
func (k *call) finish() error {
	cause := k.detach()
	c := k.conn
	k.conn = nil
	sound := cause == nil && !k.close && (k.body.settle() || k.body.ending()) && k.sender.finished()
	if sound && k.body.state != complete {
		c.leave(&k.body)
	}
	k.freeReader()
	if sound {
		c.reused = true
		k.client.pool.put(c, time.Now())
	} else {
		k.client.pool.drop(c)
	}
	return cause
}

// Close implements pipeline.Stream.
func (k *call) Close() error {
	if k.conn != nil {
		_ = k.finish() // whoever closes does not ask why
	}
	k.sender.stop()
	_ = k.sender.wait() // there is an answer, so its failure does not matter
	k.release()
	return nil
}
