package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// conn is one connection to the upstream.
type conn struct {
	net.Conn          // what is read and written: raw, or TLS over it
	raw      net.Conn // what is closed, never waiting for a farewell
	tap      *tap     // between TLS and raw; nil for a plain connection
	look     *lookout
	unused   time.Time // since when it is idle
	writable time.Time // the write deadline that is set
	readable time.Time // the read deadline that is set; zero if that is not known
	due      time.Time // when reading is to end, unless readable is zero; no sooner than that
	reused   bool      // it has carried a call before
	tail     *body     // what is to come of the last answer before another call; nil if nothing is
}

// dial connects, within ctx. If wrap is not nil, it is given the TCP connection
// and returns what to use in its place.
func dial(ctx context.Context, address string, config *tls.Config, wrap func(net.Conn) net.Conn) (*conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3,
	}}
	raw, err := reach(ctx, &d, address) // sets TCP_NODELAY, as package net always does
	if err != nil {
		return nil, err
	}
	look := newLookout(raw)
	if wrap != nil {
		raw = wrap(raw)
	}
	c := &conn{Conn: raw, raw: raw, look: look}
	if config == nil {
		return c, nil
	}
	c.tap = &tap{Conn: raw, look: c.look}
	secure := tls.Client(c.tap, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error says more
		return nil, &handshakeError{err}
	}
	c.Conn = secure
	return c, nil
}

// handshakeError tells a failed TLS handshake from a failed dial.
type handshakeError struct{ err error }

func (h *handshakeError) Error() string { return "tls handshake: " + h.err.Error() }
func (h *handshakeError) Unwrap() error { return h.err }

// dialFault turns the error of a dial within ctx into what the client sees, and tells of it.
func (o *Options) dialFault(ctx context.Context, err error) error {
	if o.Unreached != nil && !errors.Is(ctx.Err(), context.Canceled) {
		o.Unreached(err)
	}
	if ctx.Err() != nil || isTimeout(err) {
		return timeout("no connection to the upstream in time", err)
	}
	if h, ok := errors.AsType[*handshakeError](err); ok {
		return badTLS(h.err)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok && slices.Contains(scarce, errno) {
		return failure(503, "overloaded", pipeline.OverloadFault, "the gateway has no file or port left for a connection to the upstream", err)
	}
	return unreachable(err)
}

// scarce are errors for want of something on this machine: they say nothing about the
// upstream.
var scarce = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EAGAIN}

// stale reports whether anything has happened on the idle connection that a
// request must not meet: the upstream has closed it, or sent what nobody asked
// for. It does not wait.
func (c *conn) stale() bool {
	if c.tap == nil {
		return c.look.readable()
	}
	// TLS may hold bytes that it has read already, and some of those that
	// wait are for TLS alone, such as a session ticket: let it read without
	// waiting, and see if anything comes out.
	var b [1]byte
	c.tap.probing = true
	n, err := c.Conn.Read(b[:])
	c.tap.probing = false
	if c.tap.lifted {
		c.tap.lifted, c.readable, c.due = false, time.Time{}, time.Time{}
	}
	return n > 0 || err != os.ErrDeadlineExceeded
}

// allowWrite makes sure that writing ends within the limit, a quarter more, or
// at the end of the call as a whole if that is not zero.
func (c *conn) allowWrite(now time.Time, limit time.Duration, total time.Time) {
	soonest, latest := now.Add(limit), now.Add(limit+limit/4)
	if !total.IsZero() && total.Before(latest) {
		soonest, latest = total, total
	}
	if c.writable.Before(soonest) || c.writable.After(latest) {
		c.writable = latest
		_ = c.SetWriteDeadline(latest) // a dead connection tells the write
	}
}

// allowRead makes sure that reading ends when wait is over, or at the end of the call as a
// whole if that is not zero. A deadline that is set and comes sooner is left: Read moves it
// when it comes, which is once for many pieces of an answer.
func (c *conn) allowRead(now time.Time, wait time.Duration, total time.Time) {
	c.due = now.Add(wait)
	if !total.IsZero() && total.Before(c.due) {
		c.due = total
	}
	if c.readable.IsZero() || c.readable.After(c.due) || c.readable.Before(c.due) && c.readable.Before(now.Add(wait/2)) {
		c.moveRead()
	}
}

func (c *conn) moveRead() {
	c.readable = c.due
	_ = c.SetReadDeadline(c.due) // a dead connection tells the read
}

// Read implements net.Conn. It waits until the end that allowRead or endRead has set.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || err == nil || !isTimeout(err) || !c.readable.Before(c.due) {
			return n, err
		}
		c.moveRead()
	}
}

// abandon has the connection gone at once when it is closed, with no port waiting for
// what may still come: errors would use up all there are.
func (c *conn) abandon() {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it only costs more without
	}
}

// endRead sets the read deadline for once.
func (c *conn) endRead(t time.Time) {
	c.readable, c.due = time.Time{}, time.Time{}
	_ = c.SetReadDeadline(t) // a dead connection tells the read
}

// ended reports whether the end of the stream was the upstream's own: over TLS
// it must have said so, since anybody on the way can close a TCP connection.
func (c *conn) ended() bool { return c.tap == nil || !c.tap.eof }

// tap is a TCP connection as TLS sees it.
type tap struct {
	net.Conn
	look    *lookout
	probing bool // Read must not wait
	lifted  bool // a Read that must not wait has undone the deadline
	eof     bool // Read has met the end
}

func (t *tap) Read(p []byte) (int, error) {
	if t.probing {
		if !t.look.readable() {
			return 0, os.ErrDeadlineExceeded // the one error that TLS forgets
		}
		// The deadline of the last call may have passed.
		t.lifted = true
		if err := t.Conn.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
	n, err := t.Conn.Read(p)
	if err != nil && !isTimeout(err) {
		t.eof = true
	}
	return n, err
}

// lookout looks at what a socket has received without taking it. It is made
// once for each connection, so that looking does not allocate.
type lookout struct {
	raw    syscall.RawConn
	peek   func(fd uintptr)
	ripe   bool
	buffer [1]byte
}

func newLookout(c net.Conn) *lookout {
	l := new(lookout)
	l.peek = l.see
	if sc, ok := c.(syscall.Conn); ok {
		l.raw, _ = sc.SyscallConn() // fails on a closed connection only, as reading will
	}
	return l
}

// readable reports whether reading would not wait: there are bytes, the end,
// or an error.
func (l *lookout) readable() bool {
	if l.raw == nil {
		return false
	}
	// Control and not Read, which would mind a deadline that has passed.
	if err := l.raw.Control(l.peek); err != nil {
		return true
	}
	return l.ripe
}
