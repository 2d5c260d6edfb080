// Package sse splits and writes server-sent events.
//
// A stream is taken apart at its blank lines only: events pass through as they
// came, comments included. Lines may end in LF, CRLF or CR. What this package
// writes ends lines in LF, and nothing in the data or the name can begin a
// field of its own.
package sse

import (
	"bytes"
	"strings"
)

// Done is the data of the event that ends a stream of the OpenAI interface. It
// must not be written to.
var Done = []byte("[DONE]")

// Cut returns the first event of frame, with the blank line that ends it, and
// what follows. If frame holds no whole event, both are nil. A blank line that
// no field precedes is an event without data.
func Cut(frame []byte) (event, rest []byte) {
	for at := 0; ; {
		line, next := cutLine(frame[at:])
		switch {
		case next == 0:
			return nil, nil
		case len(line) == 0:
			return frame[: at+next : at+next], frame[at+next:]
		}
		at += next
	}
}

// Ends reports whether frame ends with an event, which is with a blank line. Nothing but
// the end of a line is one.
func Ends(frame []byte) bool {
	rest := bytes.TrimSuffix(frame, []byte{'\n'})
	if rest = bytes.TrimSuffix(rest, []byte{'\r'}); len(rest) == len(frame) {
		return false
	}
	return len(rest) == 0 || rest[len(rest)-1] == '\n' || rest[len(rest)-1] == '\r'
}

// cutLine returns the first line of b and the index of what follows its end, or
// 0 if the line does not end.
func cutLine(b []byte) (line []byte, next int) {
	end := bytes.IndexByte(b, '\n')
	line = b
	if end >= 0 {
		line = b[:end]
	}
	if cr := bytes.IndexByte(line, '\r'); cr >= 0 {
		if cr+1 == end {
			return b[:cr], end + 1
		}
		return b[:cr], cr + 1
	}
	return line, end + 1
}

// field splits a line at its colon; the space after it is no part of the value.
func field(line []byte) (name, value []byte) {
	name, value, _ = bytes.Cut(line, []byte{':'})
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	return name, value
}

// Data returns the data of an event. It points into the event if that has one
// line of it; several are joined by LF behind dst. It reports false if the
// event has no data, as a comment has none.
func Data(dst, event []byte) (data []byte, ok bool) {
	lines := 0
	for len(event) > 0 {
		line, next := cutLine(event)
		if next == 0 {
			next = len(event)
		}
		event = event[next:]
		name, value := field(line)
		if string(name) != "data" {
			continue
		}
		switch lines++; lines {
		case 1:
			data = value[:len(value):len(value)]
		case 2:
			data = append(append(append(dst, data...), '\n'), value...)
		default:
			data = append(append(data, '\n'), value...)
		}
	}
	return data, lines > 0
}

// Name returns the name of an event, its last field "event"; nil if it has none.
func Name(event []byte) []byte {
	var found []byte
	for len(event) > 0 {
		line, next := cutLine(event)
		if next == 0 {
			next = len(event)
		}
		event = event[next:]
		if name, value := field(line); string(name) == "event" {
			found = value
		}
	}
	return found
}

// AppendData appends an event with data. Each line of data, however it ends,
// becomes a field of its own; the reader joins them by LF again. NUL is left
// out.
func AppendData(dst, data []byte) []byte {
	for {
		line, next := cutLine(data)
		dst = append(dst, "data: "...)
		dst = appendWithout(dst, line, "\x00")
		dst = append(dst, '\n')
		if next == 0 {
			return append(dst, '\n')
		}
		data = data[next:]
	}
}

// AppendEvent appends an event with a name and data as AppendData does. CR, LF
// and NUL in the name are left out, and a name of which nothing is left too.
func AppendEvent(dst []byte, name string, data []byte) []byte {
	start := len(dst)
	dst = append(dst, "event: "...)
	empty := len(dst)
	if dst = appendWithout(dst, name, "\r\n\x00"); len(dst) == empty {
		return AppendData(dst[:start], data)
	}
	return AppendData(append(dst, '\n'), data)
}

// appendWithout appends s without the bytes in set.
func appendWithout[S string | []byte](dst []byte, s S, set string) []byte {
	at := len(dst)
	dst = append(dst, s...)
	if !bytes.ContainsAny(dst[at:], set) {
		return dst
	}
	kept := dst[:at]
	for _, c := range dst[at:] {
		if strings.IndexByte(set, c) < 0 {
			kept = append(kept, c)
		}
	}
	return kept
}
