package proxy

import (
	"golang.org/x/sys/unix"
)

// A poller waits for the far ends of sockets to close, by epoll: edge
// triggered and without EPOLLIN, so that arriving bytes wake nobody.
type poller struct {
	ep   int
	wake int // an eventfd that ends loop
}

// wakeID is the identity of the wake descriptor; connections count from 1.
const wakeID = 0

func (p *poller) open() (err error) {
	if p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = unix.Close(p.ep)
		return err
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN}
	return unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, p.wake, &ev)
}

func (p *poller) add(fd uintptr, id uint64) {
	ev := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}
	_ = unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, int(fd), &ev)
}

func (p *poller) loop(left func(id uint64)) {
	var events [128]unix.EpollEvent
	for {
		n, err := unix.EpollWait(p.ep, events[:], -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, ev := range events[:n] {
			id := uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32
			if id == wakeID {
				_ = unix.Close(p.wake)
				_ = unix.Close(p.ep)
				return
			}
			left(id)
		}
	}
}

func (p *poller) close() {
	one := [8]byte{1}
	_, _ = unix.Write(p.wake, one[:])
}
