package upstream

import (
	"bufio"
	"bytes"
	"io"

	"github.com/valyala/fasthttp"
)

// head is what the start of a response says about the rest of it.
type head struct {
	status int
	length int64 // of the body: bytes, chunked or untilClose
	close  bool  // the connection ends with this response
}

// readHead returns the bytes of a response header, its empty line included.
// They stay in r, of which they are to be discarded. What cannot become a
// header any more is refused as soon as it shows, so that nobody waits for
// the end of it.
func readHead(r *bufio.Reader) ([]byte, error) {
	line, seen := 0, 0 // start of the current line, and what has been looked at
	for {
		b, err := r.Peek(r.Buffered())
		if err != nil {
			return nil, err
		}
		if n := min(len(b), len(protocol)); string(b[:n]) != protocol[:n] {
			return nil, malformed("not HTTP/1")
		}
		for {
			i := bytes.IndexByte(b[seen:], '\n')
			if i < 0 {
				seen = len(b)
				break
			}
			i += seen
			if i == 0 || b[i-1] != '\r' {
				return nil, malformed("line without a carriage return")
			}
			if i-1 == line {
				return b[:i+1], nil
			}
			line, seen = i+1, i+1
		}
		if len(b) == r.Size() {
			return nil, errTooLarge
		}
		if _, err := r.Peek(len(b) + 1); err != nil {
			if err == io.EOF && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

const protocol = "HTTP/1."

// parseHead reads b, a whole response header, into h. A final response to HEAD
// has a header like any other and no body.
func parseHead(b []byte, toHead bool, h *fasthttp.ResponseHeader) (head, error) {
	h.Reset()
	h.SetNoDefaultContentType(true)
	status, old, b, err := parseStatus(b)
	if err != nil {
		return head{}, err
	}
	h.SetStatusCode(status)
	f := fields{length: untilClose}
	for b[0] != '\r' {
		var key, value []byte
		if key, value, b, err = parseField(b); err != nil {
			return head{}, err
		}
		if err := f.add(key, value, h); err != nil {
			return head{}, err
		}
	}
	if b[1] != '\n' {
		return head{}, malformed("carriage return without a line feed")
	}
	return f.conclude(status, old, toHead, h)
}

// parseStatus reads the status line of b, a whole header. old says HTTP/1.0.
func parseStatus(b []byte) (status int, old bool, rest []byte, err error) {
	const end = len("HTTP/1.1 200")
	if len(b) < end+4 || string(b[:len(protocol)]) != protocol || b[8] != ' ' ||
		(b[7] != '0' && b[7] != '1') || (b[end] != ' ' && b[end] != '\r') {
		return 0, false, nil, malformed("bad status line")
	}
	for _, c := range b[9:end] {
		if c < '0' || c > '9' {
			return 0, false, nil, malformed("bad status")
		}
		status = status*10 + int(c-'0')
	}
	if status < 100 || status > 599 {
		return 0, false, nil, malformed("status out of range")
	}
	if _, rest, err = parseText(b[end:]); err != nil {
		return 0, false, nil, err
	}
	return status, b[7] == '0', rest, nil
}

// parseField reads the field line at the start of b, which ends as a header does.
func parseField(b []byte) (key, value, rest []byte, err error) {
	i := 0
	for token[b[i]] {
		i++
	}
	if i == 0 || b[i] != ':' {
		// A folded line, a blank before the colon, a name that is none.
		return nil, nil, nil, malformed("bad header field name")
	}
	value, rest, err = parseText(b[i+1:])
	return b[:i], value, rest, err
}

// parseText reads b to the end of the line, and trims what it has read. The line
// feed at the very end of b ends the loop, if nothing else does.
func parseText(b []byte) (text, rest []byte, err error) {
	start := 0
	for blank(b[start]) {
		start++
	}
	end := start
	for !control[b[end]] {
		end++
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return nil, nil, malformed("control character in the header")
	}
	rest = b[end+2:]
	for end > start && blank(b[end-1]) {
		end--
	}
	return b[start:end], rest, nil
}

// fields gathers what the fields of one header say about framing.
type fields struct {
	length      int64
	hasLength   bool
	hasType     bool
	hasEncoding bool
	chunked     bool
	close, keep bool
	named       [][]byte // what Connection fields name as the connection's own
}

// add notes the field if it is about framing or the connection, and puts it
// into h otherwise.
func (f *fields) add(key, value []byte, h *fasthttp.ResponseHeader) error {
	switch key[0] | 0x20 {
	case 'c':
		switch {
		case is(key, "content-length"):
			n, ok := parseLength(value)
			if !ok {
				return malformed("bad content length")
			}
			if f.hasLength {
				return malformed("two content lengths")
			}
			f.length, f.hasLength = n, true
			return nil
		case is(key, "content-type"):
			if f.hasType {
				return malformed("two content types")
			}
			f.hasType = true
			h.SetContentTypeBytes(value)
			return nil
		case is(key, "content-encoding"):
			if f.hasEncoding {
				return malformed("two content encodings")
			}
			f.hasEncoding = true
		case is(key, "connection"):
			return f.connection(value)
		}
	case 'd':
		if is(key, "date") {
			return nil // fasthttp, which dates answers itself, would drop it
		}
	case 's':
		if is(key, "server") {
			h.SetServerBytes(value)
			return nil
		}
	case 't':
		if is(key, "transfer-encoding") {
			if f.chunked || !is(value, "chunked") {
				return malformed("transfer encoding other than chunked")
			}
			f.chunked = true
			return nil
		}
	}
	if !hopByHop(key) {
		h.AddBytesKV(key, value)
	}
	return nil
}

// connection notes the options of a Connection field.
func (f *fields) connection(value []byte) error {
	for rest := value; len(rest) > 0; {
		var option []byte
		option, rest, _ = bytes.Cut(rest, comma)
		option = bytes.TrimSpace(option)
		switch {
		case is(option, "close"):
			f.close = true
		case is(option, "keep-alive"):
			f.keep = true
		case len(option) > 0:
			f.named = append(f.named, option)
		}
	}
	return nil
}

var comma = []byte{','}

// conclude works out how the body is framed, once every field is known.
func (f *fields) conclude(status int, old, toHead bool, h *fasthttp.ResponseHeader) (head, error) {
	if f.chunked && (f.hasLength || old) {
		return head{}, malformed("transfer encoding beside a content length, or from HTTP/1.0")
	}
	dropNamed(f.named, h)
	d := head{status: status, length: f.length, close: f.close || old && !f.keep}
	if f.chunked {
		d.length = chunked
	}
	switch {
	case status < 200, status == 204, status == 304:
		// Framing announces a body that must not be there; if it comes
		// anyway, then on this connection and behind this response.
		d.close = d.close || status == 204 && (f.chunked || f.length > 0)
		d.length = 0
		return d, nil
	case f.hasLength:
		h.SetContentLength(int(f.length))
	default:
		h.SetContentLength(-1)
	}
	switch {
	case toHead:
		d.length = 0
	case d.length == untilClose:
		d.close = true
	}
	return d, nil
}

// dropNamed removes the fields that Connection fields named as the connection's own, but
// none that says what the body is.
func dropNamed(names [][]byte, h *fasthttp.ResponseHeader) {
	for _, name := range names {
		if !(len(name) > 8 && is(name[:8], "content-")) {
			h.DelBytes(name)
		}
	}
}

// parseLength reads a content length: digits only, small enough to add to.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// hopByHop reports whether the field is about the connection and not about the
// message, so that it never travels further.
func hopByHop(key []byte) bool {
	switch key[0] | 0x20 {
	case 'c':
		return is(key, "connection")
	case 'k':
		return is(key, "keep-alive")
	case 'p':
		return is(key, "proxy-connection") || is(key, "proxy-authenticate") || is(key, "proxy-authorization")
	case 't':
		return is(key, "te") || is(key, "trailer") || is(key, "transfer-encoding")
	case 'u':
		return is(key, "upgrade")
	}
	return false
}

// is reports whether b is the lower-case ASCII word, in any case.
func is(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// control holds the bytes that may not stand in a field value.
var control = func() (t [256]bool) {
	for c := range t {
		t[c] = c < ' ' && c != '\t' || c == 0x7f
	}
	return t
}()

// token holds the bytes that method and field names are made of.
var token = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()
