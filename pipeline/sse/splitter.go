package sse

import (
	"bytes"
	"errors"
	"io"
)

// A Source yields the pieces of a body, cut anywhere. A piece is valid until
// the following call. io.EOF ends a body that is whole.
type Source interface {
	Next() ([]byte, error)
}

// ErrEventTooLarge is returned for an event longer than the Splitter allows.
var ErrEventTooLarge = errors.New("a server-sent event is longer than allowed")

const (
	// usual is the size up to which a Splitter keeps its buffer.
	usual = 64 << 10
	// roomy is what an event may have if nothing else is said: a picture fits.
	roomy = 8 << 20
)

// A Splitter puts the pieces of a body together to whole events. It is
// reusable, and must not be used concurrently.
type Splitter struct {
	src  Source
	max  int
	rest []byte // what follows the last frame: in the source's memory, or in buf
	buf  []byte
	seen int   // rest[:seen] holds no blank line
	err  error // the source's, or ours; returned once there is nothing more to give
	past bool  // a byte order mark cannot come any more
	skip bool  // the last frame ended in CR: an LF that follows is part of it
}

// Reset makes s read from src, and allow events of up to maxEvent bytes; 8 MiB
// if that is 0. Reset(nil, 0) lets go of the source.
func (s *Splitter) Reset(src Source, maxEvent int) {
	if maxEvent <= 0 {
		maxEvent = roomy
	}
	buf := s.buf[:0]
	if cap(buf) > usual {
		buf = nil
	}
	*s = Splitter{src: src, max: maxEvent, buf: buf}
}

// Next returns one or more whole events: all that have arrived. They are valid
// until the following call, and point into the source's piece if that holds
// them whole. io.EOF comes at the end of the body after a whole event, and
// io.ErrUnexpectedEOF if the last is not whole; only "data: [DONE]" is
// completed. Any other error is the source's, or ErrEventTooLarge. After an
// error Next returns it again.
func (s *Splitter) Next() ([]byte, error) {
	for {
		if end := s.border(); end > 0 {
			return s.frame(end)
		}
		if s.err != nil {
			return s.last()
		}
		if len(s.rest) > s.max {
			return s.fail(ErrEventTooLarge)
		}
		s.pull()
	}
}

// pull adds the source's next piece to rest.
func (s *Splitter) pull() {
	// The source is about to reuse the piece that rest may be in. A long event is in
	// buf from its second piece on, and stays.
	if n := len(s.rest); n == 0 || n != len(s.buf) || &s.rest[0] != &s.buf[0] {
		s.buf = append(s.buf[:0], s.rest...)
	}
	piece, err := s.src.Next()
	s.err = err
	if s.skip && len(piece) > 0 {
		s.skip = false
		if piece[0] == '\n' {
			piece = piece[1:]
		}
	}
	if s.rest = piece; len(s.buf) > 0 {
		s.buf = append(s.buf, piece...)
		s.rest = s.buf
	}
	s.mark()
}

// mark removes the byte order mark that a body may begin with.
func (s *Splitter) mark() {
	const mark = "\xef\xbb\xbf"
	if s.past || len(s.rest) == 0 || s.err == nil && len(s.rest) < len(mark) && string(s.rest) == mark[:len(s.rest)] {
		return
	}
	s.past = true
	s.rest = bytes.TrimPrefix(s.rest, []byte(mark))
}

// border returns the end of the last whole event in rest, or 0.
func (s *Splitter) border() int {
	b := s.rest
	if !s.past {
		return 0
	}
	for i := len(b) - 1; i >= s.seen; i-- {
		if b[i] != '\n' && b[i] != '\r' {
			continue
		}
		end := i + 1
		if b[i] == '\n' && i > 0 && b[i-1] == '\r' {
			i--
		}
		if i > 0 && b[i-1] != '\n' && b[i-1] != '\r' {
			continue
		}
		if end == len(b) && b[end-1] == '\r' && s.err == nil && i > 1 && b[i-1] == '\n' && b[i-2] == '\r' {
			continue // lines end in CRLF here: the LF is on its way
		}
		s.seen = 0
		return end
	}
	// The last byte may be the CR of a CRLF, whose LF would belong to it.
	s.seen = max(0, len(b)-1)
	return 0
}

// frame returns rest[:end], unless an event in it is too large.
func (s *Splitter) frame(end int) ([]byte, error) {
	frame := s.rest[:end:end]
	s.rest = s.rest[end:]
	s.skip = len(s.rest) == 0 && frame[end-1] == '\r'
	if end <= s.max {
		return frame, nil
	}
	whole := 0
	for whole < end {
		event, _ := Cut(frame[whole:])
		if len(event) > s.max {
			break
		}
		whole += len(event)
	}
	if whole == end {
		return frame, nil
	}
	if whole == 0 {
		return s.fail(ErrEventTooLarge)
	}
	s.src, s.rest, s.err = nil, nil, ErrEventTooLarge
	return frame[:whole], nil
}

// last returns what is left when the source has ended.
func (s *Splitter) last() ([]byte, error) {
	if s.err != io.EOF || len(s.rest) == 0 {
		return s.fail(s.err)
	}
	tail := bytes.TrimSuffix(s.rest, []byte{'\n'})
	tail = bytes.TrimSuffix(tail, []byte{'\r'})
	if string(tail) == "data: [DONE]" || string(tail) == "data:[DONE]" {
		s.rest = nil
		s.buf = append(s.buf[:0], "data: [DONE]\n\n"...)
		return s.buf, nil
	}
	return s.fail(io.ErrUnexpectedEOF)
}

// fail gives up what is left.
func (s *Splitter) fail(err error) ([]byte, error) {
	s.src, s.rest, s.err = nil, nil, err
	return nil, err
}
