package embedded

import (
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// maxColumns bounds the fields of metadata that one part has in columns. Which
// fields there are is for callers to say, so there may be any number.
const maxColumns = 128

// A column tells in which slots a field of the metadata has which value. Dead
// slots stay in it.
type column struct {
	slots map[pipeline.Value][]uint32
}

// newColumn returns the column of a field over the slots of these points.
func newColumn(field string, docs, chunks []string, meta [][]byte) *column {
	c := &column{slots: map[pipeline.Value][]uint32{}}
	for slot := range docs {
		c.add(uint32(slot), field, docs[slot], chunks[slot], meta[slot])
	}
	return c
}

func (c *column) add(slot uint32, field, doc, chunk string, meta []byte) {
	switch field {
	case "doc_id":
		c.put(slot, pipeline.Value{Kind: pipeline.TextValue, Text: doc})
		return
	case "chunk_id":
		c.put(slot, pipeline.Value{Kind: pipeline.TextValue, Text: chunk})
		return
	}
	if len(meta) == 0 {
		return
	}
	raw := chat.Get(meta, strings.Split(field, ".")...)
	if len(raw) > 0 && raw[0] == '[' {
		for e := range chat.Array(raw) {
			c.json(slot, e)
		}
		return
	}
	c.json(slot, raw)
}

func (c *column) json(slot uint32, raw []byte) {
	if len(raw) == 0 {
		return
	}
	if s, ok := chat.Text(raw); ok {
		c.put(slot, pipeline.Value{Kind: pipeline.TextValue, Text: s})
	} else if b, ok := chat.Bool(raw); ok {
		c.put(slot, pipeline.Value{Kind: pipeline.BoolValue, Bool: b})
	} else if n, err := strconv.ParseFloat(string(raw), 64); err == nil {
		c.put(slot, pipeline.Value{Kind: pipeline.NumberValue, Number: n})
	}
}

func (c *column) put(slot uint32, v pipeline.Value) { c.slots[v] = append(c.slots[v], slot) }

// bare returns v with nothing set but what its kind says.
func bare(v pipeline.Value) pipeline.Value {
	switch v.Kind {
	case pipeline.NumberValue:
		return pipeline.Value{Kind: v.Kind, Number: v.Number}
	case pipeline.BoolValue:
		return pipeline.Value{Kind: v.Kind, Bool: v.Bool}
	}
	return pipeline.Value{Kind: v.Kind, Text: v.Text}
}

// fields appends the fields that a filter is about.
func fields(dst []string, f *pipeline.Filter) []string {
	if f == nil {
		return dst
	}
	for _, list := range [...][]pipeline.Condition{f.Must, f.Should, f.MustNot} {
		for _, c := range list {
			if c.Nested != nil {
				dst = fields(dst, c.Nested)
			} else {
				dst = append(dst, c.Field)
			}
		}
	}
	return dst
}

// lacks returns the fields of a filter that p has no column of.
func (p *part) lacks(f *pipeline.Filter) []string {
	var out []string
	for _, field := range fields(nil, f) {
		if p.column[field] == nil {
			out = append(out, field)
		}
	}
	return out
}

// admits returns the slots, dead ones among them, that a filter admits. p has
// the columns for it.
func (p *part) admits(f *pipeline.Filter) bitmap {
	out := newBitmap(len(p.rows))
	if len(f.Should) > 0 {
		for i := range f.Should {
			out.or(p.holds(&f.Should[i]))
		}
	} else {
		for i := range out {
			out[i] = ^uint64(0)
		}
	}
	for i := range f.Must {
		out.and(p.holds(&f.Must[i]))
	}
	for i := range f.MustNot {
		out.without(p.holds(&f.MustNot[i]))
	}
	return out
}

// holds returns the slots for which a condition holds.
func (p *part) holds(c *pipeline.Condition) bitmap {
	if c.Nested != nil {
		return p.admits(c.Nested)
	}
	out := newBitmap(len(p.rows))
	col := p.column[c.Field]
	for _, v := range c.Any {
		for _, slot := range col.slots[bare(v)] {
			out.set(slot)
		}
	}
	if c.Range == nil {
		return out
	}
	for v, slots := range col.slots {
		if v.Kind != pipeline.NumberValue || !within(c.Range, v.Number) {
			continue
		}
		for _, slot := range slots {
			out.set(slot)
		}
	}
	return out
}

func within(r *pipeline.Range, n float64) bool {
	return (r.GT == nil || n > *r.GT) && (r.GTE == nil || n >= *r.GTE) &&
		(r.LT == nil || n < *r.LT) && (r.LTE == nil || n <= *r.LTE)
}
