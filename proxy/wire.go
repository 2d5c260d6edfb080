package proxy

import (
	"bytes"
	"errors"
	"fmt"
)

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

// A violation is a request that is not HTTP as we accept it.
type violation struct {
	status int
	code   string
	reason string
	about  *violation // of which this says more; nil for most
}

func (v *violation) Error() string { return v.reason }

// of says in which header it is, or what was there instead of what should be. It never
// shows the value of a header that holds a secret.
func (v *violation) of(what string, b []byte) error {
	const most = 60
	return &violation{v.status, v.code, fmt.Sprintf("%s%s %q", v.reason, what, b[:min(len(b), most)]), v}
}

// Is makes a violation that says more the same as that which it says more about.
func (v *violation) Is(target error) bool { return error(v.about) == target }

// What of is told of.
const (
	asSent  = "; got"
	itIs    = "; it is"
	inField = "; it is that of the header"
	inName  = "; the line begins with"
)

func malformed(reason string) *violation { return &violation{400, "malformed_request", reason, nil} }

// The violations, made once.
var (
	errBareLF      = malformed("a line of the request head ends with a bare LF; lines end with CRLF")
	errBareCR      = malformed("a CR in the request head is not followed by LF")
	errRequestLine = malformed("the request line is not METHOD SP TARGET SP HTTP-VERSION")
	errTarget      = malformed("the request target holds a character that must be percent-encoded")
	errFold        = malformed("a header line begins with white space (obsolete line folding)")
	errName        = malformed("a header name holds a character that is not allowed, or is not followed at once by a colon")
	errValue       = malformed("a header value holds a control character")
	errDuplicate   = malformed("a header that may occur once occurs twice")
	errLength      = malformed("Content-Length is not one plain decimal number")
	errFraming     = malformed("both Content-Length and Transfer-Encoding are given")
	errCoding      = malformed("Transfer-Encoding is not exactly chunked")
	errHost        = malformed("HTTP/1.1 needs exactly one Host header of the form host or host:port")
	errChunk       = malformed("the chunked body is malformed")
	errTrailer     = malformed("the trailer of the chunked body holds a field that may not be there")
	errBlank       = malformed("the connection carries empty lines instead of a request")
	errCut         = malformed("the connection ended in the middle of the request")
	errCodings     = &violation{501, "unsupported_transfer_coding", "of the transfer codings only chunked is supported", nil}
	errVersion     = &violation{505, "unsupported_http_version", "only HTTP/1.1 and HTTP/1.0 are supported", nil}
	errMethod      = &violation{501, "unsupported_method", "the request method is not supported", nil}
	errExpect      = &violation{417, "unsupported_expectation", "of the expectations only 100-continue is met here", nil}
	errUpgrade     = &violation{501, "unsupported_upgrade", "this server does not switch protocols", nil}
	errFields      = &violation{431, "too_many_headers", "the request has more than 100 headers", nil}
	errLong        = &violation{414, "request_target_too_long", "the request line is longer than this server accepts", nil}
	errHead        = &violation{431, "request_header_too_large", "the request head is larger than this server accepts", nil}
)

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

// requestLine judges METHOD SP TARGET SP VERSION.
func (f *framing) requestLine(line []byte) error {
	method, rest, ok := bytes.Cut(line, space)
	if !ok || len(method) == 0 {
		return errRequestLine
	}
	target, version, ok := bytes.Cut(rest, space)
	if !ok || len(target) == 0 {
		return errRequestLine
	}
	for _, c := range method {
		if !isToken[c] {
			return errRequestLine
		}
		if c >= 'a' && c <= 'z' {
			return errMethod.of(asSent, method)
		}
	}
	f.bare = string(method) == "HEAD"
	// RFC 3986 would have more of them encoded. Browsers and Node go by the URL
	// Standard and send these as they are, and nobody reads them differently.
	query := false
	for _, c := range target {
		query = query || c == '?'
		if c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '#' || c == '\\' && !query {
			return errTarget.of(asSent, []byte{c})
		}
	}
	switch {
	case string(version) == "HTTP/1.1":
	case string(version) == "HTTP/1.0":
		f.http10 = true
	case len(version) == 8 && string(version[:5]) == "HTTP/" && isDigit(version[5]) && version[6] == '.' && isDigit(version[7]):
		return errVersion.of(asSent, version)
	default:
		return errRequestLine
	}
	switch string(method) {
	case "CONNECT", "TRACE":
		return errMethod.of(asSent, method)
	case "OPTIONS":
		if string(target) == "*" {
			return nil
		}
	}
	if target[0] != '/' && !isAbsolute(target) {
		return errRequestLine
	}
	return nil
}

// isAbsolute reports whether target is an http or https URL with a host.
func isAbsolute(target []byte) bool {
	for _, scheme := range [...]string{"http://", "https://"} {
		if n := len(scheme); len(target) > n && equalFold(target[:n], scheme) {
			host := target[n:]
			if i := bytes.IndexAny(host, "/?"); i >= 0 {
				host = host[:i]
			}
			return isHost(host[bytes.IndexByte(host, '@')+1:])
		}
	}
	return false
}

// The fields that may occur once. Some repeat legally elsewhere; here a second
// one could make this program and an upstream see different requests.
var singletons = [...]string{
	"host", "content-length", "transfer-encoding", "authorization", "content-type", "x-api-key", "api-key",
	"content-encoding", "expect", "idempotency-key", "x-request-id", "upgrade",
}

// maxFields bounds what has to be looked through for each field wanted.
const maxFields = 100

const (
	seenHost = 1 << iota
	seenLength
	seenCoding
)

// field judges one header line.
func (f *framing) field(line []byte) error {
	if line[0] == ' ' || line[0] == '\t' {
		return errFold
	}
	if f.fields++; f.fields > maxFields {
		return errFields
	}
	name, value, err := splitField(line)
	if err != nil {
		return err
	}
	if n := len(name); n < 4 || n > 17 {
		return nil
	}
	for i, s := range singletons {
		if len(s) != len(name) || !equalFold(name, s) {
			continue
		}
		if f.seen&(1<<i) != 0 {
			if s == "x-request-id" {
				// It decides about nothing, and proxies add one: the first counts.
				f.hide = true
				return nil
			}
			return errDuplicate.of(itIs, []byte(s))
		}
		f.seen |= 1 << i
		return f.judge(i, value)
	}
	return nil
}

// judge checks the value of a field that decides about the framing or the
// fate of the connection.
func (f *framing) judge(which int, value []byte) error {
	switch singletons[which] {
	case "host":
		if !isHost(value) {
			return errHost.of(asSent, value)
		}
	case "content-length":
		n, ok := decimal(value)
		if !ok {
			return errLength.of(asSent, value)
		}
		f.length, f.hide = n, true
	case "transfer-encoding":
		switch {
		case f.http10:
			return errCoding
		case equalFold(value, "chunked"):
			f.chunked, f.hide = true, true
		case endsInChunked(value):
			return errCodings.of(asSent, value)
		default:
			return errCoding.of(asSent, value)
		}
	case "expect":
		// HTTP/1.0 has no such field either, and some clients leave it empty.
		for member := range bytes.SplitSeq(value, comma) {
			if member = bytes.Trim(member, " \t"); !f.http10 && len(member) > 0 && !equalFold(member, "100-continue") {
				return errExpect.of(asSent, value)
			}
		}
	case "upgrade":
		// A client that offers h2c is content with an answer in HTTP/1.1, and
		// some offer it on every first request. Any other protocol is asked
		// for in earnest.
		// HTTP/1.0 has no such field, and RFC 9110 has it ignored there.
		if !f.http10 && !equalFold(value, "h2c") {
			return errUpgrade.of(asSent, value)
		}
	}
	return nil
}

// check judges the head as a whole.
func (f *framing) check() error {
	if f.seen&seenLength != 0 && f.seen&seenCoding != 0 {
		return errFraming
	}
	if f.seen&seenHost == 0 && !f.http10 {
		return errHost
	}
	return nil
}

// splitField takes a header line apart. The value is without the white space
// around it.
func splitField(line []byte) (name, value []byte, err error) {
	i := 0
	for i < len(line) && isToken[line[i]] {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ':' {
		return nil, nil, errName.of(inName, line[:i])
	}
	for _, c := range line[i+1:] {
		if c < ' ' && c != '\t' || c == 0x7f {
			if c == '\r' {
				return nil, nil, errBareCR.of(inField, line[:i])
			}
			return nil, nil, errValue.of(inField, line[:i])
		}
	}
	return line[:i], bytes.Trim(line[i+1:], " \t"), nil
}

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
		b = b[n:]
		if rest := bytes.TrimLeft(b, " \t"); len(rest) > 0 {
			b = rest
		}
		if len(b) == 0 || b[0] != '=' {
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
		b = b[n:]
	}
	return true
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

// isHost reports whether b is a host, or host:port, as in a URL.
func isHost(b []byte) bool {
	host := b
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 3 {
			return false
		}
		for _, c := range b[1:end] {
			if hexDigit(c) < 0 && c != ':' && c != '.' {
				return false
			}
		}
		host = b[end+1:]
		return len(host) == 0 || host[0] == ':' && isPort(host[1:])
	}
	if name, port, ok := bytes.Cut(b, []byte{':'}); ok {
		if !isPort(port) {
			return false
		}
		host = name
	}
	for i := 0; i < len(host); i++ {
		switch {
		case host[i] == '%':
			// Only what is not ASCII may be escaped in a host.
			if i+2 >= len(host) || hexDigit(host[i+1]) < 8 || hexDigit(host[i+2]) < 0 {
				return false
			}
			i += 2
		case !isHostByte(host[i]):
			return false
		}
	}
	return len(host) > 0
}

// isHostByte reports unreserved and sub-delims.
func isHostByte(c byte) bool {
	return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || bytes.IndexByte([]byte("-._~!$&'()*+,;="), c) >= 0
}

func isPort(b []byte) bool {
	if len(b) > 5 {
		return false
	}
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

// endsInChunked reports whether the last of several codings is chunked.
func endsInChunked(value []byte) bool {
	i := bytes.LastIndexByte(value, ',')
	return i > 0 && equalFold(bytes.Trim(value[i+1:], " \t"), "chunked") &&
		bytes.Count(bytes.ToLower(value), []byte("chunked")) == 1
}

// decimal parses a number that fits what a body may ever have.
func decimal(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func hexDigit(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// equalFold reports whether b is s, which is in lower case, in any case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

var space = []byte{' '}

// isToken holds the characters of RFC 9110's token.
var isToken = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-0x20] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// violated returns the violation in err's chain, or nil.
func violated(err error) *violation {
	v, _ := errors.AsType[*violation](err)
	return v
}
