//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package upstream

import "syscall"

// see notes whether the socket has something to read.
func (l *lookout) see(fd uintptr) {
	for {
		n, _, err := syscall.Recvfrom(int(fd), l.buffer[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err == syscall.EINTR {
			continue
		}
		l.ripe = n >= 0 || (err != syscall.EAGAIN && err != syscall.EWOULDBLOCK)
		return
	}
}
