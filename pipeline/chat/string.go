package chat

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Eight bytes are looked at in one step. The tests rely on a subtraction that
// borrows only out of a byte that is itself a hit, so the lowest hit is exact,
// and only the lowest is used.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks the high bit of the first byte of x that cannot be passed over
// inside a string: a quote, a backslash, a control character, or a byte that
// is not ASCII. Exchanging 0x20 and 0x22 makes quote and control characters
// one range.
func special(x uint64) uint64 {
	quote := (x ^ ones*0x02) - ones*0x21
	backslash := (x ^ ones*'\\') - ones
	return (quote | backslash | x) & highs
}

// str reads a string, whose opening quote is at s.i.
func (s *scanner) str() *Error {
	b, i := s.b, s.i+1
	escaped := false
	for {
		i = plain(b, i)
		if i >= len(b) {
			return fail(s.i, "invalid JSON: this string has no closing quote")
		}
		switch c := b[i]; {
		case c == '"':
			s.i, s.escaped = i+1, escaped
			return nil
		case c == '\\':
			escaped = true
			switch {
			case i+1 < len(b) && short[b[i+1]]:
				i += 2
			case i+6 <= len(b) && b[i+1] == 'u' && hex4(b[i+2:]) >= 0:
				i += 6 // half of a surrogate pair may stand alone
			default:
				return fail(i, `invalid JSON: a backslash in a string must begin one of \" \\ \/ \b \f \n \r \t or \u and four hexadecimal digits`)
			}
		case c < 0x20:
			return fail(i, "invalid JSON: a string holds the control character "+found(b, i)+`; write it as an escape such as \n or \u0000`)
		case c >= 0xc2 && c < 0xe0 && i+1 < len(b) && b[i+1]&0xc0 == 0x80:
			i += 2 // the only such character, as often as not
		default:
			var ok bool
			if i, ok = runes(b, i); !ok {
				return fail(i, "invalid UTF-8: "+found(b, i)+" begins no character; send the body encoded as UTF-8")
			}
		}
	}
}

// short holds what may follow a backslash and ends the escape.
var short = [256]bool{'"': true, '\\': true, '/': true, 'b': true, 'f': true, 'n': true, 'r': true, 't': true}

// plain returns the index of the first special byte from i on, or len(b).
func plain(b []byte, i int) int {
	for n := 1; i+8 <= len(b); n++ {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
		// A run of four words without a hit is likely to go on.
		for n&3 == 0 && i+32 <= len(b) {
			p := b[i : i+32]
			if special(binary.LittleEndian.Uint64(p))|special(binary.LittleEndian.Uint64(p[8:]))|
				special(binary.LittleEndian.Uint64(p[16:]))|special(binary.LittleEndian.Uint64(p[24:])) != 0 {
				break
			}
			i += 32
		}
	}
	for i < len(b) && b[i] >= 0x20 && b[i] < 0x80 && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// hex4 is the value of the first four hexadecimal digits of b, or -1.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// runes returns the index of the first ASCII byte from i on. If what precedes
// it is not UTF-8, it returns where not. Characters of two and three bytes
// are checked eight bytes at a time, as most text needs no others.
func runes(b []byte, i int) (int, bool) {
	for i+8 <= len(b) && b[i] >= utf8.RuneSelf {
		x := binary.LittleEndian.Uint64(b[i:])
		if x&0xc0c0f0c0c0f0 == 0x8080e08080e0 && threes(x) && threes(x>>24) {
			i += 6
			continue
		}
		if x&0xc0c0f0 == 0x8080e0 && threes(x) {
			i += 3
			continue
		}
		if x&0xc0e0 == 0x80c0 && x&0x1e != 0 {
			i += 2
			continue
		}
		_, n := utf8.DecodeRune(b[i:])
		if n == 1 {
			return i, false
		}
		i += n
	}
	for i < len(b) && b[i] >= utf8.RuneSelf {
		_, n := utf8.DecodeRune(b[i:])
		if n == 1 {
			return i, false
		}
		i += n
	}
	return i, true
}

// threes reports whether the three bytes, which have the form of a character,
// are one: not a longer form of a smaller one, nor half of a surrogate pair.
func threes(x uint64) bool {
	t := x & 0x200f
	return t != 0 && t != 0x200d
}
