package upstream

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// source is the request's body as net/http reads it, which may go on after
// RoundTrip has returned.
type source struct {
	upload io.Reader // nil when body is sent
	size   int64     // of the upload; -1 if not known
	sent   func()    // called once, when all has been read; or nil

	err         atomic.Pointer[error] // what failed with the upload itself
	finished    atomic.Bool           // all has been read
	interrupted atomic.Bool           // nobody wants more
	once        sync.Once             // for the interruption

	mu     sync.Mutex // held while the upload is being read
	body   []byte     // guarded by mu
	left   int64      // guarded by mu
	closed bool       // guarded by mu
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case s.left == 0:
		return 0, io.EOF
	}
	if s.upload == nil {
		n = copy(p, s.body)
		s.body = s.body[n:]
	} else {
		if s.left > 0 {
			p = p[:min(int64(len(p)), s.left)]
		}
		n, err = s.upload.Read(p)
	}
	switch {
	case s.left > 0:
		s.left -= int64(n)
	case err == io.EOF:
		s.left = 0
	}
	switch {
	case s.left == 0:
		s.finished.Store(true)
		if s.sent != nil {
			s.sent()
		}
		return n, io.EOF
	case err == io.EOF:
		err = short(s.size-s.left, s.size)
	}
	if err != nil && !s.interrupted.Load() {
		s.err.Store(&err)
	}
	return n, err
}

// Close implements io.Closer. It does not wait for a Read. Once it has returned,
// the upload has been closed, if need be, whoever did it.
func (s *source) Close() error {
	if s.finished.Load() {
		return nil
	}
	s.once.Do(func() {
		s.interrupted.Store(true)
		if c, ok := s.upload.(io.Closer); ok {
			_ = c.Close() // it only is to end a Read
		}
	})
	return nil
}

// stop waits for a Read, and keeps any more from happening.
func (s *source) stop() {
	if s == nil {
		return
	}
	_ = s.Close() // never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// failed returns what failed with the upload itself.
func (s *source) failed() error {
	if s == nil {
		return nil
	}
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}
