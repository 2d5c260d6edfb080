package proxy

import (
	"errors"
	"fmt"
)

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
	errOldCoding   = malformed("Transfer-Encoding is given in a request of HTTP/1.0, which has none; send a Content-Length")
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

// violated returns the violation in err's chain, or nil.
func violated(err error) *violation {
	v, _ := errors.AsType[*violation](err)
	return v
}
