package ingest

import (
	"regexp"
	"strconv"
	"strings"
)

// key is a line of front matter that names a field.
var key = regexp.MustCompile(`^([\w.-]+)\s*:(?:\s+(.*))?$`)

// frontMatter takes the block between two lines of dashes, or of plus signs as Hugo's
// pages have it, off the front of text, if it has fields in it: between two rules there is
// text otherwise. Of its fields only title and url are of use here.
func frontMatter(text string) (title, url, rest string) {
	if block, ok := strings.CutPrefix(text, "+++\n"); ok {
		return tomlMatter(text, block)
	}
	block, ok := strings.CutPrefix(text, "---\n")
	if !ok {
		return "", "", text
	}
	fields, name := map[string]string{}, ""
	for line := range strings.Lines(block) {
		block = block[len(line):]
		line = strings.TrimRight(line, " \t\n")
		m := key.FindStringSubmatch(line)
		switch {
		case line == "---", line == "...":
			if len(fields) == 0 {
				return "", "", text
			}
			return value(fields["title"]), value(fields["url"]), block
		case line == "" || line[0] == '#':
		case line[0] == ' ' || line[0] == '\t' || line[0] == '-': // belongs to the field above
			fields[name] += " " + strings.TrimSpace(line)
		case m == nil:
			return "", "", text
		default:
			name = strings.ToLower(m[1])
			fields[name] = m[2]
		}
	}
	return "", "", text // never closed: it was a rule
}

// value is a text as YAML writes it on a line, or on several, which are put into one.
func value(raw string) string {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return ""
	}
	if raw[0] == '>' || raw[0] == '|' { // with how the end is treated
		_, raw, _ = strings.Cut(raw, " ")
		return squeeze(raw)
	}
	if q := raw[0]; q == '"' || q == '\'' {
		if end := strings.LastIndexByte(raw, q); end > 0 {
			return squeeze(strings.ReplaceAll(strings.ReplaceAll(raw[1:end], "''", "'"), `\"`, `"`))
		}
	}
	raw, _, _ = strings.Cut(raw, " #")
	return squeeze(raw)
}

// setting is a line of TOML that gives a key its value, and table one that begins a table,
// to which the keys below it belong.
var (
	setting = regexp.MustCompile(`^\s*(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[\w-]+)*\s*=`)
	table   = regexp.MustCompile(`^\s*\[{1,2}[^\[\]]+\]{1,2}\s*(?:#.*)?$`)
	field   = regexp.MustCompile(`(?i)^\s*["']?(title|url)["']?\s*=\s*`)
)

// tomlMatter reads front matter in TOML; block is what follows its first line in text.
func tomlMatter(text, block string) (title, url, rest string) {
	fields := map[string]string{}
	known, top := false, true // a key or a table was seen; none of the tables has begun
	inside := ""              // what ends the text of several lines that a line stands in
	for line := range strings.Lines(block) {
		after := block[len(line):]
		bare := strings.TrimSpace(line)
		switch {
		case bare == "+++":
			if !known {
				return "", "", text
			}
			return fields["title"], fields["url"], after
		case inside != "":
			if strings.Contains(bare, inside) {
				inside = ""
			}
		case bare == "" || bare[0] == '#':
		case table.MatchString(line):
			known, top = true, false
		case setting.MatchString(line):
			known = true
			if m := field.FindStringSubmatchIndex(line); m != nil && top {
				fields[strings.ToLower(line[m[2]:m[3]])] = tomlText(block[m[1]:])
			}
			inside = unclosed(line[strings.IndexByte(line, '=')+1:])
		case !known:
			return "", "", text
		} // what else there is belongs to a list of several lines
		block = after
	}
	return "", "", text // never closed
}

// unclosed is what ends a text that goes on behind its first line, or "".
func unclosed(value string) string {
	value = strings.TrimSpace(value)
	for _, quotes := range []string{`"""`, "'''"} {
		if open, ok := strings.CutPrefix(value, quotes); ok && !strings.Contains(open, quotes) {
			return quotes
		}
	}
	return ""
}

// tomlText is the text at the beginning of rest, or "" if none is there.
func tomlText(rest string) string {
	for _, quotes := range []string{`"""`, "'''", `"`, "'"} {
		open, ok := strings.CutPrefix(rest, quotes)
		if !ok {
			continue
		}
		end := 0
		for end < len(open) && !strings.HasPrefix(open[end:], quotes) {
			if open[end] == '\\' && quotes[0] == '"' {
				end++
			}
			end++
		}
		if end >= len(open) || len(quotes) == 1 && strings.Contains(open[:end], "\n") {
			return ""
		}
		said := open[:end]
		if quotes[0] == '"' {
			said = unescaped(said)
		}
		return squeeze(said)
	}
	return ""
}

// unescaped puts in what the escapes of a TOML text stand for. One that means nothing
// stays as it is.
func unescaped(said string) string {
	var b strings.Builder
	for said != "" {
		if r, _, rest, err := strconv.UnquoteChar(said, '"'); err == nil {
			b.WriteRune(r)
			said = rest
			continue
		}
		b.WriteByte(said[0]) // as a quote that need not be escaped, or a line that goes on
		said = said[1:]
	}
	return b.String()
}
