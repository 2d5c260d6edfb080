package offline

import (
	"bytes"
	"iter"
	"unicode/utf8"
)

// The functions of this file read JSON that package chat has validated, so they
// look for the next quote or bracket and check nothing.

// members yields the keys, as they are written between their quotes, and the raw
// values of an object. Anything else has none.
func members(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		if kind(raw) != '{' {
			return
		}
		for i := space(raw, 1); i < len(raw) && raw[i] == '"'; {
			end := skip(raw, i)
			key := raw[i+1 : end-1]
			from := space(raw, space(raw, end)+1) // behind the colon
			to := skip(raw, from)
			if !yield(key, raw[from:to]) {
				return
			}
			i = space(raw, space(raw, to)+1) // behind the comma
		}
	}
}

// elements yields the raw values of an array. Anything else has none.
func elements(raw []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		if kind(raw) != '[' {
			return
		}
		for i := space(raw, 1); i < len(raw) && raw[i] != ']'; {
			to := skip(raw, i)
			if !yield(raw[i:to]) {
				return
			}
			i = space(raw, space(raw, to)+1)
		}
	}
}

// member is the raw value of an object's first member called key, or nil.
func member(raw []byte, key string) []byte {
	for k, v := range members(raw) {
		if string(k) == key {
			return v
		}
	}
	return nil
}

// kind is the first byte of a value: '{', '[', '"', 't', 'f', 'n', a digit or a
// minus; 0 for no value.
func kind(raw []byte) byte {
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

// space is the first position from i that holds no white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skip is the position behind the value that begins at i.
func skip(b []byte, i int) int {
	if i >= len(b) {
		return len(b)
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; i < len(b); i++ {
			switch b[i] {
			case '"':
				i = skipString(b, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return len(b)
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	return i
}

func skipString(b []byte, i int) int {
	for at := i + 1; ; {
		n := bytes.IndexByte(b[at:], '"')
		if n < 0 {
			return len(b)
		}
		at += n + 1
		escaped := false
		for j := at - 2; j > i && b[j] == '\\'; j-- {
			escaped = !escaped
		}
		if !escaped {
			return at
		}
	}
}

// unquote appends the text of a string value to dst, and nothing for any other
// value.
func unquote(dst, raw []byte) []byte {
	if kind(raw) != '"' || len(raw) < 2 {
		return dst
	}
	s := raw[1 : len(raw)-1]
	for {
		n := bytes.IndexByte(s, '\\')
		if n < 0 || n+1 >= len(s) {
			return append(dst, s...)
		}
		dst = append(dst, s[:n]...)
		c := s[n+1]
		s = s[n+2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			var r rune
			r, s = codePoint(s)
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
}

// codePoint reads what follows `\u`, both halves of a surrogate pair included.
func codePoint(s []byte) (rune, []byte) {
	r, s := hex4(s)
	if r >= 0xD800 && r < 0xDC00 && len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
		if low, rest := hex4(s[2:]); low >= 0xDC00 && low < 0xE000 {
			return (r-0xD800)<<10 | (low - 0xDC00) + 0x10000, rest
		}
	}
	return r, s // half a pair becomes U+FFFD when it is appended
}

func hex4(s []byte) (rune, []byte) {
	if len(s) < 4 {
		return utf8.RuneError, nil
	}
	var r rune
	for _, c := range s[:4] {
		switch {
		case c <= '9':
			c -= '0'
		case c >= 'a':
			c -= 'a' - 10
		default:
			c -= 'A' - 10
		}
		r = r<<4 | rune(c&15)
	}
	return r, s[4:]
}

// quote appends text as a JSON string.
func quote(dst, text []byte) []byte {
	return append(escape(append(dst, '"'), text), '"')
}

// escape appends text as it stands between the quotes of a JSON string.
func escape(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	from := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, text[from:]...)
}

// integer is the value of a whole number; ok is false for anything else, and for
// what does not fit.
func integer(raw []byte) (n int, ok bool) {
	digits := raw
	if kind(raw) == '-' {
		digits = raw[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if len(digits) < len(raw) {
		n = -n
	}
	return n, true
}

// given reports whether a member is there and not null.
func given(raw []byte) bool { return len(raw) > 0 && raw[0] != 'n' }
