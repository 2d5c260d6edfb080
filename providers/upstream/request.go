package upstream

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
)

// appendRequest appends the header of req, with the fields in lines if there are any.
// Those about framing and the connection are not taken from either but made from what
// the body is.
func appendRequest(dst []byte, req *pipeline.Request, lines []byte, address string) ([]byte, error) {
	h := &req.Header
	if err := sendable(h); err != nil {
		return dst, err
	}
	method, uri, host := h.Method(), h.RequestURI(), h.Host()
	dst = append(append(dst, method...), ' ')
	dst = append(append(dst, uri...), " HTTP/1.1\r\nHost: "...)
	if len(host) > 0 {
		dst = append(dst, host...)
	} else {
		dst = append(dst, address...)
	}
	dst = append(dst, "\r\n"...)
	if len(lines) > 0 {
		if !sendableLines(lines) {
			return dst, unsendable("header field")
		}
		dst = append(dst, lines...)
		return append(appendFraming(dst, req, method), "\r\n"...), nil
	}
	for key, value := range h.All() {
		if hopByHop(key) || ours(key) {
			continue
		}
		if !sendableField(key, value) {
			return dst, unsendable("header field")
		}
		dst = append(append(dst, key...), ": "...)
		dst = append(append(dst, value...), "\r\n"...)
	}
	return append(appendFraming(dst, req, method), "\r\n"...), nil
}

// sendable checks what goes into the request line, and the host.
func sendable(h *fasthttp.RequestHeader) error {
	if method := h.Method(); !isToken(method) || string(method) == "CONNECT" {
		return unsendable("method")
	}
	uri := h.RequestURI()
	if !bytes.HasPrefix(uri, slash) && string(uri) != "*" || bytes.HasPrefix(uri, slashes) || slices.ContainsFunc(uri, notVisible) {
		return unsendable("request target")
	}
	if slices.ContainsFunc(h.Host(), notVisible) {
		return unsendable("host")
	}
	return nil
}

var slash, slashes = []byte("/"), []byte("//")

func sendableField(key, value []byte) bool {
	for _, c := range value {
		if control[c] {
			return false
		}
	}
	return isToken(key)
}

// sendableLines reports whether b is whole field lines, none of them ours to write.
func sendableLines(b []byte) bool {
	if b[len(b)-1] != '\n' {
		return false
	}
	for len(b) > 0 {
		key, _, rest, err := parseField(b)
		if err != nil || hopByHop(key) || ours(key) {
			return false
		}
		b = rest
	}
	return true
}

// appendFraming appends the field that says where the body ends.
func appendFraming(dst []byte, req *pipeline.Request, method []byte) []byte {
	n := int64(len(req.Body))
	switch {
	case req.Upload != nil && req.UploadSize < 0:
		return append(dst, "Transfer-Encoding: chunked\r\n"...)
	case req.Upload != nil:
		n = req.UploadSize
	case n == 0 && string(method) != "POST" && string(method) != "PUT" && string(method) != "PATCH":
		return dst
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// ours reports whether the field is for the transport alone to write.
func ours(key []byte) bool {
	switch key[0] | 0x20 {
	case 'c':
		return is(key, "content-length")
	case 'e':
		return is(key, "expect")
	case 'h':
		return is(key, "host") || is(key, "http2-settings")
	}
	return false
}

func unsendable(what string) error {
	return &pipeline.Error{
		Status: 400, Code: "invalid_request", Fault: pipeline.CallerFault,
		Err: fmt.Errorf("a %s that cannot be sent to the upstream", what),
	}
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !token[c] {
			return false
		}
	}
	return len(b) > 0
}

// notVisible reports whether c is a control character, a blank, or no ASCII.
func notVisible(c byte) bool { return c <= ' ' || c >= 0x7f }

// safe reports whether a request by this method changes nothing, so that
// sending it twice does no harm.
func safe(method []byte) bool {
	return string(method) == "GET" || string(method) == "HEAD" || string(method) == "OPTIONS"
}
