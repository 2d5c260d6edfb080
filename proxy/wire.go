package proxy

// A wire judges the lines that a client sends: those of the head, and those
// that frame a chunked body. It lets only well-formed HTTP/1.1 through, so that
// nothing the server behind it would tolerate is ever seen by it: no two
// readers can disagree about where a request ends.
//
// It checks what RFC 9112 words; where the RFC lets a recipient repair what a
// sender got wrong, it refuses instead.
//
// The zero value expects a request line.
type wire struct {
	state   wireState
	left    int64 // bytes of body or chunk still to come
	head    int   // bytes of the current head, or of the current trailer
	maxHead int
	blank   int // empty lines before the request line
	framing framing
}

type wireState uint8

const (
	wireRequestLine wireState = iota
	wireFields
	wireFixed
	wireChunkSize
	wireChunkData
	wireChunkEnd
	wireTrailer
)

// framing is what a head says about the body that follows it.
type framing struct {
	http10  bool
	bare    bool // the method is HEAD: no answer to it has a body, a refusal neither
	chunked bool
	length  int64 // declared; -1 if not
	seen    uint32
	fields  int
	hide    bool
}

// line judges one line, which ends with LF. hide says that the server behind
// is not to see it: the body reaches the stages without its help.
func (w *wire) line(line []byte) (hide bool, err error) {
	if w.head += len(line); w.head > w.maxHead {
		return false, w.tooLarge()
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		if w.state == wireChunkSize || w.state == wireChunkEnd {
			return false, errChunk
		}
		return false, errBareLF
	}
	w.framing.hide = false
	err = w.take(line[:len(line)-2])
	return w.framing.hide, err
}

// tooLarge is what to say of a head that does not end in time.
func (w *wire) tooLarge() error {
	if w.state == wireRequestLine {
		return errLong
	}
	return errHead
}

// inHead reports whether the line to come belongs to a head.
func (w *wire) inHead() bool { return w.state <= wireFields }

// took notes n bytes of a body or chunk.
func (w *wire) took(n int) {
	if w.left -= int64(n); w.left > 0 {
		return
	}
	if w.state == wireChunkData {
		w.state = wireChunkEnd
		return
	}
	w.state = wireRequestLine
}

// take judges one whole line, without its CRLF.
func (w *wire) take(line []byte) error {
	switch w.state {
	case wireRequestLine:
		if len(line) == 0 {
			if w.blank++; w.blank > 2 {
				return errBlank
			}
			w.head, w.framing.hide = 0, true
			return nil
		}
		w.blank = 0
		w.state, w.framing = wireFields, framing{length: -1}
		return w.framing.requestLine(line)
	case wireFields:
		if len(line) == 0 {
			return w.body()
		}
		return w.framing.field(line)
	case wireChunkSize:
		return w.chunk(line)
	case wireChunkEnd:
		if len(line) != 0 {
			return errChunk
		}
		w.state, w.head = wireChunkSize, 0
		return nil
	default: // wireTrailer
		if len(line) == 0 {
			w.state, w.head = wireRequestLine, 0
			return nil
		}
		return trailer(line)
	}
}

// body turns to what follows the head.
func (w *wire) body() error {
	f := &w.framing
	if err := f.check(); err != nil {
		return err
	}
	w.head = 0
	switch {
	case f.chunked:
		w.state = wireChunkSize
	case f.length > 0:
		w.state, w.left = wireFixed, f.length
	default:
		w.state = wireRequestLine
	}
	return nil
}
