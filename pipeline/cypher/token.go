package cypher

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A token is a word, a literal or a symbol of a query. Comments and white space
// leave none.
type token struct {
	kind   kind
	text   string
	quoted bool // a word in backticks
}

type kind uint8

const (
	word kind = iota
	literal
	symbol
)

func (t token) is(s string) bool { return t.kind == symbol && t.text == s }

// isWord reports whether t is a word of the language, s in lower case.
func (t token) isWord(s string) bool {
	return t.kind == word && !t.quoted && strings.EqualFold(t.text, s)
}

// at is the i-th token, or where there is none a symbol without text.
func at(all []token, i int) token {
	if i < 0 || i >= len(all) {
		return token{kind: symbol}
	}
	return all[i]
}

var (
	errEscape   = errors.New(`the query holds a \u escape, which may stand for anything; pass the text as a parameter`)
	errText     = errors.New("the query holds a string that does not end")
	errName     = errors.New("the query holds a name in backticks that does not end")
	errComment  = errors.New("the query holds a comment that does not end")
	errDollar   = errors.New("the query holds a $ right behind a name or a value; put a space in front of a parameter, and a name with a $ into backticks")
	errEncoding = errors.New("the query is not valid UTF-8, or holds a control character")
)

// tokens takes a query apart. What readers of the language could disagree about
// is an error: databases replace \u escapes before they look for quotes, some
// everywhere, so nobody can tell what a query with one means. A $ right behind a
// word is a part of it in Cypher 5, so that what follows may be a clause, and begins
// a parameter in Cypher 25.
func tokens(q string) ([]token, error) {
	var all []token
	if strings.ContainsFunc(q, control) {
		return nil, errEncoding
	}
	if strings.Contains(q, `\u`) || strings.Contains(q, `\U`) {
		return nil, errEscape
	}
	for len(q) > 0 {
		t, n, err := next(q)
		if err != nil {
			return nil, err
		}
		q = q[n:]
		if t.text == "" && !t.quoted {
			continue // white space, or a comment
		}
		if strings.HasPrefix(q, "$") && !t.quoted && t.kind != symbol {
			return nil, errDollar
		}
		all = append(all, t)
	}
	return all, nil
}

// control reports what no query needs. A byte that is not UTF-8 reads as RuneError.
func control(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' && r != '\f' || r == 0x2028 || r == 0x2029 || r == utf8.RuneError || unicode.Is(unicode.Cf, r)
}

// next reads one token off q and returns how long it is. White space and
// comments are tokens without text.
func next(q string) (t token, n int, err error) {
	r, size := utf8.DecodeRuneInString(q)
	switch {
	case unicode.IsSpace(r):
		return t, size, nil
	case strings.HasPrefix(q, "//"):
		if n = strings.IndexAny(q, "\r\n"); n < 0 {
			n = len(q)
		}
		return t, n, nil
	case strings.HasPrefix(q, "/*"):
		end := strings.Index(q[2:], "*/")
		if end < 0 {
			return t, 0, errComment
		}
		return t, end + 4, nil
	case r == '\'' || r == '"':
		return text(q)
	case r == '`':
		return name(q)
	case unicode.In(r, unicode.L, unicode.Nl, unicode.Pc):
		n = strings.IndexFunc(q, func(r rune) bool { return !inWord(r) })
		if n < 0 {
			n = len(q)
		}
		return token{kind: word, text: q[:n]}, n, nil
	case r >= '0' && r <= '9':
		return token{kind: literal, text: "0"}, digits(q), nil
	case strings.HasPrefix(q, ".."):
		return token{kind: symbol, text: ".."}, 2, nil
	}
	return token{kind: symbol, text: q[:size]}, size, nil
}

// digits is the length of a number's digits. A letter behind them begins a word
// of its own: "1CREATE" must not pass for a number.
func digits(q string) int {
	n := 0
	for n < len(q) && q[n] >= '0' && q[n] <= '9' {
		n++
	}
	return n
}

// inWord reports whether r goes on a word. Currency signs do in the language; for the
// sign of parameters see tokens.
func inWord(r rune) bool {
	return r != '$' && unicode.In(r, unicode.L, unicode.Nl, unicode.Pc, unicode.Nd, unicode.M, unicode.Sc)
}

// text reads a string. A backslash takes away the meaning of what follows it.
func text(q string) (token, int, error) {
	for i := 1; i < len(q); i++ {
		switch q[i] {
		case '\\':
			i++
		case q[0]:
			return token{kind: literal, text: q[:1]}, i + 1, nil
		}
	}
	return token{}, 0, errText
}

// name reads a name in backticks; two stand for one.
func name(q string) (token, int, error) {
	var b strings.Builder
	for i := 1; i < len(q); i++ {
		if q[i] != '`' {
			b.WriteByte(q[i])
			continue
		}
		if i+1 < len(q) && q[i+1] == '`' {
			b.WriteByte('`')
			i++
			continue
		}
		return token{kind: word, text: b.String(), quoted: true}, i + 1, nil
	}
	return token{}, 0, errName
}
