package neo4j

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/rag"
)

const (
	separator = "\x1f"
	maxName   = 2 << 10 // bytes of an id or a name; indexes end at 8 kB

	// Bounds of what is looked up of a question.
	maxRunes = 200
	maxWords = 128 // words, or characters of scripts without spaces
	maxSpan  = 8   // words of one name
	maxTerms = 64
)

// keyOf is the key of a tenant's node. No id reaches another tenant's, since no
// tenant has the separator in its name.
func keyOf(tenant, id string) string { return tenant + separator + id }

func checkTenant(tenant string) error {
	if strings.Contains(tenant, separator) {
		return invalid("invalid_tenant", errors.New("the name of a tenant has no control characters"))
	}
	return nil
}

func invalid(code string, err error) error {
	return &pipeline.Error{Status: 400, Code: code, Fault: pipeline.CallerFault, Err: err}
}

// scopeOf is a tenant as a word that the full-text index keeps whole.
func scopeOf(tenant string) string {
	sum := sha256.Sum256([]byte(tenant))
	return "x" + hex.EncodeToString(sum[:10])
}

// normal is a name as names are compared: without case, accents and punctuation, its words
// one space apart.
func normal(name string) string {
	return compared(name, rag.IsAccent, unicode.IsMark)
}

// formerNormal is normal as it was when all marks counted as accents, by which names that were
// written then are found: a が was a か.
func formerNormal(name string) string {
	return compared(name, func(r rune) bool { return unicode.Is(unicode.Mn, r) }, func(rune) bool { return false })
}

// compared leaves out of a name what dropped says, and keeps in its words what kept says
// beside letters and numbers.
func compared(name string, dropped, kept func(rune) bool) string {
	var b strings.Builder
	space := false
	for _, r := range norm.NFKD.String(name) {
		switch {
		case dropped(r):
		case unicode.IsLetter(r) || unicode.IsNumber(r) || kept(r):
			if space && b.Len() > 0 {
				b.WriteByte(' ')
			}
			space = false
			b.WriteRune(unicode.ToLower(r))
		default:
			space = true
		}
	}
	s := b.String()
	if s == "" {
		s = strings.ToLower(strings.TrimSpace(name)) // such as C++ without its C
	}
	return clip(norm.NFC.String(s), maxName)
}

func clip(s string, size int) string {
	if len(s) > size {
		s = strings.ToValidUTF8(s[:size], "")
	}
	return s
}

// A wording is a question in the form in which names are compared.
type wording struct {
	text  string
	words [][2]int // from, to; a character of a script without spaces is a word
}

func wordingOf(question string) wording { return cut(normal(rag.Cut(question, maxRunes))) }

// cut tells the words of a text apart, which is one that names are compared in.
func cut(text string) wording {
	w := wording{text: text}
	inside := false
	for i, r := range w.text {
		end := i + utf8.RuneLen(r)
		switch {
		case r == ' ':
			inside = false
		case spaceless(r):
			w.words = append(w.words, [2]int{i, end})
			inside = false
		case inside:
			w.words[len(w.words)-1][1] = end
		default:
			w.words = append(w.words, [2]int{i, end})
			inside = true
		}
	}
	w.words = w.words[:min(len(w.words), maxWords)]
	return w
}

// span is what the words from i to before j are.
func (w *wording) span(i, j int) string { return w.text[w.words[i][0]:w.words[j-1][1]] }

// candidates are the names that may stand in it: each span of a few words.
func (w *wording) candidates() []string {
	seen := map[string]bool{}
	var out []string
	for i := range w.words {
		for j := i + 1; j <= min(i+maxSpan, len(w.words)); j++ {
			if c := w.span(i, j); !seen[c] {
				seen[c] = true
				out = append(out, c)
			}
		}
	}
	return out
}

// longest are those of the known names that stand there and not within a
// longer one: New York is not meant by New York University.
func (w *wording) longest(known func(string) bool) []string {
	var out []string
	covered := 0 // up to which word the names found so far reach
	for i := range w.words {
		for j := min(i+maxSpan, len(w.words)); j > max(i, covered); j-- {
			c := w.span(i, j)
			if !known(c) || utf8.RuneCountInString(c) == 1 && len(w.words) > 1 || j == i+1 && rag.NamesNothing(c) {
				continue // one character says too little, except by itself
			}
			covered = j
			if !slices.Contains(out, c) {
				out = append(out, c)
			}
			break
		}
	}
	return out
}

// terms is a question for the full-text index: nothing but letters and digits,
// so that nothing in it is syntax; empty if there are none that say something.
func terms(tenant, question string) string {
	fields := strings.FieldsFunc(strings.ToLower(rag.Cut(question, maxRunes)), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.Is(unicode.Mn, r)
	})
	fields = slices.DeleteFunc(fields, rag.NamesNothing) // some of which the index knows
	if len(fields) == 0 {
		return ""
	}
	// The tenant's own word is required but scores nothing.
	return "+scope:" + scopeOf(tenant) + "^0 +(" + strings.Join(fields[:min(len(fields), maxTerms)], " ") + ")"
}

func spaceless(r rune) bool {
	return r >= 0x0E00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai)
}
