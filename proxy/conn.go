package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A conn is one client connection. What the server reads from it has passed
// the wire check, and a watcher tells it when the client leaves.
type conn struct {
	net.Conn // TCP, or TLS on it

	wire wire
	bad  error // what every further Read returns
	sham bool  // the next Read yields a byte first: see Read

	id       uint64
	watcher  *watcher
	listener *listener
	closed   atomic.Bool
	gone     atomic.Bool

	mu    sync.Mutex
	scope *pipeline.Scope // of the request being served; guarded by mu
}

// Read implements net.Conn. It returns only well-formed bytes, and no clean
// end in the middle of a request.
//
// A request that is malformed from its first line on is preceded by one byte:
// fasthttp closes a kept-alive connection without a word if an error comes
// before any byte of a request, and the client is owed an answer.
func (c *conn) Read(p []byte) (int, error) {
	if c.bad != nil {
		if c.sham && len(p) > 0 {
			c.sham, p[0] = false, 'X'
			return 1, nil
		}
		return 0, c.bad
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		ok, violation := c.wire.feed(p[:n])
		if violation != nil {
			c.bad = violation
			c.sham = c.wire.state == wireRequestLine && len(c.wire.line) == 0
			if ok == 0 {
				return c.Read(p)
			}
			return ok, nil
		}
	}
	if err == io.EOF && !c.wire.whole() {
		err = errCut
		c.bad = err
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	c.watcher.forget(c.id)
	c.listener.open.Add(-1)
	return c.Conn.Close()
}

// arm makes scope end when the client leaves. It must be disarmed before the
// scope is recycled.
func (c *conn) arm(scope *pipeline.Scope) {
	c.mu.Lock()
	c.scope = scope
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

// A listener accepts connections, up to a limit, and has them watched.
type listener struct {
	net.Listener
	watcher *watcher
	tls     *tls.Config // nil for plain TCP
	maxHead int
	max     int64
	open    atomic.Int64
	turned  func() // told of each connection turned away
}

// Accept implements net.Listener. A connection above the limit is told so and
// closed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) > l.max {
			l.open.Add(-1)
			l.turned()
			turnAway(raw, l.tls == nil)
			continue
		}
		c := &conn{Conn: raw, watcher: l.watcher, listener: l}
		c.wire.maxHead = l.maxHead
		if l.tls != nil {
			c.Conn = tls.Server(raw, l.tls)
		}
		l.watcher.watch(c, raw)
		return c, nil
	}
}

// turnAway answers a connection that cannot be served, as far as that takes no
// waiting.
func turnAway(raw net.Conn, plain bool) {
	if plain {
		_ = raw.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = io.WriteString(raw, turnedAway)
	}
	_ = raw.Close()
}

const turnedAwayBody = `{"error":{"message":"the server has too many connections; try again","type":"server_error","param":null,"code":"overloaded"}}`

const turnedAway = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" + turnedAwayBody

// isTimeout reports whether a read or write took longer than its deadline.
func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
