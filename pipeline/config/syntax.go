package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unprintable finds the first byte that cannot be in a file, of which the YAML
// parser would not tell the place.
func unprintable(data []byte) (line, col int, what string) {
	line, col = 1, 1
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return 1, 1, "the file is UTF-16; save it as UTF-8"
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return line, col, fmt.Sprintf("byte 0x%02x is not UTF-8", data[i])
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7f, r >= 0x80 && r < 0xa0 && r != 0x85:
			return line, col, fmt.Sprintf("control character %U; remove it", r)
		}
		i += size
		col++
		if r == '\n' || r == '\r' && (i == len(data) || data[i] != '\n') {
			line, col = line+1, 1
		}
	}
	return 0, 0, ""
}

// syntax reports an error of the YAML parser, which tells a line at most.
func (p *reader) syntax(data []byte, err error) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if number, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, msg = n, text
			}
		}
	}
	lines := strings.Split(string(data), "\n")
	line = min(max(line, 1), len(lines))
	if n, col, ok := tabbed(lines, line); ok {
		p.problem(n, col, "", "a tab cannot indent; use spaces")
		return
	}
	text := lines[line-1]
	col := 1 + len(text) - len(strings.TrimLeft(text, " "))
	switch {
	case strings.HasPrefix(msg, "mapping values are not allowed"):
		col = secondColon(text, col)
		msg = "a \": \" that starts no setting; quote the value, or begin a new line"
	case strings.HasPrefix(msg, "did not find expected key"):
		msg = "expected a key here; check the indentation and the brackets above"
	case strings.HasPrefix(msg, "could not find expected ':'"):
		msg = "expected a colon and a space behind the key"
	case strings.HasPrefix(msg, "did not find expected ',' or '"):
		msg = "a bracket or a comma is missing here or above"
	case strings.HasPrefix(msg, "did not find expected '-' indicator"):
		msg = "expected another \"- \" item; check the indentation"
	case strings.HasPrefix(msg, "found unexpected end of stream"):
		msg = "a quote is not closed"
	case strings.HasPrefix(msg, "unknown anchor"):
		msg = strings.TrimSuffix(msg, " referenced") + "; an anchor stands above its aliases, as in &name"
	}
	p.problem(line, col, "", "this is not YAML: %s", msg)
}

// tabbed finds a tab in the indentation of a line, or of one of its neighbours:
// the parser sometimes names the line above or below.
func tabbed(lines []string, line int) (n, col int, ok bool) {
	for _, n := range []int{line, line + 1, line - 1} {
		if n < 1 || n > len(lines) {
			continue
		}
		text := lines[n-1]
		indent := text[:len(text)-len(strings.TrimLeft(text, " \t-"))]
		if i := strings.IndexByte(indent, '\t'); i >= 0 {
			return n, i + 1, true
		}
	}
	return 0, 0, false
}

// secondColon is the column of the second ": " in text, or else col.
func secondColon(text string, col int) int {
	i := strings.Index(text, ": ")
	if i < 0 {
		return col
	}
	j := strings.Index(text[i+1:], ": ")
	if j < 0 {
		return col
	}
	return utf8.RuneCountInString(text[:i+1+j]) + 1
}
