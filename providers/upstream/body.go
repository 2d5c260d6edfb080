package upstream

import (
	"bufio"
	"io"
)

const (
	maxExtension = 4 << 10   // bytes of chunk extensions in a body
	maxTrailer   = 4 << 10   // bytes of trailer after a body
	maxSize      = 16        // digits of a chunk size
	maxChunk     = 1 << 50   // bytes in a chunk
	untilClose   = int64(-2) // framing: the body ends with the connection
	chunked      = int64(-1) // framing: the body is chunked
)

// body takes a response body apart as it comes. What it returns lies in the
// reader's own memory: several small chunks that arrived together are moved
// together there.
type body struct {
	r     *bufio.Reader
	state state
	left  int64 // of the fixed length, or of the chunk
	held  int   // bytes of r that next has handed out

	digits, extension, trailer int // read so far
	named                      bool
}

type state uint8

const (
	complete state = iota
	fixed
	closing // until the connection closes
	size    // in the digits of a chunk size
	sizeGap // in white space behind them
	sizeExt // in what is behind a semicolon
	sizeEnd // expecting LF
	data
	dataCR    // expecting the CR behind a chunk
	dataLF    // expecting the LF behind it
	lineStart // at the start of a trailer line
	lineName
	lineValue
	lineEnd // expecting the LF of a trailer line
	finalLF // expecting the LF of the empty line
)

// begin readies b for a body framed by length: a number of bytes, chunked or
// untilClose.
func (b *body) begin(r *bufio.Reader, length int64) {
	*b = body{r: r}
	switch {
	case length > 0:
		b.state, b.left = fixed, length
	case length == chunked:
		b.state = size
	case length == untilClose:
		b.state = closing
	}
}

// next returns what has arrived since, at least one byte. The memory is valid
// until the following call. arm is called before each read from the network.
// The error is io.EOF once the body is complete.
func (b *body) next(arm func()) ([]byte, error) {
	for {
		if err := b.release(); err != nil {
			return nil, err
		}
		if b.state == complete {
			return nil, io.EOF
		}
		if b.r.Buffered() == 0 {
			arm()
			if err := b.wait(); err != nil {
				return nil, err
			}
			continue
		}
		piece, err := b.buffered()
		if len(piece) > 0 || err != nil {
			return piece, err
		}
	}
}

// release drops what the last piece was made of.
func (b *body) release() error {
	n := b.held
	b.held = 0
	_, err := b.r.Discard(n)
	return err
}

// wait reads from the network.
func (b *body) wait() error {
	_, err := b.r.Peek(1)
	if err == io.EOF {
		if b.state == closing {
			b.state = complete
			return nil
		}
		return io.ErrUnexpectedEOF
	}
	return err
}

// buffered takes apart what has been read already. What it has taken is
// released by the following call of release.
func (b *body) buffered() ([]byte, error) {
	in, err := b.r.Peek(b.r.Buffered())
	if err != nil {
		return nil, err
	}
	var n int
	switch b.state {
	case closing:
		n, b.held = len(in), len(in)
	case fixed:
		n = int(min(b.left, int64(len(in))))
		b.held = n
		if b.left -= int64(n); b.left == 0 {
			b.state = complete
		}
	default:
		n, b.held, err = b.decode(in)
	}
	// An error that follows data in the same read is found again by the
	// next call: decode has not moved beyond it.
	if n > 0 {
		return in[:n], nil
	}
	return nil, err
}

// settle passes over what has been read from the network already, and reports
// whether the body ends exactly there. A caller that stops in front of the last
// chunk, because it knows that nothing follows, need not lose the connection.
func (b *body) settle() bool {
	for {
		if b.release() != nil {
			return false
		}
		if b.state == complete || b.r.Buffered() == 0 {
			return b.state == complete && b.r.Buffered() == 0
		}
		if _, err := b.buffered(); err != nil {
			return false
		}
	}
}

// decode undoes the chunking of in, in place: the first n bytes of it become
// data, made of its first used bytes. With an error, n is 0.
func (b *body) decode(in []byte) (n, used int, err error) {
	for used < len(in) && b.state != complete {
		if b.state == data {
			m := int(min(b.left, int64(len(in)-used)))
			if n != used {
				copy(in[n:], in[used:used+m])
			}
			n, used = n+m, used+m
			if b.left -= int64(m); b.left == 0 {
				b.state = dataCR
			}
			continue
		}
		if err := b.frame(in[used]); err != nil {
			if n > 0 {
				return n, used, nil
			}
			return 0, used, err
		}
		used++
	}
	return n, used, nil
}

// frame takes one byte of what surrounds the data. On an error it leaves b as it was.
func (b *body) frame(c byte) error {
	switch b.state {
	case size:
		return b.sizeByte(c)
	case sizeGap:
		return b.gapByte(c)
	case sizeExt:
		if c == '\r' {
			b.state = sizeEnd
			return nil
		}
		if b.extension++; b.extension > maxExtension || control[c] {
			return malformed("bad chunk extension")
		}
	case sizeEnd:
		if c != '\n' {
			return malformed("bad chunk size")
		}
		b.state, b.digits = data, 0
		if b.left == 0 {
			b.state = lineStart
		}
	case dataCR, dataLF:
		want, then := byte('\r'), dataLF
		if b.state == dataLF {
			want, then = '\n', size
		}
		if c != want {
			return malformed("chunk longer than its size")
		}
		b.state = then
	case finalLF:
		if c != '\n' {
			return malformed("bad trailer")
		}
		b.state = complete
	default:
		return b.trailerByte(c)
	}
	return nil
}

func (b *body) sizeByte(c byte) error {
	v, ok := hexDigit(c)
	switch {
	case ok:
		if b.digits++; b.digits > maxSize || b.left > maxChunk>>4 {
			return malformed("chunk too large")
		}
		b.left = b.left<<4 | int64(v)
	case b.digits == 0:
		return malformed("chunk without a size")
	case c == '\r':
		b.state = sizeEnd
	case c == ';':
		b.state = sizeExt
	case c == ' ', c == '\t':
		b.state = sizeGap
	default:
		return malformed("bad chunk size")
	}
	return nil
}

// gapByte takes a byte behind white space, which RFC 9112 has recipients put up with in
// front of an extension, and nowhere else.
func (b *body) gapByte(c byte) error {
	switch {
	case c == ';':
		b.state = sizeExt
		return nil
	case c != ' ' && c != '\t':
		return malformed("bad chunk size")
	}
	if b.extension++; b.extension > maxExtension {
		return malformed("bad chunk extension")
	}
	return nil
}

// trailerByte takes a byte of the fields after the last chunk. They are
// checked and dropped.
func (b *body) trailerByte(c byte) error {
	if b.trailer++; b.trailer > maxTrailer {
		return malformed("trailer too large")
	}
	switch b.state {
	case lineStart:
		if c == '\r' {
			b.state = finalLF
			return nil
		}
		b.state = lineName
		fallthrough
	case lineName:
		if c == ':' && b.named {
			b.state, b.named = lineValue, false
			return nil
		}
		if !token[c] {
			return malformed("bad trailer")
		}
		b.named = true
	case lineValue:
		if c == '\r' {
			b.state = lineEnd
			return nil
		}
		if control[c] {
			return malformed("bad trailer")
		}
	case lineEnd:
		if c != '\n' {
			return malformed("bad trailer")
		}
		b.state = lineStart
	}
	return nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
