package upstream

import (
	"sync"
	"time"
)

// pool keeps the connections that are not in use, the last one used on top:
// few of them stay warm, the rest grow old and are closed.
type pool struct {
	maxOpen, maxIdle int
	keep             time.Duration
	conclude         func(c *conn, wait time.Duration) bool // reads c.tail

	mu     sync.Mutex
	idle   []*conn     // guarded by mu; the longest unused first
	open   int         // guarded by mu; idle, in use, and being dialed
	reaper *time.Timer // guarded by mu; set while there are idle connections
	closer *time.Timer // guarded by mu; set while there may be connections with a tail
	closed bool        // guarded by mu
}

// get returns a connection that was alive a moment ago, or nil and the right
// to dial one. It fails if that would be one too many.
func (p *pool) get(now time.Time) (*conn, error) {
	for {
		c, err := p.pop()
		if c == nil {
			return nil, err
		}
		if now.Sub(c.unused) <= p.keep && (c.tail == nil || p.conclude(c, tailWait)) && !c.stale() {
			return c, nil
		}
		p.drop(c)
	}
}

func (p *pool) pop() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		return c, nil
	}
	return nil, p.reserve()
}

// fresh returns the right to dial a connection in place of one that was
// dropped.
func (p *pool) fresh() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reserve()
}

// reserve counts one more connection. p.mu is held.
func (p *pool) reserve() error {
	if p.open >= p.maxOpen {
		return overloaded(p.maxOpen)
	}
	p.open++
	return nil
}

// put keeps c for another call.
func (p *pool) put(c *conn, now time.Time) {
	c.unused = now
	p.mu.Lock()
	if p.closed || len(p.idle) >= p.maxIdle {
		p.mu.Unlock()
		p.drop(c)
		return
	}
	p.idle = append(p.idle, c)
	if p.reaper == nil {
		p.reaper = time.AfterFunc(p.keep, p.reap)
	}
	if c.tail != nil && p.closer == nil {
		p.closer = time.AfterFunc(tailKept, p.closeTails)
	}
	p.mu.Unlock()
}

// drop closes c, which is in nobody's use.
func (p *pool) drop(c *conn) {
	_ = c.raw.Close() // nothing is owed to the other side
	p.forget()
}

// forget gives back the right to a connection that is closed or never was.
func (p *pool) forget() {
	p.mu.Lock()
	p.open--
	p.mu.Unlock()
}

// reap closes the connections that have not been used for too long.
func (p *pool) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	now := time.Now()
	old := 0
	for old < len(p.idle) && now.Sub(p.idle[old].unused) >= p.keep {
		_ = p.idle[old].raw.Close() // closing does not block
		old++
	}
	p.open -= old
	n := copy(p.idle, p.idle[old:])
	clear(p.idle[n:])
	p.idle = p.idle[:n]
	if n == 0 {
		p.reaper = nil
		return
	}
	p.reaper.Reset(p.keep - now.Sub(p.idle[0].unused))
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.reaper != nil {
		p.reaper.Stop()
	}
	if p.closer != nil {
		p.closer.Stop()
	}
	for _, c := range p.idle {
		_ = c.raw.Close()
	}
	p.open -= len(p.idle)
	p.idle = nil
}

func (p *pool) counts() (open, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, len(p.idle)
}
