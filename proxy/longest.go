package proxy

import (
	"errors"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// sweepPause is how often answers are looked at, or more often where the limit
// is short.
const sweepPause = time.Second

var errTooLong = &pipeline.Error{
	Status: 504, Code: "upstream_timeout", Fault: pipeline.TimeoutFault, Err: errors.New("the answer took longer than this server allows"),
}

// sweep ends the answers that take longer than timeouts.stream, until the
// watcher is closed. New starts it and Shutdown waits for it.
func (s *Server) sweep() {
	for {
		limit := s.site.Load().stream
		pause := sweepPause
		if limit > 0 {
			pause = max(10*time.Millisecond, min(pause, limit/8))
		}
		select {
		case <-s.watcher.done:
			return
		case <-time.After(pause):
		}
		if limit > 0 {
			before := time.Now().Add(-limit)
			s.watcher.each(func(c *conn) { c.expire(before) })
		}
	}
}

// expire ends the request being served if it began before the given time.
func (c *conn) expire(before time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scope != nil && c.since.Before(before) {
		c.scope.Cancel(errTooLong)
	}
}
