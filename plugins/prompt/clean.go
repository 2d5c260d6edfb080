package prompt

import (
	"strings"
	"unicode"
)

// maxLine bounds titles, names and values, in characters.
const maxLine = 200

// clean returns text as it may stand in a block. Nothing in it can close the
// block, begin another, or pass for the heading of another passage or for a
// special token of a model. Control characters are gone but for line ends and
// tabs, and so is what changes the direction of writing or cannot be seen.
func clean(text string) string {
	if plain(text) {
		return text
	}
	// First what is not shown goes, lest it part what is looked for.
	text = strings.Map(func(r rune) rune {
		if hiddenRune(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	var out strings.Builder
	out.Grow(len(text))
	start := true // of a line
	for i, r := range text {
		switch {
		case r == '<' && (tagged(text[i+1:]) || strings.HasPrefix(text[i+1:], "|")):
			out.WriteString("‹") // looks alike, and is no sign of anything
		case r == '[' && start && digit(text[i+1:]):
			out.WriteString(" [")
		default:
			out.WriteRune(r)
		}
		start = r == '\n' || start && (r == ' ' || r == '\t')
	}
	return out.String()
}

// unheaded is a trimmed text as it may begin a line: it does not pass for the heading of a
// passage.
func unheaded(text string) string {
	if strings.HasPrefix(text, "[") && digit(text[1:]) {
		return " " + text
	}
	return text
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

// hiddenRune reports whether r is not shown, or changes how its neighbours are.
func hiddenRune(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r >= 0xE0000 && r <= 0xE007F: // tags: whole texts can hide in them
		return true
	case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x200B, r == 0xFEFF, r == 0x2028, r == 0x2029:
		return true
	}
	return unicode.IsControl(r)
}

// tagged reports whether rest, what follows a "<", goes on like a tag of ours,
// with or without what follows its hyphen.
func tagged(rest string) bool {
	rest = strings.TrimLeftFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || r == '/' })
	name := tagPrefix[:len(tagPrefix)-1]
	return len(rest) >= len(name) && strings.EqualFold(rest[:len(name)], name)
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
