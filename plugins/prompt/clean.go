package prompt

import (
	"strings"
	"unicode"
)

// maxLine bounds titles, names and values, in characters.
const maxLine = 200

// clean returns text as it may stand at the beginning of a line of a block, without
// white space at its ends. Nothing in it can close the block, begin another, or pass for
// the heading of another passage or for a special token of a model. Control characters
// are gone but for line ends and tabs, and so is what changes the direction of writing or
// cannot be seen, except what joins letters and pictures.
func clean(text string) string {
	text = strings.TrimSpace(text)
	if plain(text) {
		return text
	}
	// First what is not shown goes, lest it part what is looked for.
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if hiddenRune(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "")))
	var out strings.Builder
	out.Grow(len(text))
	start := true // of a line
	for i, r := range text {
		switch {
		case r == '<' && (tagged(text[i+1:]) || strings.HasPrefix(joined(text[i+1:]), "|")):
			out.WriteString("‹") // looks alike, and is no sign of anything
		case r == '[' && start && digit(joined(text[i+1:])):
			out.WriteString(" [")
		default:
			out.WriteRune(r)
		}
		start = r == '\n' || start && (r == ' ' || r == '\t' || joiner(r))
	}
	return out.String()
}

// plain reports whether there is nothing for clean to do.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\n' && c != '\t' || c == '<' || c == '[' || c >= 0x7f {
			return false
		}
	}
	return true
}

// hiddenRune reports whether r is not shown, or changes how its neighbours are. Whole
// texts can hide in tags and in what selects variants.
func hiddenRune(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0xAD:
		return unicode.IsControl(r)
	case r == 0x2028 || r == 0x2029:
		return true
	case joiner(r) || unicode.Is(unicode.Prepended_Concatenation_Mark, r): // the latter are shown
		return false
	}
	return unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// joiner reports whether r joins its neighbours or keeps them apart, as some languages
// and pictures of several people need it. It is not seen itself.
func joiner(r rune) bool { return r == 0x200C || r == 0x200D }

// joined is s from its first character on that is no joiner.
func joined(s string) string { return strings.TrimLeftFunc(s, joiner) }

// tagged reports whether rest, what follows a "<", goes on like a tag of ours,
// with or without what follows its hyphen.
func tagged(rest string) bool {
	name := tagPrefix[:len(tagPrefix)-1]
	met := 0
	for _, r := range rest {
		switch {
		case joiner(r), met == 0 && (unicode.IsSpace(r) || r == '/'):
			continue
		case unicode.ToLower(r) != rune(name[met]):
			return false
		}
		if met++; met == len(name) {
			return true
		}
	}
	return false
}

func digit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// cleanLine is clean for what has to stay on one line.
func cleanLine(s string) string {
	if len(s) > 4*maxLine {
		s = s[:4*maxLine]
	}
	s = strings.Join(strings.Fields(clean(s)), " ")
	n := 0
	for i := range s {
		if n++; n > maxLine {
			return s[:i] + "…"
		}
	}
	return s
}
