package ingest

import (
	"fmt"
	"strings"

	"golang.org/x/net/html"
	tag "golang.org/x/net/html/atom"
)

// page reads an HTML file as Markdown: headings stay headings, paragraphs
// paragraphs and preformatted text code. What is not shown as text is left out,
// and so are menus.
func page(file, text string) ([]Document, error) {
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read HTML: %w", err)
	}
	var p pageText
	p.node(root)
	d := Document{ID: file, Title: squeeze(p.title), Text: strings.TrimSpace(p.b.String()), Markup: true}
	if d.Title == "" {
		d.Title = p.first
	}
	return []Document{d}, nil
}

// pageText collects the text of a page.
type pageText struct {
	b     strings.Builder
	line  strings.Builder // the running paragraph
	begin string          // what goes in front of the next paragraph
	title string
	first string // heading of the first level
}

// node adds what is below n. The parser bounds how deep that is.
func (p *pageText) node(n *html.Node) {
	if n.Type == html.TextNode {
		p.line.WriteString(n.Data)
		return
	}
	for _, a := range n.Attr {
		if a.Key == "hidden" && a.Val != "until-found" {
			return
		}
	}
	switch n.DataAtom {
	case tag.Script, tag.Style, tag.Noscript, tag.Template, tag.Svg, tag.Iframe, tag.Nav, tag.Select, tag.Datalist, tag.Button, tag.Textarea:
		return
	case tag.Title:
		if p.title == "" {
			p.title = inner(n)
		}
		return
	case tag.Pre:
		p.flush()
		p.code(strings.Trim(inner(n), "\n"))
		return
	case tag.Td, tag.Th: // a row is one paragraph
		if strings.TrimSpace(p.line.String()) != "" {
			p.line.WriteString(" | ")
		}
	case tag.Br:
		p.line.WriteByte('\n')
		return
	}
	prefix, block := blocks[n.DataAtom]
	if block {
		p.flush()
	}
	if prefix != "" {
		p.begin = prefix
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		p.node(c)
	}
	if block {
		p.flush()
	}
	if prefix != "" {
		p.begin = "" // there was nothing in it
	}
}

// code adds preformatted text between fences that are longer than any in it.
func (p *pageText) code(text string) {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	p.b.WriteString(fence + "\n" + text + "\n" + fence + "\n\n")
}

// flush ends the running paragraph. The first one of a heading or an item of a list has
// its mark in front, whatever other elements it stands in.
func (p *pageText) flush() {
	text := squeeze(p.line.String())
	p.line.Reset()
	if text == "" {
		return
	}
	if p.begin == blocks[tag.H1] && p.first == "" {
		p.first = text
	}
	p.b.WriteString(p.begin + text + "\n\n")
	p.begin = ""
}

// squeeze makes each run of white space one space.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// inner is the text below n, as it is.
func inner(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// blocks are the elements that end a paragraph, with what begins theirs.
var blocks = map[tag.Atom]string{
	tag.H1: "# ", tag.H2: "## ", tag.H3: "### ", tag.H4: "#### ", tag.H5: "##### ", tag.H6: "###### ",
	tag.P: "", tag.Div: "", tag.Section: "", tag.Article: "", tag.Header: "", tag.Footer: "", tag.Main: "", tag.Aside: "",
	tag.Li: "- ", tag.Ul: "", tag.Ol: "", tag.Menu: "", tag.Dl: "", tag.Dt: "", tag.Dd: "", tag.Table: "", tag.Caption: "", tag.Tr: "",
	tag.Address: "", tag.Fieldset: "", tag.Legend: "", tag.Hgroup: "", tag.Center: "", tag.Dialog: "",
	tag.Blockquote: "", tag.Figure: "", tag.Figcaption: "", tag.Hr: "", tag.Form: "", tag.Body: "", tag.Head: "", tag.Details: "", tag.Summary: "",
}
