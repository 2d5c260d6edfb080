package ingest

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Splitter cuts texts into chunks. Sizes are in characters.
type Splitter struct {
	Size    int  // of a chunk, at most; at least 1
	Overlap int  // of a chunk with the one before it, at most; less than Size
	Markup  bool // the text is Markdown: it has headings and fenced code
}

// A Span is one chunk of a text: text[Start:End], which neither begins nor ends
// with white space and cuts no character.
type Span struct {
	Start, End int
	Heading    string // the headings that Start stands under, outermost first
}

// How good a place is to end a chunk after an atom.
const (
	atWord = iota
	atSentence
	atParagraph
	atHeading
)

// An atom is a piece of text that is not cut. Atoms lie end to end.
type atom struct {
	start, end int
	chars      int
	tail       int // of these, white space at the end
	border     int // what its end is
	heading    string
}

// Split returns the chunks in order. Together they cover everything but white
// space. Chunks end at the end of a section, a paragraph or a sentence if one is
// within reach, and never share text across a heading.
func (s Splitter) Split(text string) []Span {
	s.Size = max(s.Size, 1)
	s.Overlap = min(max(s.Overlap, 0), s.Size-1)
	atoms := s.atoms(text)
	var out []Span
	for first, fresh := 0, 0; fresh < len(atoms); {
		end := s.fill(atoms, first, fresh)
		if span, ok := trim(text, atoms[first].start, atoms[end-1].end); ok {
			span.Heading = atoms[first].heading
			out = append(out, span)
		}
		fresh = end
		first = s.back(atoms, first, end)
	}
	return out
}

// fill returns the end of the chunk that begins with atom first and has at least
// atom fresh in it, which the chunk before had not.
func (s Splitter) fill(atoms []atom, first, fresh int) int {
	chars, end := 0, first
	for end < len(atoms) && (chars+atoms[end].chars-atoms[end].tail <= s.Size || end <= first) {
		chars += atoms[end].chars
		end++
	}
	if end == len(atoms) {
		return end
	}
	// Give up to half of the chunk for a better place to end it.
	best, kept := end, chars
	for i := end; i > fresh; i-- {
		if kept*2 < s.Size {
			break
		}
		if atoms[i-1].border > atoms[best-1].border {
			best = i
		}
		kept -= atoms[i-1].chars
	}
	return best
}

// back returns the atom that the chunk after end begins with: whole sentences of
// the one before it, as far as they fit beside the atom that is new.
func (s Splitter) back(atoms []atom, first, end int) int {
	if end >= len(atoms) {
		return end
	}
	begin, shared := end, 0
	for i := end; i > first+1 && atoms[i-1].border < atHeading; i-- {
		shared += atoms[i-1].chars
		if shared > s.Overlap || shared+atoms[end].chars-atoms[end].tail > s.Size {
			break
		}
		if atoms[i-2].border >= atSentence {
			begin = i - 1
		}
	}
	return begin
}

func trim(text string, start, end int) (Span, bool) {
	piece := strings.TrimLeftFunc(text[start:end], unicode.IsSpace)
	start = end - len(piece)
	piece = strings.TrimRightFunc(piece, unicode.IsSpace)
	return Span{Start: start, End: start + len(piece)}, piece != ""
}

// atoms cuts text into sections, these into paragraphs and fenced code, these
// into sentences, and what is still too long at words.
func (s Splitter) atoms(text string) []atom {
	c := cutter{size: s.Size, text: text}
	var path headings
	fence, blank := "", false
	block := 0 // where the running paragraph or fence begins
	for at := 0; at < len(text); {
		next := len(text)
		if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line := strings.TrimSpace(text[at:next])
		switch {
		case fence != "":
			if closes(line, fence) {
				c.block(block, next, true)
				fence, block = "", next
			}
		case s.Markup && opens(line) != "":
			c.block(block, at, false)
			fence, block = opens(line), at
		case s.Markup && isHeading(text[at:next]):
			c.block(block, at, false)
			level, title := heading(text[at:next])
			c.section(&path, level, title, at, next)
			block = next
		case s.Markup && !blank && underline(text[at:next]) > 0 && titled(text[block:at]):
			c.section(&path, underline(text[at:next]), strings.TrimSpace(text[block:at]), block, next)
			block = next
		case line == "":
			blank = true
		case blank:
			c.block(block, at, false)
			block = at
		}
		if line != "" {
			blank = false
		}
		at = next
	}
	c.block(block, len(text), fence != "")
	return c.atoms
}

// opens returns the marks that open fenced code, or "".
func opens(line string) string {
	for _, mark := range []string{"`", "~"} {
		if rest := strings.TrimLeft(line, mark); len(line)-len(rest) >= 3 && !strings.Contains(rest, mark) {
			return line[:len(line)-len(rest)]
		}
	}
	return ""
}

// closes reports whether a line ends the code that began with fence.
func closes(line, fence string) bool {
	return strings.HasPrefix(line, fence) && strings.Trim(line, fence[:1]) == ""
}

func isHeading(line string) bool {
	level, _ := heading(line)
	return level > 0
}

// heading reads a line such as "## Mills ##". Its level is 0 if it is none: with four
// spaces in front it is code.
func heading(line string) (level int, title string) {
	line, ok := outdent(line)
	rest := strings.TrimLeft(line, "#")
	n := len(line) - len(rest)
	if !ok || n == 0 || n > 6 || rest == "" || rest[0] != ' ' && rest[0] != '\t' {
		return 0, ""
	}
	title = strings.TrimSpace(rest)
	// Marks at the end belong to the title if nothing parts them from it, as in C#.
	if bare := strings.TrimRight(title, "#"); bare == "" || strings.HasSuffix(bare, " ") || strings.HasSuffix(bare, "\t") {
		title = strings.TrimSpace(bare)
	}
	return n, title
}

// underline is the level of the heading that a line of = or - makes of the line above
// it, 0 if the line is something else.
func underline(line string) int {
	line, ok := outdent(line)
	switch {
	case !ok || line == "":
		return 0
	case strings.Trim(line, "=") == "":
		return 1
	case strings.Trim(line, "-") == "":
		return 2
	}
	return 0
}

// outdent takes off what is in front of a line and behind it. It reports false if that
// makes the line code.
func outdent(line string) (string, bool) {
	line = strings.TrimRightFunc(line, unicode.IsSpace)
	bare := strings.TrimLeft(line, " ")
	return bare, len(line)-len(bare) < 4
}

// titled reports whether a line below this paragraph makes it a heading: it has one
// line, and is no item of a list, quotation or row of a table.
func titled(paragraph string) bool {
	line, ok := outdent(strings.TrimLeft(paragraph, "\n"))
	return ok && line != "" && !strings.Contains(line, "\n") && !marked.MatchString(line)
}

var marked = regexp.MustCompile(`^(?:[>|]|(?:[-*+]|[0-9]+[.)])(?:\s|$))`)

// headings are those that a place stands under.
type headings struct {
	levels []int
	texts  []string
}

func (h *headings) enter(level int) {
	n := len(h.levels)
	for n > 0 && h.levels[n-1] >= level {
		n--
	}
	h.levels, h.texts = h.levels[:n], h.texts[:n]
}

func (h *headings) add(level int, text string) {
	h.enter(level)
	h.levels, h.texts = append(h.levels, level), append(h.texts, text)
}

func (h *headings) String() string { return strings.Join(h.texts, " > ") }

// A cutter collects atoms.
type cutter struct {
	size    int
	text    string
	heading string
	atoms   []atom
}

func (c *cutter) add(start, end, border int) {
	all, bare := utf8.RuneCountInString(c.text[start:end]), c.chars(start, end)
	switch n := len(c.atoms); {
	case bare > 0:
		c.atoms = append(c.atoms, atom{start, end, all, all - bare, border, c.heading})
	case n > 0: // white space belongs to what it follows
		last := &c.atoms[n-1]
		last.end, last.chars, last.tail, last.border = end, last.chars+all, last.tail+all, max(last.border, border)
	}
}

// chars counts a piece without the white space at its end.
func (c *cutter) chars(start, end int) int {
	return utf8.RuneCountInString(strings.TrimRightFunc(c.text[start:end], unicode.IsSpace))
}

// end says what the last atom ends.
func (c *cutter) end(border int) {
	if n := len(c.atoms); n > 0 {
		c.atoms[n-1].border = border
	}
}

// section begins a section with its heading. A chunk that begins with a heading need not
// be told of it twice.
func (c *cutter) section(path *headings, level int, title string, start, end int) {
	c.end(atHeading)
	path.enter(level)
	c.heading = path.String()
	c.sentence(start, end)
	c.end(atWord)
	path.add(level, title)
	c.heading = path.String()
}

// block adds a paragraph or, whole where it fits, code.
func (c *cutter) block(start, end int, code bool) {
	if start >= end {
		return
	}
	switch {
	case code && c.chars(start, end) <= c.size:
		c.add(start, end, atParagraph)
	case code:
		for start < end {
			next := end
			if i := strings.IndexByte(c.text[start:end], '\n'); i >= 0 {
				next = start + i + 1
			}
			c.words(start, next)
			c.end(atSentence)
			start = next
		}
	default:
		for start < end {
			next := start + sentence(c.text[start:end])
			c.sentence(start, next)
			start = next
		}
	}
	c.end(atParagraph)
}

// sentence adds one sentence.
func (c *cutter) sentence(start, end int) {
	c.words(start, end)
	c.end(atSentence)
}

// words adds a piece, in parts that fit.
func (c *cutter) words(start, end int) {
	for start < end {
		if end-start <= 4*c.size+64 && c.chars(start, end) <= c.size {
			c.add(start, end, atWord)
			return
		}
		cut, space, chars := end, -1, 0
		for i, r := range c.text[start:end] {
			if chars == c.size {
				cut = start + i
				break
			}
			chars++
			if unicode.IsSpace(r) {
				space = start + i + utf8.RuneLen(r)
			}
		}
		if cut < end && space > start+(cut-start)/2 {
			cut = space
		}
		c.add(start, cut, atWord)
		start = cut
	}
}
