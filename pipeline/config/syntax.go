package config

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// unbroken has every line of data end as YAML has it end, whatever the system it was
// written on, so that all who count lines count the same.
func unbroken(data []byte) []byte {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
}

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
		case r < ' ' && r != '\n' && r != '\t', r == 0x7f, r >= 0x80 && r < 0xa0 && r != 0x85:
			return line, col, fmt.Sprintf("control character %U; remove it", r)
		}
		i += size
		col++
		if r == '\n' {
			line, col = line+1, 1
		}
	}
	return 0, 0, ""
}

// syntax reports an error of the YAML parser, which tells a line at most.
func (p *reader) syntax(data []byte, err error) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if number, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, msg = n, text
			}
		}
	}
	lines := strings.Split(string(data), "\n")
	line = min(max(errorLine(data, line, msg), 1), len(lines))
	if n, col, ok := tabbed(lines, line); ok {
		p.problem(n, col, "", "a tab cannot indent; use spaces")
		return
	}
	text := lines[line-1]
	if i := bareVariable(text); i >= 0 {
		p.problem(line, i+1, "", "within { } and [ ] a value with a variable must be in quotes, as in \"${VAR}\"")
		return
	}
	col := 1 + len(text) - len(strings.TrimLeft(text, " "))
	switch {
	case strings.HasPrefix(msg, "mapping values are not allowed"):
		col = secondColon(text, col)
		msg = "a \": \" that starts no setting; quote the value, or begin a new line"
	case strings.HasPrefix(msg, "did not find expected key"):
		msg = "expected a key here; check the indentation and the brackets above"
	case strings.HasPrefix(msg, "could not find expected ':'"):
		msg = "expected a colon and a space behind the key"
	case strings.HasPrefix(msg, unclosed):
		msg = "a bracket or a comma is missing here or above"
	case strings.HasPrefix(msg, "did not find expected '-' indicator"):
		msg = "expected another \"- \" item; check the indentation"
	case strings.HasPrefix(msg, "found unexpected end of stream"):
		msg = "a quote is not closed"
	case strings.HasPrefix(msg, "unknown anchor"):
		name := strings.TrimSuffix(strings.TrimPrefix(msg, "unknown anchor '"), "' referenced")
		line, col = find(lines, "*"+name, line, col)
		msg = fmt.Sprintf("no anchor %q stands above; mark what is meant with &%s", name, name)
	}
	p.problem(line, col, "", "this is not YAML: %s", msg)
}

const unclosed = "did not find expected ',' or '"

// errorLine finds the line of a syntax error. The parser tells the line where
// the faulty construct began, off by one for some, and none if it is the first.
// How much of the file it has read when it fails tells more, unless that is all
// of it.
func errorLine(data []byte, told int, msg string) int {
	in := &stepper{data: data}
	dec := yaml.NewDecoder(in)
	for dec.Decode(new(yaml.Node)) == nil {
	}
	switch {
	case strings.HasPrefix(msg, "could not find expected ':'"):
		return told
	case in.read < len(data):
	case strings.HasPrefix(msg, unclosed):
		return told + 1
	case strings.HasPrefix(msg, "found unexpected end of stream"):
		return told
	}
	return 1 + bytes.Count(bytes.TrimRight(data[:in.read], " \t\r\n"), []byte("\n"))
}

// stepper reads byte by byte, and so tells how far its user has come.
type stepper struct {
	data []byte
	read int
}

func (c *stepper) Read(b []byte) (int, error) {
	if c.read == len(c.data) {
		return 0, io.EOF
	}
	b[0] = c.data[c.read]
	c.read++
	return 1, nil
}

// find returns the place of the last word in lines, or else the one given.
func find(lines []string, word string, line, col int) (int, int) {
	for i, text := range slices.Backward(lines) {
		if before, _, ok := strings.Cut(text, word); ok {
			return i + 1, utf8.RuneCountInString(before) + 1
		}
	}
	return line, col
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

// bareVariable finds a "${" outside of quotes, which begins a mapping to YAML
// when it stands within one.
func bareVariable(text string) int {
	quote := byte(0)
	for i := range len(text) {
		switch c := text[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' && i > 0 && text[i-1] == ' ':
			return -1
		case strings.HasPrefix(text[i:], "${") && strings.ContainsAny(text[:i], "{["):
			return utf8.RuneCountInString(text[:i])
		}
	}
	return -1
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
