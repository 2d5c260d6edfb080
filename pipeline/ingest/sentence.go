package ingest

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// sentence returns the length of the first sentence of text, with the white
// space behind it.
func sentence(text string) int {
	var before rune // two characters back: what stands before a full stop
	var last rune
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		switch r {
		case '。', '！', '？', '；', '…', '︒', '｡':
			return closing(text, i)
		case '.', '!', '?':
			end := closing(text, i)
			if ends(r, last, before, text[i:], text[end:]) {
				return end
			}
		}
		before, last = last, r
	}
	return len(text)
}

// ends reports whether a mark of Latin script ends a sentence. last and before
// are the characters in front of it, rest is what follows it, and next what
// follows the white space after it.
func ends(mark, last, before rune, rest, next string) bool {
	if next == "" {
		return true
	}
	if len(next) == len(rest) { // nothing between: 3.14, example.com
		return false
	}
	if tail := rest[:len(rest)-len(next)]; !strings.ContainsFunc(tail, unicode.IsSpace) {
		return false
	}
	if r, _ := utf8.DecodeRuneInString(next); unicode.IsLower(r) {
		return false
	}
	// An initial, as in "G. Hall", ends nothing.
	initial := mark == '.' && unicode.IsUpper(last) && (before == 0 || unicode.IsSpace(before) || before == '.')
	return !initial
}

// closing returns where what closes a sentence ends: marks, quotes, brackets and
// white space from i on.
func closing(text string, i int) int {
	for i < len(text) {
		r, n := utf8.DecodeRuneInString(text[i:])
		if !strings.ContainsRune("。！？.!?…”’\"')]）】」』》", r) {
			break
		}
		i += n
	}
	for i < len(text) {
		r, n := utf8.DecodeRuneInString(text[i:])
		if !unicode.IsSpace(r) {
			break
		}
		i += n
	}
	return i
}
