package chat

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math/bits"
)

// The functions below read JSON values that have been validated, as Request's
// methods return them. Given anything else they end early; they never panic.

// Object yields the members of a JSON object in the order written: keys
// unescaped, values as written. It yields nothing if raw is no object. It
// allocates only for keys that hold escapes.
func Object(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		eachMember(raw, func(k, v span) bool { return yield(keyOf(raw[k.from:k.to:k.to]), raw[v.from:v.to:v.to]) })
	}
}

// Array yields the elements of a JSON array as written; nothing if raw is no
// array.
func Array(raw []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		eachElement(raw, func(v span) bool { return yield(raw[v.from:v.to:v.to]) })
	}
}

// Get returns the value found by following keys from object to object, or nil.
func Get(raw []byte, keys ...string) []byte {
	for _, want := range keys {
		var found []byte
		for k, v := range Object(raw) {
			if string(k) == want {
				found = v
				break
			}
		}
		if raw = found; raw == nil {
			return nil
		}
	}
	return raw
}

// Text returns the text of a JSON string; false if raw is none.
func Text(raw []byte) (string, bool) {
	text, ok := inside(raw)
	if ok && bytes.IndexByte(text, '\\') >= 0 {
		text = appendUnescaped(nil, text, false)
	}
	return string(text), ok
}

// AppendText appends the text of a JSON string; false if raw is none.
func AppendText(dst, raw []byte) ([]byte, bool) {
	text, ok := inside(raw)
	return appendUnescaped(dst, text, false), ok
}

// Int returns a number written as an integer that fits.
func Int(raw []byte) (int64, bool) {
	digits := bytes.TrimPrefix(raw, []byte{'-'})
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	if len(digits) < len(raw) {
		n = -n
	}
	return n, true
}

// Bool returns true or false as written; ok is false for any other value.
func Bool(raw []byte) (v, ok bool) {
	switch string(raw) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// inside is what stands between the quotes of a string.
func inside(raw []byte) ([]byte, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, false
	}
	return raw[1 : len(raw)-1], true
}

func keyOf(k []byte) []byte {
	if bytes.IndexByte(k, '\\') < 0 {
		return k
	}
	return appendUnescaped(nil, k, true)
}

// eachMember yields the places of keys, without quotes, and of values.
func eachMember(b []byte, yield func(key, value span) bool) {
	i := open(b, '{')
	for i > 0 && i < len(b) && b[i] == '"' {
		end := stringEnd(b, i)
		colon := blank(b, end)
		if colon >= len(b) || b[colon] != ':' {
			return
		}
		from := blank(b, colon+1)
		to := valueEnd(b, from)
		if to <= from || !yield(span{i + 1, end - 1}, span{from, to}) {
			return
		}
		i = comma(b, to)
	}
}

// eachElement yields the places of elements.
func eachElement(b []byte, yield func(value span) bool) {
	i := open(b, '[')
	for i > 0 && i < len(b) {
		to := valueEnd(b, i)
		if to <= i || !yield(span{i, to}) {
			return
		}
		i = comma(b, to)
	}
}

// open returns where the first item of a container begins, or 0 if b is none.
func open(b []byte, brace byte) int {
	if i := blank(b, 0); i < len(b) && b[i] == brace {
		return blank(b, i+1)
	}
	return 0
}

// comma returns where the next item begins, or 0 if none does.
func comma(b []byte, i int) int {
	if i = blank(b, i); i < len(b) && b[i] == ',' {
		return blank(b, i+1)
	}
	return 0
}

// blank returns the index of the first byte from i on that is no white space.
func blank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// stringEnd returns the index behind the string that opens at i, or len(b) if
// nothing closes it.
func stringEnd(b []byte, i int) int {
	for at := i + 1; ; at++ {
		n := bytes.IndexByte(b[at:], '"')
		if n < 0 {
			return len(b)
		}
		at += n
		// An odd number of backslashes before a quote makes it part of the text.
		first := at
		for first > i+1 && b[first-1] == '\\' {
			first--
		}
		if (at-first)%2 == 0 {
			return at + 1
		}
	}
}

// valueEnd returns the index behind the value that begins at i; i if none does.
func valueEnd(b []byte, i int) int {
	if i >= len(b) {
		return i
	}
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		return containerEnd(b, i)
	}
	for i < len(b) && !bounds[b[i]] {
		i++
	}
	return i
}

// containerEnd returns the index behind the object or array that begins at i, or
// len(b) if it does not end.
func containerEnd(b []byte, i int) int {
	depth := 0
	for {
		if i = nesting(b, i); i >= len(b) {
			return len(b)
		}
		switch b[i] {
		case '"':
			i = stringEnd(b, i)
		case '{', '[':
			depth++
			i++
		default:
			i++
			if depth--; depth == 0 {
				return i
			}
		}
	}
}

// nesting returns the index of the first byte from i on that begins or ends
// something which may hold more than itself, or len(b).
func nesting(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		braces := x | ones*0x20 // [ becomes {, and ] becomes }
		if m := zeros(x^ones*'"') | zeros(braces^ones*'{') | zeros(braces^ones*'}'); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(b) && !nests[b[i]] {
		i++
	}
	return i
}

// zeros marks the high bit of the first byte of x that is zero, and of others above
// it.
func zeros(x uint64) uint64 { return (x - ones) &^ x & highs }

// bounds holds what ends a number or a word, nests what may begin or end something
// that holds more than itself.
var (
	bounds = set(",:]}{[\" \t\n\r")
	nests  = set(`"{[]}`)
)

func set(chars string) (t [256]bool) {
	for i := range len(chars) {
		t[chars[i]] = true
	}
	return t
}
