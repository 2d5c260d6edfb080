package chat

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD, except halves of surrogate pairs in three bytes each, as in the keys
// that Request.At returns: those become the escapes they came from.
func AppendString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	return append(appendEscaped(dst, s), '"')
}

// appendEscaped appends the inside of a JSON string.
func appendEscaped[S string | []byte](dst []byte, s S) []byte {
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		n := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, n = decode(s[i:]); r >= 0 {
				i += n
				continue
			}
		}
		dst = append(dst, s[done:i]...)
		if i += n; n == 3 {
			dst = appendHex(dst, rune(s[i-3]&0x0f)<<12|rune(s[i-2]&0x3f)<<6|rune(s[i-1]&0x3f))
		} else {
			dst = appendEscape(dst, c)
		}
		done = i
	}
	return append(dst, s[done:]...)
}

// decode returns the first character of s. If there is none, it returns -1 and
// the length to replace: 3 for half of a surrogate pair, else 1.
func decode[S string | []byte](s S) (rune, int) {
	var buf [4]byte
	b := buf[:copy(buf[:], s)]
	r, n := utf8.DecodeRune(b)
	switch {
	case n > 1:
		return r, n
	case len(b) >= 3 && b[0] == 0xed && b[1]&0xe0 == 0xa0 && b[2]&0xc0 == 0x80:
		return -1, 3
	}
	return -1, 1
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	if c >= utf8.RuneSelf {
		return append(dst, "\uFFFD"...)
	}
	return appendHex(dst, rune(c))
}

func appendHex(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// appendUnescaped appends the text that the inside of a JSON string stands for.
// Half of a surrogate pair becomes U+FFFD, unless halves are to be kept apart:
// then it is written in three bytes. Broken escapes are dropped.
func appendUnescaped(dst, s []byte, halves bool) []byte {
	for {
		at := bytes.IndexByte(s, '\\')
		if at < 0 {
			return append(dst, s...)
		}
		if at+1 == len(s) {
			return append(dst, s[:at]...)
		}
		dst = append(dst, s[:at]...)
		c := s[at+1]
		s = s[at+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			dst, s = appendUnit(dst, s, halves)
			continue
		}
		dst = append(dst, c)
	}
}

// appendUnit appends the character whose \u has just been read, and returns
// what follows it.
func appendUnit(dst, s []byte, halves bool) (out, rest []byte) {
	r := hex4(s)
	if r < 0 {
		return dst, s
	}
	s = s[4:]
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(dst, r), s
	}
	if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(s[2:])); pair != utf8.RuneError {
			return utf8.AppendRune(dst, pair), s[6:]
		}
	}
	if halves {
		return append(dst, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f), s
	}
	return utf8.AppendRune(dst, utf8.RuneError), s
}

// Paired reports whether no string in a JSON value holds half of a surrogate pair,
// which is no character: readers put different ones in its place, or none.
func Paired(raw []byte) bool {
	for i := bytes.IndexByte(raw, '\\'); i >= 0; {
		size := 2
		if i+1 < len(raw) && raw[i+1] == 'u' {
			size = 6
			first := hex4(raw[min(i+2, len(raw)):])
			if utf16.IsSurrogate(first) {
				rest := raw[min(i+6, len(raw)):]
				if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' || utf16.DecodeRune(first, hex4(rest[2:])) == utf8.RuneError {
					return false
				}
				size = 12
			}
		}
		next := bytes.IndexByte(raw[min(i+size, len(raw)):], '\\')
		if next < 0 {
			return true
		}
		i += size + next
	}
	return true
}
