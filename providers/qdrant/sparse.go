package qdrant

import (
	"hash/fnv"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// BM25 as measured on the judging sets: a low k1 and b, since passages are cut
// to similar lengths. The average length is a constant, so that a point does
// not depend on when it was written; idf is the server's part.
const (
	saturation    = 0.9
	lengthShare   = 0.4
	averageLength = 128

	// maxTerms bounds a query; further words add little but work.
	maxTerms = 256
)

// document is the sparse vector of a passage: how much each of its words says
// about it.
func document(text string) (indices []uint32, values []float32) {
	counts, length := count(text)
	norm := saturation * (1 - lengthShare + lengthShare*float64(length)/averageLength)
	for _, i := range ordered(counts) {
		tf := float64(counts[i])
		indices = append(indices, i)
		values = append(values, float32(tf*(saturation+1)/(tf+norm)))
	}
	return indices, values
}

// question is the sparse vector of a query: each word counts as often as it
// stands there.
func question(text string) (indices []uint32, values []float32) {
	counts, _ := count(text)
	for _, i := range ordered(counts) {
		if len(indices) == maxTerms {
			break
		}
		indices = append(indices, i)
		values = append(values, float32(counts[i]))
	}
	return indices, values
}

func count(text string) (counts map[uint32]int, length int) {
	counts = map[uint32]int{}
	tokens(text, func(token string) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(token))
		counts[h.Sum32()]++
		length++
	})
	return counts, length
}

func ordered(counts map[uint32]int) []uint32 {
	list := make([]uint32, 0, len(counts))
	for i := range counts {
		list = append(list, i)
	}
	slices.Sort(list)
	return list
}

// tokens yields the words of a text in lower case and without what only tells
// the width of letters, and of scripts written
// without spaces each pair of neighbouring characters. A character that stands
// alone between others is a token by itself.
func tokens(text string, yield func(token string)) {
	text = strings.ToLower(norm.NFKC.String(text))
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case spaceless(r):
			i = pairs(text, i, yield)
		case wordly(r):
			end := i + size
			for end < len(text) {
				r, size := utf8.DecodeRuneInString(text[end:])
				if !wordly(r) || spaceless(r) {
					break
				}
				end += size
			}
			yield(text[i:end])
			i = end
		default:
			i += size
		}
	}
}

// pairs yields the pairs of one run that begins at i, and returns its end.
func pairs(text string, i int, yield func(string)) int {
	start, last := i, i // of the run, of the character before
	for i < len(text) {
		r, size := utf8.DecodeRuneInString(text[i:])
		if !spaceless(r) {
			break
		}
		if i > start {
			yield(text[last : i+size])
		}
		last = i
		i += size
	}
	if last == start {
		yield(text[start:i])
	}
	return i
}

func wordly(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.Mn, r)
}

func spaceless(r rune) bool {
	return r >= 0x0E00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai)
}
