package rag

import (
	"unicode"
	"unicode/utf8"
)

// EachWord calls yield for each word of text, in lower case. Scripts that do not
// part their words give each character and each pair of neighbours instead, with
// pair telling the two apart from words: 1 and 2, and 0 for a word. word is
// valid until yield returns.
func EachWord(text string, yield func(word []byte, pair int)) {
	var room, two [64]byte
	word := room[:0]
	flush := func() {
		if len(word) > 0 {
			yield(word, 0)
			word = word[:0]
		}
	}
	var before rune
	for _, r := range text {
		switch {
		case unparted(r):
			flush()
			yield(utf8.AppendRune(two[:0], r), 1)
			if before != 0 {
				yield(utf8.AppendRune(utf8.AppendRune(two[:0], before), r), 2)
			}
			before = r
			continue
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r):
			if len(word) < len(room)-utf8.UTFMax {
				word = utf8.AppendRune(word, unicode.ToLower(r))
			}
		case (r == '\'' || r == '’') && len(word) > 0:
			// It's one word.
		default:
			flush()
		}
		before = 0
	}
	flush()
}

// unparted reports whether r belongs to a script without spaces between words.
func unparted(r rune) bool {
	return r >= 0x0E00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai)
}

// IsStopWord reports whether an English word says next to nothing by itself.
func IsStopWord(word []byte) bool { return stopWords[string(word)] }

// IsAccent reports whether r says no more than how a letter is read: the accents of Latin,
// Greek and Cyrillic, the vowel points of Hebrew and Arabic, which most texts leave out,
// the hamza of Arabic, and the stroke that makes its words longer. Marks of other scripts
// make other letters: か is not が.
func IsAccent(r rune) bool {
	switch {
	case r < 0x300:
		return false
	case r <= 0x36f:
		return true
	case r < 0x591 || r > 0x6ed:
		return false
	}
	return r == 0x640 || unicode.Is(unicode.Mn, r)
}

// NamesNothing reports whether a word, in lower case, is no name by itself, though an
// entity may be called so: models take pronouns for entities, and they are in every question.
func NamesNothing(word string) bool {
	return stopWords[word] || word == "whom" || word == "whose" || word == "why"
}

var stopWords = map[string]bool{
	"a": true, "about": true, "after": true, "all": true, "also": true, "an": true, "and": true, "any": true, "are": true,
	"as": true, "at": true, "be": true, "been": true, "but": true, "by": true, "can": true, "did": true, "do": true,
	"does": true, "for": true, "from": true, "had": true, "has": true, "have": true, "he": true, "her": true, "his": true,
	"how": true, "i": true, "if": true, "in": true, "into": true, "is": true, "it": true, "its": true, "me": true,
	"my": true, "no": true, "not": true, "of": true, "on": true, "or": true, "our": true, "s": true, "she": true,
	"so": true, "such": true, "t": true, "than": true, "that": true, "the": true, "their": true, "them": true,
	"then": true, "there": true, "these": true, "they": true, "this": true, "to": true, "was": true, "we": true,
	"were": true, "what": true, "when": true, "where": true, "which": true, "who": true, "will": true, "with": true,
	"would": true, "you": true, "your": true,
}

// Stem cuts the commonest English endings off a word, so that its forms meet.
func Stem(word []byte) []byte {
	n := len(word)
	switch {
	case n > 4 && ends(word, "ies"):
		return append(word[:n-3], 'y')
	case n > 4 && ends(word, "sses"):
		return word[:n-2]
	case n > 3 && ends(word, "s") && !ends(word, "ss") && !ends(word, "us") && !ends(word, "is"):
		return word[:n-1]
	case n > 5 && ends(word, "ing"):
		return word[:n-3]
	case n > 4 && ends(word, "ed"):
		return word[:n-2]
	}
	return word
}

func ends(word []byte, with string) bool {
	return len(word) >= len(with) && string(word[len(word)-len(with):]) == with
}
