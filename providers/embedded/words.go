package embedded

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/headrace/headrace/pipeline/rag"
)

// maxWord bounds what one word may be, in bytes; longer ones are cut.
const maxWord = 64

// stop are the English words that say nothing about what a text is on.
var stop = func() map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(`a an and are as at be been but by did do does for from had has have he her his
		how i if in into is it its of on or s she t that the their them they this to was we were what when where
		which who whom whose why will with you your`) {
		m[w] = true
	}
	return m
}()

// fold returns the form in which texts are compared: compatibility characters
// replaced, lower case, without accents, single spaces.
func fold(s string) string {
	plain := true
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if !plain {
		s = norm.NFC.String(strings.Map(func(r rune) rune {
			if rag.IsAccent(r) {
				return -1
			}
			return r
		}, norm.NFKD.String(s)))
		s = strings.ReplaceAll(s, "ß", "ss")
	}
	return strings.Join(strings.Fields(strings.ToLower(s)), " ")
}

// dense reports whether r belongs to a script that is written without spaces
// between words.
func dense(r rune) bool {
	if r < 0xe00 {
		return false
	}
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
		unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) || r == 'ー'
}

// pieces calls yield with every run of letters and digits of a folded text,
// dense says of which kind it is.
func pieces(s string, yield func(run string, dense bool)) {
	start, kind := -1, false
	for i, r := range s {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r):
			if start >= 0 {
				yield(s[start:i], kind)
			}
			start = -1
		case start < 0:
			start, kind = i, dense(r)
		case dense(r) != kind:
			yield(s[start:i], kind)
			start, kind = i, dense(r)
		}
	}
	if start >= 0 {
		yield(s[start:], kind)
	}
}

// terms calls yield with what a text is found by: its words without stop words,
// and each pair of neighbours where words are not told apart by spaces.
func terms(text string, yield func(term string)) {
	pieces(fold(text), func(run string, dense bool) {
		if !dense {
			if !stop[run] {
				yield(clip(run, maxWord))
			}
			return
		}
		_, first := utf8.DecodeRuneInString(run)
		if first == len(run) {
			yield(run)
			return
		}
		// before and at are where the first and the second of a pair begin.
		for before, at := 0, first; at < len(run); {
			_, size := utf8.DecodeRuneInString(run[at:])
			yield(run[before : at+size])
			before, at = at, at+size
		}
	})
}

// clip returns at most n bytes of s, whole characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// A span is a text cut into words to look for names in it. Where words are not
// told apart by spaces, each character is one.
type span struct {
	text  []byte // the words, a zero byte after each
	ends  []int  // of each word in text, its zero byte included
	runes []int  // how many characters each word has
}

// spanOf cuts at most limit words off a text.
func spanOf(text string, limit int) span {
	var s span
	add := func(word string) {
		if len(s.ends) < limit {
			s.text = append(append(s.text, word...), 0)
			s.ends = append(s.ends, len(s.text))
			s.runes = append(s.runes, utf8.RuneCountInString(word))
		}
	}
	pieces(fold(text), func(run string, dense bool) {
		if !dense {
			add(run)
			return
		}
		for len(run) > 0 {
			_, size := utf8.DecodeRuneInString(run)
			add(run[:size])
			run = run[size:]
		}
	})
	return s
}

// words returns the words from i up to, without, j as one key.
func (s *span) words(i, j int) []byte {
	start := 0
	if i > 0 {
		start = s.ends[i-1]
	}
	return s.text[start:s.ends[j-1]]
}
