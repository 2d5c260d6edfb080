package offline

import (
	"math"
	"unicode"
	"unicode/utf8"
)

// addFeatures adds the features of text to v, each at the place and with the sign
// that its hash says: words, the trigrams in them, so that forms of one word lie
// close, and for scripts that do not part words, characters and pairs of them.
func addFeatures(v []float32, text []byte) {
	var word []byte
	var room [64]byte
	var before rune
	word = room[:0]
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch {
		case parted(r):
			addWord(v, word)
			word = word[:0]
			addRune(v, before, r)
			before = r
			continue
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			if len(word) < len(room)-utf8.UTFMax {
				word = utf8.AppendRune(word, unicode.ToLower(r))
			}
		default:
			addWord(v, word)
			word = word[:0]
		}
		before = 0
	}
	addWord(v, word)
}

// parted reports whether r belongs to a script without spaces between words.
func parted(r rune) bool {
	return r >= 0x2E80 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul)
}

func addWord(v []float32, word []byte) {
	if len(word) == 0 {
		return
	}
	weight := float32(1)
	if len(word) < 4 {
		weight = 0.4 // mostly words that all texts have
	}
	addFeature(v, hash(word), weight)
	for i := 0; i+3 <= len(word) && len(word) > 3; i++ {
		addFeature(v, hash(word[i:i+3])^0x5bd1e995, 0.3)
	}
}

func addRune(v []float32, before, r rune) {
	addFeature(v, mix(uint64(r)), 0.4)
	if before != 0 {
		addFeature(v, mix(uint64(before)<<32|uint64(r)), 1)
	}
}

func addFeature(v []float32, h uint64, weight float32) {
	h = mix(h)
	if h>>63 == 1 {
		weight = -weight
	}
	v[h%uint64(len(v))] += weight
}

// hash is 64-bit FNV-1a.
func hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// normalise makes v a unit vector. A vector without features becomes one of its
// own, since none may be zero.
func normalise(v []float32) {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		v[0] = 1
		return
	}
	scale := float32(1 / math.Sqrt(sum))
	for i := range v {
		v[i] *= scale
	}
}
