package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What one file may hold. The largest gateway is far below; beyond it somebody
// tries to exhaust the loader, with aliases of aliases for one.
const (
	maxFile  = 1 << 20
	maxNodes = 100_000 // with every alias written out
	maxDepth = 64
)

type kind uint8

const (
	scalar kind = iota
	list
	mapping
)

// A node is a piece of YAML with aliases and merge keys written out, so that
// nothing behind the parser has to know them.
type node struct {
	kind      kind
	line, col int
	text      string  // of a scalar, as written
	quoted    bool    // a scalar in quotes or a block
	null      bool    // a scalar that says nothing: ~, null, or left out
	keys      []*node // of a mapping
	vals      []*node // of a mapping, or the items of a list

	expanded *expanded // set on first use
}

// get returns the value of a key, or nil.
func (n *node) get(key string) *node {
	if n.kind != mapping {
		return nil
	}
	for i, k := range n.keys {
		if k.text == key {
			return n.vals[i]
		}
	}
	return nil
}

// without returns the mapping without some keys.
func (n *node) without(keys ...string) *node {
	m := *n
	m.keys, m.vals = nil, nil
	for i, k := range n.keys {
		if !slices.Contains(keys, k.text) {
			m.keys, m.vals = append(m.keys, k), append(m.vals, n.vals[i])
		}
	}
	return &m
}

// A reader makes nodes.
type reader struct {
	file     string
	problems Problems
	left     int                 // nodes that may still be made
	open     map[*yaml.Node]bool // aliased nodes being written out
}

func (p *reader) problem(line, col int, path, format string, a ...any) {
	p.problems = append(p.problems, Problem{File: p.file, Line: line, Col: col, Path: path, Msg: fmt.Sprintf(format, a...)})
}

// parse reads the one document of a file. It returns nil if no part of it can
// be used.
func parse(file string, data []byte) (root *node, problems Problems) {
	p := &reader{file: file, left: maxNodes, open: map[*yaml.Node]bool{}}
	if len(data) > maxFile {
		p.problem(1, 1, "", "the file has %d bytes; at most %s are read", len(data), Size(maxFile))
		return nil, p.problems
	}
	data = unbroken(data)
	if line, col, what := unprintable(data); what != "" {
		p.problem(line, col, "", "%s", what)
		return nil, p.problems
	}
	doc := p.document(data)
	if doc == nil {
		return nil, p.problems
	}
	root = p.node(doc, "", 0)
	return root, p.problems
}

// document parses the text, which must hold exactly one document.
func (p *reader) document(data []byte) *yaml.Node {
	defer func() {
		if r := recover(); r != nil {
			p.problem(1, 1, "", "this is not YAML: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		p.problem(1, 1, "", "the file is empty; it needs at least providers, models and routes")
		return nil
	case err != nil:
		p.syntax(data, err)
		return nil
	}
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.syntax(data, err)
		return nil
	default:
		at := more.Content[0]
		p.problem(at.Line, at.Column, "", "a second document begins here; a file is one document, so remove the --- above")
	}
	return doc.Content[0]
}

// node writes out one piece of YAML.
func (p *reader) node(y *yaml.Node, path string, depth int) *node {
	if p.left--; p.left < 0 {
		if p.left == -1 {
			p.problem(y.Line, y.Column, path, "too much YAML: with its aliases written out the file has more than %d values", maxNodes)
		}
		return &node{line: y.Line, col: y.Column, null: true}
	}
	if depth > maxDepth {
		p.problem(y.Line, y.Column, path, "nested more than %d deep", maxDepth)
		return &node{line: y.Line, col: y.Column, null: true}
	}
	if y.Kind == yaml.AliasNode {
		return p.alias(y, path, depth)
	}
	n := &node{line: y.Line, col: y.Column}
	if y.Style&yaml.TaggedStyle != 0 {
		p.problem(y.Line, y.Column, path, "tags such as %s are not used here; remove it", y.Tag)
	}
	switch y.Kind {
	case yaml.SequenceNode:
		n.kind = list
		for i, item := range y.Content {
			n.vals = append(n.vals, p.node(item, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
	case yaml.MappingNode:
		n.kind = mapping
		p.mapping(n, y, path, depth)
	default:
		n.text = y.Value
		n.quoted = y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
		n.null = !n.quoted && y.ShortTag() == "!!null"
	}
	return n
}

// alias writes out what an alias stands for.
func (p *reader) alias(y *yaml.Node, path string, depth int) *node {
	if p.open[y.Alias] {
		p.problem(y.Line, y.Column, path, "the alias *%s stands within what it stands for", y.Value)
		return &node{line: y.Line, col: y.Column, null: true}
	}
	p.open[y.Alias] = true
	defer delete(p.open, y.Alias)
	return p.node(y.Alias, path, depth+1)
}

// mapping fills n with the keys of y, then with those it merges.
func (p *reader) mapping(n *node, y *yaml.Node, path string, depth int) {
	first := map[string]int{}
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			p.problem(k.Line, k.Column, path, "a key must be plain text")
			continue
		}
		at := join(path, k.Value)
		if k.ShortTag() == "!!merge" {
			merged = append(merged, p.merge(p.node(v, at, depth+1), at)...)
			continue
		}
		if line, dup := first[k.Value]; dup {
			p.problem(k.Line, k.Column, at, "%q is set twice; it is first set on line %d", k.Value, line)
			continue
		}
		first[k.Value] = k.Line
		n.keys = append(n.keys, &node{line: k.Line, col: k.Column, text: k.Value})
		n.vals = append(n.vals, p.node(v, at, depth+1))
	}
	for _, m := range merged {
		for i, k := range m.keys {
			if n.get(k.text) == nil {
				n.keys, n.vals = append(n.keys, k), append(n.vals, m.vals[i])
			}
		}
	}
}

// merge returns the mappings that a merge key names.
func (p *reader) merge(n *node, path string) []*node {
	switch n.kind {
	case mapping:
		return []*node{n}
	case list:
		var all []*node
		for i, item := range n.vals {
			all = append(all, p.merge(item, fmt.Sprintf("%s[%d]", path, i))...)
		}
		return all
	}
	if p.left >= 0 {
		p.problem(n.line, n.col, path, "<< merges a mapping, or a list of mappings; this is neither")
	}
	return nil
}

// join extends a path by a key.
func join(path, key string) string {
	if strings.ContainsAny(key, ". []:\n\r\t\"") || key == "" || len(key) > 64 {
		key = fmt.Sprintf("%.64q", key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
