package proxy

import (
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/headrace/headrace/pipeline/quiet"
)

const (
	// spareFiles are for everything but connections of requests: stores, logs, listeners.
	spareFiles = 64
	// leastConnections are taken however few files the system allows.
	leastConnections = 16
	// slowest is how long a listener waits at most before it tries again.
	slowest = 250 * time.Millisecond
)

// roomFor is how many connections of clients fit into the files that the system lets this
// process open: each of them can want one to an upstream.
func roomFor(files uint64) int64 {
	return max(leastConnections, (int64(min(files, 1<<40))-spareFiles)/2)
}

// A patient listener goes on where it can take no connection for now, as for want of files
// or memory. fasthttp stops serving at the first such error, for good.
type patient struct {
	net.Listener
	log *quiet.Log
}

// Accept implements net.Listener.
func (p *patient) Accept() (net.Conn, error) {
	wait := 5 * time.Millisecond
	for {
		c, err := p.Listener.Accept()
		if err == nil || !passing(err) {
			return c, err
		}
		p.log.Warn("connections cannot be taken for now", "address", p.Addr().String(), "error", err)
		time.Sleep(wait)
		wait = min(2*wait, slowest)
	}
}

// passing reports whether a listener that failed may yet succeed: all that accept(2) names
// does pass, but for what says that there is no listener.
func passing(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	switch errno {
	case syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP:
		return false
	}
	return ok
}
