package chat

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth is how many objects and arrays may stand inside one another, the
// outermost included.
const maxDepth = 64

// scanner walks over JSON and accepts what RFC 8259 does, with our bounds.
type scanner struct {
	b       []byte
	i       int
	escaped bool // the last string holds an escape
	spaced  bool // white space was passed over since this was cleared
}

// space passes over white space.
func (s *scanner) space() {
	if s.i < len(s.b) && s.b[s.i] <= ' ' {
		s.spaces()
	}
}

func (s *scanner) spaces() {
	for i := s.i; ; i++ {
		if i < len(s.b) {
			if c := s.b[i]; c == ' ' || c == '\n' || c == '\r' || c == '\t' {
				continue
			}
		}
		s.spaced = s.spaced || i > s.i
		s.i = i
		return
	}
}

// next passes over white space and reports whether c comes then; if so it
// passes over c too.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// more reads what comes after a member or an element: a comma, after which there
// is more, or the end of the container. ok is false for anything else.
func (s *scanner) more(end byte) (more, ok bool) {
	s.space()
	if s.i >= len(s.b) {
		return false, false
	}
	c := s.b[s.i]
	if c != ',' && c != end {
		return false, false
	}
	s.i++
	return c == ',', true
}

// value reads any value. depth counts the containers it stands in.
func (s *scanner) value(depth int) *Error {
	s.space()
	if s.i >= len(s.b) {
		return unexpected(s.b, s.i, "a value")
	}
	switch c := s.b[s.i]; c {
	case '"':
		return s.str()
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.array(depth + 1)
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

func (s *scanner) object(depth int) *Error {
	if depth > maxDepth {
		return tooDeep(s.i)
	}
	s.i++
	if s.next('}') {
		return nil
	}
	for {
		if err := s.key(); err != nil {
			return err
		}
		if err := s.value(depth); err != nil {
			return err
		}
		more, ok := s.more('}')
		if !ok {
			return unexpected(s.b, s.i, "a comma or }")
		}
		if !more {
			return nil
		}
	}
}

// key reads a member's key and its colon.
func (s *scanner) key() *Error {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return unexpected(s.b, s.i, "a key in double quotes")
	}
	if err := s.str(); err != nil {
		return err
	}
	if !s.next(':') {
		return unexpected(s.b, s.i, "a colon")
	}
	return nil
}

func (s *scanner) array(depth int) *Error {
	if depth > maxDepth {
		return tooDeep(s.i)
	}
	s.i++
	if s.next(']') {
		return nil
	}
	for {
		if err := s.value(depth); err != nil {
			return err
		}
		if b, i := s.b, s.i; i+1 < len(b) && b[i] == ',' && b[i+1] > ' ' {
			s.i++ // nothing stands between, as in a vector
			continue
		}
		more, ok := s.more(']')
		if !ok {
			return unexpected(s.b, s.i, "a comma or ]")
		}
		if !more {
			return nil
		}
	}
}

func tooDeep(at int) *Error {
	return fail(at, "nested too deep: objects and arrays may stand inside one another 64 deep")
}

func (s *scanner) word(w string) *Error {
	if len(s.b)-s.i >= len(w) && string(s.b[s.i:s.i+len(w)]) == w {
		s.i += len(w)
		return nil
	}
	return fail(s.i, "invalid JSON: expected a value; the only bare words are true, false and null")
}

func (s *scanner) number() *Error {
	b, i := s.b, s.i
	if b[i] == '-' {
		i++
	}
	first := i
	if i+1 < len(b) && b[i] == '0' && b[i+1] == '.' {
		i++ // as most numbers of a vector begin
	} else {
		i = digits(b, i)
	}
	switch {
	case i == first && i == s.i:
		return unexpected(b, s.i, "a value")
	case i == first:
		return unexpected(b, i, "a digit after the minus sign")
	case b[first] == '0' && i > first+1:
		return fail(first, "invalid JSON: a number has a leading zero")
	}
	if i < len(b) && b[i] == '.' {
		at := i + 1
		if i = digits(b, at); i == at {
			return unexpected(b, i, "a digit after the decimal point")
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		at := i
		if i = digits(b, at); i == at {
			return unexpected(b, i, "a digit in the exponent")
		}
	}
	s.i = i
	return nil
}

// digits returns the index of the first byte from i on that is no digit.
func digits(b []byte, i int) int {
	for i+8 <= len(b) {
		// Above 9 the sum has its high bit set, below 0 the difference; what is
		// carried or borrowed reaches only bytes behind the first such one.
		x := binary.LittleEndian.Uint64(b[i:])
		if m := ((x + ones*(0x80-'9'-1)) | (x - ones*'0')) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

// end reads what may follow the outermost value: white space.
func (s *scanner) end() *Error {
	if s.space(); s.i < len(s.b) {
		return fail(s.i, "invalid JSON: "+found(s.b, s.i)+" follows the end of the value; send one value and nothing else")
	}
	return nil
}
