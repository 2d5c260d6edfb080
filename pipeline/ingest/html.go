package ingest

import (
	"fmt"
	"strings"

	"golang.org/x/net/html"
	tag "golang.org/x/net/html/atom"
)

// maxDepth bounds how deep elements may lie in each other.
const maxDepth = 2000

// page reads an HTML file as Markdown: headings stay headings, paragraphs
// paragraphs and preformatted text code. What is not shown as text is left out,
// and so are menus.
func page(file, text string) ([]Document, error) {
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read HTML: %w", err)
	}
	var p pageText
	if err := p.node(root, 0); err != nil {
		return nil, err
	}
	d := Document{ID: file, Title: squeeze(p.title), Text: strings.TrimSpace(p.b.String()), Markup: true}
	if d.Title == "" {
		d.Title = p.first
	}
	if d.Text == "" {
		return nil, nil
	}
	return []Document{d}, nil
}

// pageText collects the text of a page.
type pageText struct {
	b     strings.Builder
	line  strings.Builder // the running paragraph
	title string
	first string // heading of the first level
}

func (p *pageText) node(n *html.Node, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("read HTML: elements lie more than %d deep in each other", maxDepth)
	}
	if n.Type == html.TextNode {
		p.line.WriteString(n.Data)
		return nil
	}
	switch n.DataAtom {
	case tag.Script, tag.Style, tag.Noscript, tag.Template, tag.Svg, tag.Iframe, tag.Nav, tag.Select, tag.Button, tag.Textarea:
		return nil
	case tag.Title:
		if p.title == "" {
			p.title = inner(n)
		}
		return nil
	case tag.Pre:
		p.flush("")
		p.b.WriteString("```\n" + strings.Trim(inner(n), "\n") + "\n```\n\n")
		return nil
	case tag.Br:
		p.line.WriteByte('\n')
		return nil
	}
	prefix, block := blocks[n.DataAtom]
	if block {
		p.flush("")
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if err := p.node(c, depth+1); err != nil {
			return err
		}
	}
	if block {
		if heading := p.flush(prefix); n.DataAtom == tag.H1 && p.first == "" {
			p.first = heading
		}
	}
	return nil
}

// flush ends the running paragraph and returns it.
func (p *pageText) flush(prefix string) string {
	text := squeeze(p.line.String())
	p.line.Reset()
	if text != "" {
		p.b.WriteString(prefix + text + "\n\n")
	}
	return text
}

// squeeze makes each run of white space one space.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// inner is the text below n, as it is. Nesting was bounded by what the parser
// itself allows within such elements.
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
	tag.Li: "- ", tag.Ul: "", tag.Ol: "", tag.Dl: "", tag.Dt: "", tag.Dd: "", tag.Table: "", tag.Tr: "",
	tag.Blockquote: "", tag.Figure: "", tag.Figcaption: "", tag.Hr: "", tag.Form: "", tag.Body: "", tag.Head: "", tag.Details: "", tag.Summary: "",
}
