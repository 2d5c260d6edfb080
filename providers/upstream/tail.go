package upstream

import (
	"slices"
	"time"
)

// A caller that has seen the mark at the end of a stream does not read on, and what
// ends the body itself often comes in a packet of its own, microseconds later. The
// connection then goes back to the pool with a tail: what is still to come before
// it can carry another call. Whoever takes the connection reads the tail first. It
// must be there soon, and be nothing but the end: a caller that has stopped in the
// middle wants the upstream to notice.
const (
	// tailWait is how long a call waits for the tail of the one before.
	tailWait = time.Millisecond
	// tailKept is how long a connection is kept for a tail to arrive.
	tailKept = 50 * time.Millisecond
)

// ending reports whether the body may end without a byte of data more, so far as
// anybody can know.
func (b *body) ending() bool {
	return b.state >= size && b.state != data && b.r.Buffered() == 0
}

// leave notes what is still to come of b.
func (c *conn) leave(b *body) {
	t := *b
	t.r, t.held = nil, 0
	c.tail = &t
}

// conclude reads the tail of from, for which it waits no longer than wait, and
// reports whether that was all.
func (c *Client) conclude(from *conn, wait time.Duration) bool {
	b := from.tail
	from.tail = nil
	from.endRead(time.Now().Add(wait))
	b.r = c.reader(from)
	defer c.freeReader(b.r)
	for b.state != complete {
		if b.wait() != nil {
			return false
		}
		if piece, err := b.buffered(); len(piece) > 0 || err != nil || b.release() != nil {
			return false
		}
	}
	return b.r.Buffered() == 0
}

// closeTails closes the connections whose tail has not come in time, and reads
// those that have.
func (p *pool) closeTails() {
	p.mu.Lock()
	var late []*conn
	more, now := false, time.Now()
	p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
		if c.tail == nil {
			return false
		}
		if now.Sub(c.unused) < tailKept/2 {
			more = true
			return false
		}
		late = append(late, c)
		return true
	})
	if p.closer = nil; more && !p.closed {
		p.closer = time.AfterFunc(tailKept, p.closeTails)
	}
	p.mu.Unlock()
	for _, c := range late {
		if p.conclude(c, tailWait) {
			p.put(c, time.Now())
		} else {
			p.drop(c)
		}
	}
}
