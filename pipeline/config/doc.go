package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
)

// prose is what comments say about the struct types of one source file.
type prose map[string]typeProse

// typeProse is what comments say about one type.
type typeProse struct {
	summary string
	fields  map[string]string // by the name of the Go field
}

// proseOf reads the comments in Go source.
func proseOf(src string) (prose, error) {
	p := prose{}
	f, err := parser.ParseFile(token.NewFileSet(), "", src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return p, fmt.Errorf("parse the source given to Define: %w", err)
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			t := spec.(*ast.TypeSpec)
			s, ok := t.Type.(*ast.StructType)
			if !ok {
				continue
			}
			doc := t.Doc
			if doc == nil {
				doc = g.Doc
			}
			p[t.Name.Name] = typeProse{summary: text(doc), fields: fieldProse(s)}
		}
	}
	return p, nil
}

func fieldProse(s *ast.StructType) map[string]string {
	out := map[string]string{}
	for _, f := range s.Fields.List {
		doc := f.Doc
		if doc == nil {
			doc = f.Comment
		}
		for _, n := range f.Names {
			out[n.Name] = text(doc)
		}
	}
	return out
}

// text returns a comment with one line per paragraph.
func text(c *ast.CommentGroup) string {
	var out []string
	for paragraph := range strings.SplitSeq(c.Text(), "\n\n") {
		if words := strings.Fields(paragraph); len(words) > 0 {
			out = append(out, strings.Join(words, " "))
		}
	}
	return strings.Join(out, "\n\n")
}

// A describer finds what comments say about types, those of a component's own
// source first.
type describer struct {
	own    prose
	others map[reflect.Type]prose
}

func describe(src string) (*describer, error) {
	own, err := proseOf(src)
	return &describer{own: own, others: map[reflect.Type]prose{}}, err
}

// of returns what is said about a struct type. One that is declared in another
// file than the component's Config can have a method ConfigSource that returns
// the source it is in.
func (d *describer) of(t reflect.Type) typeProse {
	name, _, _ := strings.Cut(t.Name(), "[") // without type arguments
	if s, ok := reflect.Zero(t).Interface().(interface{ ConfigSource() string }); ok {
		p, seen := d.others[t]
		if !seen {
			p, _ = proseOf(s.ConfigSource())
			d.others[t] = p
		}
		return p[name]
	}
	return d.own[name]
}

// field returns what is said about a setting, without the Go field's name at
// the front, for users know it by another.
func (d *describer) field(f field) string {
	said := d.of(f.owner).fields[f.name]
	rest, ok := strings.CutPrefix(said, f.name+" ")
	if !ok {
		return said
	}
	return "`" + f.key + "` " + rest
}

// summary returns what is said about a component, with the component's name in
// place of its type's.
func (d *describer) summary(t reflect.Type, name string) string {
	said := d.of(t).summary
	typ, _, _ := strings.Cut(t.Name(), "[")
	rest, ok := strings.CutPrefix(said, typ+" ")
	if !ok {
		return said
	}
	return "`" + name + "` " + rest
}
