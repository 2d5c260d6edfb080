package rag

import (
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// Matches reports whether a passage meets a filter, as a store would. It serves
// passages that no search has filtered; nil admits all.
func Matches(f *pipeline.Filter, p *pipeline.Passage) bool {
	if f == nil {
		return true
	}
	for i := range f.Must {
		if !holds(&f.Must[i], p) {
			return false
		}
	}
	for i := range f.MustNot {
		if holds(&f.MustNot[i], p) {
			return false
		}
	}
	for i := range f.Should {
		if holds(&f.Should[i], p) {
			return true
		}
	}
	return len(f.Should) == 0
}

func holds(c *pipeline.Condition, p *pipeline.Passage) bool {
	if c.Nested != nil {
		return Matches(c.Nested, p)
	}
	switch c.Field {
	case "doc_id":
		return meetsText(c, p.DocID)
	case "chunk_id":
		return meetsText(c, p.ChunkID)
	}
	v := chat.Get(p.Metadata, strings.Split(c.Field, ".")...)
	if len(v) > 0 && v[0] == '[' {
		for e := range chat.Array(v) {
			if meets(c, e) {
				return true
			}
		}
		return false
	}
	return v != nil && meets(c, v)
}

func meetsText(c *pipeline.Condition, s string) bool {
	for i := range c.Any {
		if c.Any[i].Kind == pipeline.TextValue && c.Any[i].Text == s {
			return true
		}
	}
	return false
}

// meets judges one value of the metadata.
func meets(c *pipeline.Condition, v []byte) bool {
	if s, ok := chat.Text(v); ok {
		return meetsText(c, s)
	}
	if b, ok := chat.Bool(v); ok {
		for i := range c.Any {
			if c.Any[i].Kind == pipeline.BoolValue && c.Any[i].Bool == b {
				return true
			}
		}
		return false
	}
	n, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return false
	}
	for i := range c.Any {
		if c.Any[i].Kind == pipeline.NumberValue && c.Any[i].Number == n {
			return true
		}
	}
	r := c.Range
	return r != nil && (r.GT == nil || n > *r.GT) && (r.GTE == nil || n >= *r.GTE) &&
		(r.LT == nil || n < *r.LT) && (r.LTE == nil || n <= *r.LTE)
}
