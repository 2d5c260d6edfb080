package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
)

// A conn is one client connection. The server reads heads from it, one at a
// time and without the fields that frame a body; the body is read by body.
// Everything read has passed the wire check, and a watcher tells the connection
// when its client leaves.
type conn struct {
	net.Conn // TCP, or TLS on it

	wire wire
	buf  *[]byte // what has been read from Conn; nil when nothing is left of it
	r    int     // buf[r:ok] is head that the server has not read yet
	ok   int
	w    int   // buf[ok:w] has not been judged yet
	head bool  // a whole head has been judged: the next Read is for the next request
	bad  error // what every further Read returns
	sham bool  // the next Read yields a byte first: see fail

	served   bool         // a head has been read
	late     bool         // the read deadline for the head being read is set
	readBy   atomic.Int64 // the read deadline, in Unix nanoseconds; 0 if it is none of ours
	writeBy  time.Time    // the write deadline
	ip       netip.Addr
	id       uint64
	watcher  *watcher
	listener *listener
	closed   atomic.Bool
	gone     atomic.Bool
	owed     atomic.Bool // the client may be sending still, and is owed an answer all the same

	mu    sync.Mutex
	scope *pipeline.Scope // of the request being served; guarded by mu
	since time.Time       // when it began; guarded by mu
}

// maxSkip is how much of a body that nobody wanted is read to reach the next
// request.
const maxSkip = 64 << 10

// Read implements net.Conn, for the server, which believes that requests have
// no bodies.
func (c *conn) Read(p []byte) (int, error) {
	for c.r == c.ok && c.bad == nil {
		if c.head {
			c.head = false
			if !c.skip() {
				c.bad = io.EOF
				break
			}
		}
		c.judge()
	}
	if c.r < c.ok {
		n := copy(p, (*c.buf)[c.r:c.ok])
		c.r += n
		c.shrink()
		return n, nil
	}
	if c.sham && len(p) > 0 {
		c.sham, p[0] = false, 'X'
		return 1, nil
	}
	return 0, c.bad
}

// judge takes whole lines of a head from the buffer, after reading more if
// there is none.
func (c *conn) judge() {
	for first := true; !c.head; first = false {
		end := -1
		if c.buf != nil {
			end = bytes.IndexByte((*c.buf)[c.ok:c.w], '\n')
		}
		if end < 0 {
			if !first {
				return
			}
			c.await()
			if c.fill() != nil {
				return
			}
			continue
		}
		line := (*c.buf)[c.ok : c.ok+end+1]
		hide, err := c.wire.line(line)
		if err != nil {
			c.fail(err)
			return
		}
		if hide {
			copy((*c.buf)[c.r+len(line):], (*c.buf)[c.r:c.ok])
			c.r += len(line)
		}
		c.ok += len(line)
		if c.head = !hide && len(line) == 2; c.head {
			c.served, c.late = true, false
		}
	}
}

// fail makes err the end of the connection. fasthttp closes a kept-alive
// connection without a word if an error comes before any byte of a request; the
// client is owed an answer, so one byte goes ahead of the error.
func (c *conn) fail(err error) {
	c.owed.Store(true)
	c.bad = err
	c.sham = c.wire.inHead()
}

// fill reads more into the buffer.
func (c *conn) fill() error {
	if c.buf == nil {
		c.buf = c.listener.buffer()
		c.r, c.ok, c.w = 0, 0, 0
	}
	b := *c.buf
	if c.w == len(b) {
		copy(b, b[c.r:c.w])
		c.ok, c.w, c.r = c.ok-c.r, c.w-c.r, 0
		if c.w == len(b) {
			c.fail(c.wire.tooLarge())
			return c.bad
		}
	}
	n, err := c.Conn.Read(b[c.w:])
	c.w += n
	if n > 0 || err == nil {
		return nil
	}
	begun := c.w > c.ok || c.wire.state != wireRequestLine
	switch {
	case err == io.EOF && begun:
		err = errCut
	case isTimeout(err) && !begun:
		// A client that opened the connection ahead of its first request would
		// take a 408 for the answer to it.
		err = io.EOF
	}
	c.bad = err
	c.sham = c.served && c.wire.inHead() && isTimeout(err) && begun
	c.shrink()
	return err
}

// shrink gives an empty buffer back, so that a connection holds none while it
// waits or streams.
func (c *conn) shrink() {
	if c.buf != nil && c.r == c.w {
		c.listener.buffers.Put(c.buf)
		c.buf = nil
		c.r, c.ok, c.w = 0, 0, 0
	}
}

// size is the declared length of the body of the request being served, -1 if
// it is chunked, 0 if there is none.
func (c *conn) size() int64 {
	if c.wire.framing.chunked {
		return -1
	}
	return max(0, c.wire.framing.length)
}

// bodiless reports whether the request whose head was being read is a HEAD.
func (c *conn) bodiless() bool { return c.wire.state != wireRequestLine && c.wire.framing.bare }

// whole reports whether the body has been read to its end.
func (c *conn) whole() bool { return c.wire.state == wireRequestLine }

// skip reads what is left of a body, if it is not much.
func (c *conn) skip() bool {
	if c.whole() {
		return true
	}
	if c.bad != nil || c.wire.left > maxSkip {
		return false
	}
	c.idle()
	var waste [1 << 10]byte
	for n := 0; n < maxSkip; {
		m, err := c.body(waste[:], nil)
		if n += m; err == io.EOF {
			return true
		}
		if err != nil {
			return false
		}
	}
	return false
}

// unwanted ends the connection behind an answer that did not want the body, if that may
// be too large to skip.
func (c *conn) unwanted(ctx *fasthttp.RequestCtx) {
	if n := c.size(); n < 0 || n > maxSkip {
		c.end(ctx)
	}
}

// end closes the connection behind the answer of ctx, and lets the client know.
func (c *conn) end(ctx *fasthttp.RequestCtx) {
	c.owed.Store(true)
	ctx.SetConnectionClose()
}

// body reads the body of the request being served. io.EOF comes at its end and
// nowhere else. u bounds each wait for more of it; without one the deadline that is
// set holds.
func (c *conn) body(p []byte, u *upload) (int, error) {
	for {
		switch {
		case c.whole():
			return 0, io.EOF
		case c.bad != nil:
			return 0, c.bad
		case len(p) == 0:
			return 0, nil
		case c.wire.state == wireFixed || c.wire.state == wireChunkData:
			return c.data(p[:min(int64(len(p)), c.wire.left)], u)
		}
		if err := c.frame(u); err != nil {
			return 0, err
		}
	}
}

// data reads bytes of the body or of a chunk, straight from the connection
// where none are buffered.
func (c *conn) data(p []byte, u *upload) (n int, err error) {
	if c.w > c.ok {
		n = copy(p, (*c.buf)[c.ok:c.w])
		c.ok += n
		c.r = c.ok
		c.shrink()
	} else {
		u.arm()
		if n, err = c.Conn.Read(p); err == io.EOF {
			err = errCut
		}
	}
	c.wire.took(n)
	if n > 0 {
		err = nil // what ended the connection comes again
	}
	if err != nil {
		c.bad = err
	} else if c.whole() {
		err = io.EOF
	}
	return n, err
}

// frame takes one line of chunked framing.
func (c *conn) frame(u *upload) error {
	for {
		if c.buf != nil {
			if end := bytes.IndexByte((*c.buf)[c.ok:c.w], '\n'); end >= 0 {
				_, err := c.wire.line((*c.buf)[c.ok : c.ok+end+1])
				c.ok += end + 1
				c.r = c.ok
				c.shrink()
				if err != nil {
					c.owed.Store(true)
					c.bad = err
				}
				return err
			}
		}
		u.arm()
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// Close implements net.Conn. Where the client may still be sending what nobody
// reads, the connection lingers: closing it at once would reset it, and the
// client could lose the answer that tells it why. So it does where something has
// come behind the last request, such as the line break that old clients put there.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	c.watcher.forget(c.id)
	if c.owed.Load() && !c.gone.Load() || unread(c.Conn) {
		return c.listener.linger(c.Conn, func() { c.listener.leave(c.ip) })
	}
	c.listener.leave(c.ip)
	return c.Conn.Close()
}

// arm makes scope end when the client leaves, or when the request, which began
// at since, takes too long. It must be disarmed before the scope is recycled.
func (c *conn) arm(scope *pipeline.Scope, since time.Time) {
	c.mu.Lock()
	c.scope, c.since = scope, since
	c.mu.Unlock()
	if c.gone.Load() {
		scope.Cancel(pipeline.ErrClientGone)
	}
}

func (c *conn) disarm() {
	c.mu.Lock()
	c.scope = nil
	c.mu.Unlock()
}

// left is called by the watcher when the client has closed its side.
func (c *conn) left() {
	c.gone.Store(true)
	c.cancel(pipeline.ErrClientGone)
}

// cancel ends the request being served, if one is. It holds the lock
// meanwhile, so that disarm waits for it.
func (c *conn) cancel(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scope != nil {
		c.scope.Cancel(cause)
	}
}

// isTimeout reports whether a read or write took longer than its deadline.
func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
