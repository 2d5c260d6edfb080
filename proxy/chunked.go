package proxy

import "bytes"

// chunk judges a chunk-size line: hexadecimal digits, then extensions.
func (w *wire) chunk(line []byte) error {
	i, size := 0, int64(0)
	for i < len(line) {
		d := hexDigit(line[i])
		if d < 0 {
			break
		}
		if size > maxChunk>>4 {
			return errChunk
		}
		size = size<<4 | int64(d)
		i++
	}
	rest := bytes.TrimLeft(line[i:], " \t")
	if i == 0 || len(rest) == 0 && i < len(line) || !extensions(rest) {
		return errChunk
	}
	w.head = 0
	if size == 0 {
		w.state = wireTrailer
		return nil
	}
	w.state, w.left = wireChunkData, size
	return nil
}

// maxChunk is far above any body this server accepts, and far below overflow.
const maxChunk = int64(1) << 50

// extensions reports whether b is *( ";" token [ "=" ( token / quoted ) ] ),
// with white space where the RFC has recipients put up with it.
func extensions(b []byte) bool {
	for len(b) > 0 {
		if b[0] != ';' {
			return false
		}
		b = bytes.TrimLeft(b[1:], " \t")
		n := tokenLen(b)
		if n == 0 {
			return false
		}
		if b = behindBlanks(b[n:]); len(b) == 0 || b[0] != '=' {
			continue
		}
		b = bytes.TrimLeft(b[1:], " \t")
		n = tokenLen(b)
		if n == 0 {
			n = quotedLen(b)
		}
		if n == 0 {
			return false
		}
		b = behindBlanks(b[n:])
	}
	return true
}

// behindBlanks is b without the white space that it begins with, unless there is nothing else:
// none may stand at the end of a line.
func behindBlanks(b []byte) []byte {
	if rest := bytes.TrimLeft(b, " \t"); len(rest) > 0 {
		return rest
	}
	return b
}

func tokenLen(b []byte) int {
	n := 0
	for n < len(b) && isToken[b[n]] {
		n++
	}
	return n
}

// quotedLen is the length of the quoted string that b starts with, or 0.
func quotedLen(b []byte) int {
	if len(b) < 2 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i++; i == len(b) || b[i] < ' ' && b[i] != '\t' || b[i] == 0x7f {
				return 0
			}
		case c < ' ' && c != '\t' || c == 0x7f:
			return 0
		}
	}
	return 0
}

// trailer judges a trailer field. One that decides about framing, routing or
// access would come too late to be judged.
func trailer(line []byte) error {
	if line[0] == ' ' || line[0] == '\t' {
		return errFold
	}
	name, _, err := splitField(line)
	if err != nil {
		return err
	}
	for _, s := range [...]string{
		"transfer-encoding", "content-length", "host", "connection", "te", "trailer", "upgrade", "expect",
		"authorization", "x-api-key", "api-key", "cookie",
	} {
		if equalFold(name, s) {
			return errTrailer
		}
	}
	return nil
}
