package proxy

import (
	"errors"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/headrace/headrace/pipeline/quiet"
)

// A failing listener fails in these ways, one after the other, and then accepts.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errs) == 0 {
		return &net.TCPConn{}, nil
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
}

func (*failing) Addr() net.Addr { return &net.TCPAddr{} }

// What passes is waited for; what does not is told.
func TestPatient(t *testing.T) {
	f := func(want error, errs ...error) {
		t.Helper()
		p := &patient{&failing{errs: errs}, quiet.New(slog.New(slog.DiscardHandler))}
		if _, err := p.Accept(); !errors.Is(err, want) {
			t.Errorf("after %v: got %v, want %v", errs, err, want)
		}
	}
	call := func(errno syscall.Errno) error { return os.NewSyscallError("accept4", errno) }
	f(nil)
	f(nil, call(syscall.EMFILE), call(syscall.ENFILE), call(syscall.ECONNABORTED), call(syscall.ENOBUFS), call(syscall.EHOSTUNREACH))
	f(net.ErrClosed, call(syscall.EMFILE), net.ErrClosed)
	f(syscall.EBADF, call(syscall.EBADF))
	f(syscall.EINVAL, call(syscall.EINVAL))
}

func TestRoomFor(t *testing.T) {
	for files, want := range map[uint64]int64{0: 16, 64: 16, 1024: 480, 65536: 32736, 1<<64 - 1: (1<<40 - 64) / 2} {
		if got := roomFor(files); got != want {
			t.Errorf("%d files: got %d, want %d", files, got, want)
		}
	}
}

// The bodies that are held get half of the memory at most, and whoever runs the gateway
// hears of it.
func TestBodyMemory(t *testing.T) {
	f := func(limit, whole, want int64) {
		t.Helper()
		var log strings.Builder
		s := &Server{log: slog.New(slog.NewTextHandler(&log, nil))}
		if got := s.bodyMemory(limit, whole); got != want || (got != limit) != strings.Contains(log.String(), "limits.body_memory") {
			t.Errorf("%d of %d: %d, want %d; %q", limit, whole, got, want, log.String())
		}
	}
	f(256, math.MaxInt64, 256)
	f(256, 512, 256)
	f(256, 510, 255)
}
