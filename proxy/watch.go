package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// A watcher tells connections when their client has closed its side, without
// touching the bytes they carry: also while a request is served and nobody
// reads, under TLS, and with further requests already queued.
//
// Every connection is registered once, when it is accepted, so watching costs
// a request two uncontended locks and no system call.
type watcher struct {
	poll   poller
	next   atomic.Uint64
	shards [16]struct {
		sync.Mutex
		conns map[uint64]*conn // guarded by Mutex
	}
	done chan struct{}
}

// newWatcher returns a running watcher. Close ends it.
func newWatcher() (*watcher, error) {
	w := &watcher{done: make(chan struct{})}
	for i := range w.shards {
		w.shards[i].conns = make(map[uint64]*conn)
	}
	if err := w.poll.open(); err != nil {
		return nil, err
	}
	go func() {
		defer close(w.done)
		w.poll.loop(w.left)
	}()
	return w, nil
}

// watch gives c its identity and watches raw, the socket under it. A socket
// that cannot be watched is served all the same.
func (w *watcher) watch(c *conn, raw net.Conn) {
	c.id = w.next.Add(1)
	s := &w.shards[c.id%16]
	s.Lock()
	s.conns[c.id] = c
	s.Unlock()
	sc, ok := raw.(syscall.Conn)
	if !ok {
		return
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) { w.poll.add(fd, c.id) })
}

// forget is called when the connection closes, which takes its socket out of
// the poller.
func (w *watcher) forget(id uint64) {
	s := &w.shards[id%16]
	s.Lock()
	delete(s.conns, id)
	s.Unlock()
}

// left tells the connection. Identities are never used again, unlike file
// descriptors, so a late event cannot hit another connection.
func (w *watcher) left(id uint64) {
	s := &w.shards[id%16]
	s.Lock()
	c := s.conns[id]
	s.Unlock()
	if c != nil {
		c.left()
	}
}

// each calls f for every open connection.
func (w *watcher) each(f func(*conn)) {
	for i := range w.shards {
		s := &w.shards[i]
		s.Lock()
		conns := make([]*conn, 0, len(s.conns))
		for _, c := range s.conns {
			conns = append(conns, c)
		}
		s.Unlock()
		for _, c := range conns {
			f(c)
		}
	}
}

// Close stops watching.
func (w *watcher) Close() {
	w.poll.close()
	<-w.done
}
