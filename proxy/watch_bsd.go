//go:build darwin || freebsd

package proxy

import (
	"sync"

	"golang.org/x/sys/unix"
)

// A poller waits for the far ends of sockets to close, by kqueue: a read
// filter that only wakes for more bytes than a socket can hold, or for the end.
type poller struct {
	kq  int
	mu  sync.Mutex
	ids map[uint64]uint64 // file descriptor to identity; guarded by mu
}

// wakeIdent is the user event that ends loop.
const wakeIdent = ^uint64(0) >> 1

func (p *poller) open() (err error) {
	p.ids = make(map[uint64]uint64)
	if p.kq, err = unix.Kqueue(); err != nil {
		return err
	}
	unix.CloseOnExec(p.kq)
	return p.change(wakeIdent, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR, 0, 0)
}

func (p *poller) change(ident uint64, filter int16, flags uint16, fflags uint32, data int64) error {
	var ev unix.Kevent_t
	unix.SetKevent(&ev, 0, int(filter), int(flags))
	ev.Ident, ev.Fflags, ev.Data = ident, fflags, data
	_, err := unix.Kevent(p.kq, []unix.Kevent_t{ev}, nil, nil)
	return err
}

func (p *poller) add(fd uintptr, id uint64) {
	p.mu.Lock()
	p.ids[uint64(fd)] = id
	p.mu.Unlock()
	_ = p.change(uint64(fd), unix.EVFILT_READ, unix.EV_ADD|unix.EV_CLEAR, unix.NOTE_LOWAT, int64(^uint32(0)>>1))
}

func (p *poller) loop(left func(id uint64)) {
	var events [128]unix.Kevent_t
	for {
		n, err := unix.Kevent(p.kq, nil, events[:], nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, ev := range events[:n] {
			if ev.Filter == unix.EVFILT_USER {
				_ = unix.Close(p.kq)
				return
			}
			if ev.Flags&unix.EV_EOF == 0 {
				continue
			}
			p.mu.Lock()
			id, ok := p.ids[ev.Ident]
			delete(p.ids, ev.Ident)
			p.mu.Unlock()
			if ok {
				left(id)
			}
		}
	}
}

func (p *poller) close() {
	_ = p.change(wakeIdent, unix.EVFILT_USER, 0, unix.NOTE_TRIGGER, 0)
}
