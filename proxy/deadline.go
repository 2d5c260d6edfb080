package proxy

import "time"

// limits are how long a connection may take.
type limits struct {
	head  time.Duration // for a head, once its first byte is here; from the start for the first one
	idle  time.Duration // between requests
	write time.Duration // for each write
}

// A deadline that is set again for every request costs more than the request's
// own bytes do, so it is set to an eighth more than is due, and left alone until
// that is used up. The one for a head that comes in pieces is exact.

// await sets the read deadline for more of a head.
func (c *conn) await() {
	switch {
	case c.late:
	case c.served && c.w == c.ok && c.wire.state == wireRequestLine && c.wire.blank == 0:
		c.idle()
	default:
		c.late = true
		_ = c.SetReadDeadline(time.Now().Add(c.listener.limits.head)) // a dead connection tells the read
	}
}

// idle lets the client be silent for as long as it may between requests.
func (c *conn) idle() {
	limit := c.listener.limits.idle
	soonest := time.Now().Add(limit)
	if by := time.Unix(0, c.readBy.Load()); by.Before(soonest) || by.After(soonest.Add(limit/8)) {
		by = soonest.Add(limit / 8)
		_ = c.SetReadDeadline(by) // a dead connection tells the read
		c.readBy.Store(by.UnixNano())
	}
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.readBy.Store(0)
	return c.Conn.SetReadDeadline(t)
}

// Write implements net.Conn. A client that takes nothing for too long is an
// error.
func (c *conn) Write(p []byte) (int, error) {
	limit := c.listener.limits.write
	if soonest := time.Now().Add(limit); c.writeBy.Before(soonest) {
		c.writeBy = soonest.Add(limit / 8)
		_ = c.Conn.SetWriteDeadline(c.writeBy) // a dead connection tells the write
	}
	return c.Conn.Write(p)
}
