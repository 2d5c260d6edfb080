package upstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
)

const (
	// uploadPiece is how much of an upload is read at a time.
	uploadPiece = 32 << 10
	// bodyPiece is how much of a large body is written at a time; the write
	// limit holds for each.
	bodyPiece = 256 << 10
	// chunkHead is room for the size of a chunk: hex digits and CRLF.
	chunkHead = 10
)

// sender writes a body that may not fit into the buffers on the way, in a
// goroutine of its own, while the call waits for the answer. The call owns the
// goroutine: it starts it, stops it and waits for it.
type sender struct {
	conn   *conn
	limit  time.Duration // for each write
	answer time.Duration // for the response header, once all is sent
	total  time.Time
	upload io.Reader // nil when body is sent
	size   int64
	body   []byte
	done   chan struct{} // closed at the end; nil when nothing was started
	err    error         // what failed with the upload itself; valid after done

	mu       sync.Mutex
	last     bool // guarded by mu; the last write has begun
	sent     bool // guarded by mu; all of it
	answered bool // guarded by mu; the read deadline is not the sender's any more
	stopped  bool // guarded by mu
}

// start sends the body of req.
func (s *sender) start(k *call, req *pipeline.Request) {
	s.conn, s.limit, s.answer, s.total = k.conn, k.client.o.Write, k.wait.FirstByte, k.total
	s.upload, s.size, s.body = req.Upload, req.UploadSize, req.Body
	s.last = s.upload != nil && s.size == 0 // there is nothing to write
	s.done = make(chan struct{})
	go s.run()
}

// interrupt tells the sender that the answer is here. Unless it is at its last
// write, nobody wants the rest.
func (s *sender) interrupt() {
	if s.done == nil {
		return
	}
	s.mu.Lock()
	s.answered = true
	last := s.last
	s.mu.Unlock()
	if !last {
		s.stop()
	}
}

// finished reports whether the sender has sent everything, and will not touch
// the connection any more. An answer can be read before the write that it answers
// has returned, so that one is waited for a moment.
func (s *sender) finished() bool {
	if s.done == nil {
		return true
	}
	s.mu.Lock()
	last, sent := s.last, s.whole()
	s.mu.Unlock()
	if sent || !last {
		return sent
	}
	moment := time.NewTimer(5 * time.Millisecond)
	defer moment.Stop()
	select {
	case <-s.done:
	case <-moment.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole()
}

// whole reports whether all is sent, and the connection takes more. One that stop was in
// time for has a deadline that has passed, though nothing was left to write. The caller
// holds mu.
func (s *sender) whole() bool { return s.sent && !s.stopped }

// stop makes the sender end soon, unless it has.
func (s *sender) stop() {
	if s.done == nil {
		return
	}
	s.mu.Lock()
	again := s.stopped || s.sent
	if !again {
		s.stopped = true
		_ = s.conn.SetWriteDeadline(past) // fails only if the writing has failed
	}
	s.mu.Unlock()
	if c, ok := s.upload.(io.Closer); ok && !again {
		_ = c.Close() // it only is to end a Read
	}
}

// past is a deadline that makes what is running end at once.
var past = time.Unix(1, 0)

// wait returns, once the sender has ended, how the upload itself failed.
func (s *sender) wait() error {
	if s.done == nil {
		return nil
	}
	<-s.done
	return s.err
}

func (s *sender) run() {
	defer close(s.done)
	err := s.guarded()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = err == nil
	now := time.Now()
	deadline := now.Add(s.answer)
	switch own, isOwn := errors.AsType[*uploadError](err); {
	case isOwn && !s.stopped:
		s.err = own.err
		deadline = past
	case err != nil:
		// The upstream takes no more. It may have said why.
		deadline = now.Add(grace)
	}
	if !s.total.IsZero() && s.total.Before(deadline) {
		deadline = s.total
	}
	if !s.answered {
		_ = s.conn.SetReadDeadline(deadline) // a dead connection tells the read
	}
}

// uploadError tells a failed read of the upload from a failed write of it.
type uploadError struct{ err error }

func (u *uploadError) Error() string { return "read upload: " + u.err.Error() }

// guarded sends, and turns a panic of the upload into an error.
func (s *sender) guarded() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &uploadError{fmt.Errorf("upload panicked: %v", p)}
		}
	}()
	if s.upload == nil {
		return s.sendBody()
	}
	return s.sendUpload()
}

func (s *sender) sendBody() error {
	for b := s.body; len(b) > 0; {
		n := min(len(b), bodyPiece)
		if err := s.write(b[:n], n == len(b)); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (s *sender) sendUpload() error {
	buffer := pipeline.NewBuffer()
	defer buffer.Free()
	if cap(buffer.B) < chunkHead+uploadPiece+2 {
		buffer.B = make([]byte, chunkHead+uploadPiece+2)
	}
	b := buffer.B[:chunkHead+uploadPiece]
	left := s.size
	for left != 0 {
		in := b[chunkHead:]
		if left > 0 {
			in = in[:min(left, int64(len(in)))]
		}
		n, err := s.read(in)
		if n > 0 {
			if left > 0 {
				left -= int64(n)
			}
			if werr := s.write(s.frame(b, n), left == 0); werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF && left > 0:
			return &uploadError{short(s.size-left, s.size)}
		case err == io.EOF && left < 0:
			return s.write([]byte("0\r\n\r\n"), true)
		case err != nil && err != io.EOF:
			return &uploadError{err}
		}
	}
	return nil
}

// read reads at least one byte, or returns an error.
func (s *sender) read(p []byte) (int, error) {
	for range 100 {
		if n, err := s.upload.Read(p); n != 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// frame makes a chunk of the n bytes behind the room for its size, or returns
// them as they are if the length of the upload is known.
func (s *sender) frame(b []byte, n int) []byte {
	if s.size >= 0 {
		return b[chunkHead : chunkHead+n]
	}
	var head [chunkHead]byte
	h := append(strconv.AppendInt(head[:0], int64(n), 16), "\r\n"...)
	start := chunkHead - len(h)
	copy(b[start:], h)
	return append(b[start:chunkHead+n], "\r\n"...)
}

// write writes p, unless the sender has been stopped. last says that nothing follows.
func (s *sender) write(p []byte, last bool) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.last = last
	// Under the lock, lest it undo the deadline that stop sets.
	s.conn.allowWrite(time.Now(), s.limit, s.total)
	s.mu.Unlock()
	_, err := s.conn.Write(p)
	return err
}

// short is an upload with fewer bytes than it declared.
func short(got, want int64) error {
	return &pipeline.Error{
		Status: 400, Code: "invalid_request", Fault: pipeline.CallerFault,
		Err: fmt.Errorf("the request body ended after %d of %d bytes: %w", got, want, io.ErrUnexpectedEOF),
	}
}
