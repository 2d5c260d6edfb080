package chat

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An Error says which rule a body breaks, where, and what to do about it. Its
// message is one sentence for the client who sent the body.
type Error struct {
	// Offset is the index of the first byte that cannot stand.
	Offset int
	// Line and Column are the same place, both counted from 1, Column in bytes.
	Line, Column int
	// Param is the top-level key whose value is at fault, or the key itself,
	// shortened if it is long; empty if no key is.
	Param string
	// Reason names the rule and the fix, without the place.
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	where := ""
	if e.Param != "" {
		if key := strconv.Quote(e.Param); !strings.Contains(e.Reason, key) {
			where = ", in " + key
		}
	}
	return fmt.Sprintf("%s (line %d, column %d, byte %d%s)", e.Reason, e.Line, e.Column, e.Offset, where)
}

// locate fills in the line and the column.
func (e *Error) locate(b []byte) *Error {
	before := b[:min(e.Offset, len(b))]
	e.Line = 1 + bytes.Count(before, []byte{'\n'})
	e.Column = len(before) - bytes.LastIndexByte(before, '\n')
	return e
}

func fail(at int, reason string) *Error { return &Error{Offset: at, Reason: reason} }

// unexpected says what stands where something else should.
func unexpected(b []byte, at int, want string) *Error {
	return fail(at, "invalid JSON: expected "+want+", found "+found(b, at))
}

// found describes the byte at an offset.
func found(b []byte, at int) string {
	switch {
	case at >= len(b):
		return "the end of the body"
	case bytes.HasPrefix(b[at:], []byte("\xef\xbb\xbf")):
		return "a byte order mark, which JSON does not allow"
	case b[at] > ' ' && b[at] < 0x7f:
		return "'" + string(b[at:at+1]) + "'"
	}
	return fmt.Sprintf("byte 0x%02x", b[at])
}

// shorten cuts a client's key down to what a message has room for.
func shorten(key []byte) string {
	const most = 64
	if len(key) <= most {
		return string(key)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(key[cut]) {
		cut--
	}
	return string(key[:cut]) + "…"
}

// quoteKey quotes a client's key for a message.
func quoteKey(key []byte) string { return strconv.Quote(shorten(key)) }
