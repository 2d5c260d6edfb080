package proxy

import (
	"bytes"
	"net/netip"
)

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
			switch s {
			case "x-request-id":
				// It decides about nothing, and proxies add one: the first counts.
				f.hide = true
				return nil
			case "expect": // a list, of which only one member is met
				return f.judge(i, value)
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
			return errOldCoding
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

// isHost reports whether b is a host, or host:port, as in a URL.
func isHost(b []byte) bool {
	host := b
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return false
		}
		ip, err := netip.ParseAddr(string(b[1:end]))
		host = b[end+1:]
		return err == nil && ip.Is6() && ip.Zone() == "" && (len(host) == 0 || host[0] == ':' && isPort(host[1:]))
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
