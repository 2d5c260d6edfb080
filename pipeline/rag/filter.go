package rag

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// What a filter may hold at most.
const (
	maxConditions = 64
	maxValues     = 256
	maxNesting    = 4
	maxField      = 256
)

// ParseFilter reads a filter out of one valid JSON value, in either of two forms:
//
//	{"lang": "en", "year": [2024, 2025], "score": {"gte": 0.5}}
//	{"must": [{"key": "lang", "match": {"value": "en"}}], "must_not": […], "should": […]}
//
// The second is Qdrant's, with match by value, any or except, with range, and
// with filters inside. An empty filter is nil. param names the field in errors,
// which have status 400 and code bad_filter.
func ParseFilter(raw []byte, param string) (*pipeline.Filter, error) {
	if string(raw) == "null" {
		return nil, nil
	}
	p := filterParser{param: param}
	if !chat.Paired(raw) {
		return nil, p.bad(`a \u escape stands for half of a surrogate pair, without the other half`)
	}
	f, err := p.filter(raw, 0)
	if err != nil || len(f.Must)+len(f.Should)+len(f.MustNot) == 0 {
		return nil, err
	}
	return f, nil
}

type filterParser struct {
	param      string
	conditions int
}

func (p *filterParser) bad(format string, args ...any) error {
	return &pipeline.Error{
		Status: 400, Code: "bad_filter", Param: p.param, Fault: pipeline.CallerFault,
		Err: fmt.Errorf(p.param+": "+format, args...),
	}
}

func (p *filterParser) filter(raw []byte, depth int) (*pipeline.Filter, error) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, p.bad("a filter is an object")
	}
	if depth > maxNesting {
		return nil, p.bad("filters are nested more than %d deep", maxNesting)
	}
	f := &pipeline.Filter{}
	if !structured(raw) {
		for k, v := range chat.Object(raw) {
			c, err := p.flat(string(k), v)
			if err != nil {
				return nil, err
			}
			f.Must = append(f.Must, c)
		}
		return f, nil
	}
	for k, v := range chat.Object(raw) {
		list := map[string]*[]pipeline.Condition{"must": &f.Must, "should": &f.Should, "must_not": &f.MustNot}[string(k)]
		if list == nil {
			return nil, p.bad("%q cannot stand beside must, should and must_not", shorten(k))
		}
		if string(v) == "null" {
			continue
		}
		if err := p.clauses(list, v, depth); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func structured(raw []byte) bool {
	for k := range chat.Object(raw) {
		switch string(k) {
		case "must", "should", "must_not":
			return true
		}
	}
	return false
}

// clauses reads one condition or an array of them.
func (p *filterParser) clauses(list *[]pipeline.Condition, v []byte, depth int) error {
	add := func(raw []byte) error {
		c, err := p.clause(raw, depth)
		if err == nil {
			*list = append(*list, c)
		}
		return err
	}
	if v[0] != '[' {
		return add(v)
	}
	for raw := range chat.Array(v) {
		if err := add(raw); err != nil {
			return err
		}
	}
	return nil
}

// clause reads one condition of Qdrant's form.
func (p *filterParser) clause(raw []byte, depth int) (pipeline.Condition, error) {
	var c pipeline.Condition
	if raw[0] != '{' {
		return c, p.bad("a condition is an object")
	}
	if structured(raw) {
		if err := p.more(); err != nil {
			return c, err
		}
		f, err := p.filter(raw, depth+1)
		c.Nested = f
		return c, err
	}
	var match, within []byte
	for k, v := range chat.Object(raw) {
		switch string(k) {
		case "key":
			c.Field, _ = chat.Text(v)
		case "match":
			match = v
		case "range":
			within = v
		default:
			return c, p.bad("a condition has key and match or range, and no %q", shorten(k))
		}
	}
	if err := p.count(c.Field); err != nil {
		return c, err
	}
	if (match == nil) == (within == nil) {
		return c, p.bad("the condition on %q needs either match or range", c.Field)
	}
	if within != nil {
		return p.between(c.Field, within)
	}
	return p.match(c.Field, match)
}

func (p *filterParser) match(field string, raw []byte) (pipeline.Condition, error) {
	c := pipeline.Condition{Field: field}
	for k, v := range chat.Object(raw) {
		var err error
		switch string(k) {
		case "value":
			if v[0] == '[' {
				return c, p.bad("match.value of %q is one value; write any for several", field)
			}
			c.Any, err = p.values(field, v)
		case "any":
			if v[0] != '[' {
				return c, p.bad("match.any of %q is an array", field)
			}
			c.Any, err = p.values(field, v)
		case "except":
			var any []pipeline.Value
			any, err = p.values(field, v)
			c = pipeline.Condition{Nested: &pipeline.Filter{MustNot: []pipeline.Condition{{Field: field, Any: any}}}}
		default:
			return c, p.bad("match of %q knows value, any and except, not %q", field, shorten(k))
		}
		return c, err
	}
	return c, p.bad("match of %q needs value, any or except", field)
}

// flat reads one member of the short form.
func (p *filterParser) flat(field string, v []byte) (pipeline.Condition, error) {
	if err := p.count(field); err != nil {
		return pipeline.Condition{}, err
	}
	if v[0] == '{' {
		return p.between(field, v)
	}
	any, err := p.values(field, v)
	return pipeline.Condition{Field: field, Any: any}, err
}

// count bounds the work that a condition causes.
func (p *filterParser) count(field string) error {
	if field == "" || len(field) > maxField || strings.ContainsRune(field, 0) {
		return p.bad("a condition needs the name of a field, of at most %d bytes", maxField)
	}
	return p.more()
}

// more counts a condition, or a group of some.
func (p *filterParser) more() error {
	if p.conditions++; p.conditions > maxConditions {
		return p.bad("more than %d conditions and groups", maxConditions)
	}
	return nil
}

// values reads one value, or an array of them that is not empty.
func (p *filterParser) values(field string, v []byte) ([]pipeline.Value, error) {
	if v[0] != '[' {
		one, err := p.value(field, v)
		return []pipeline.Value{one}, err
	}
	var list []pipeline.Value
	for e := range chat.Array(v) {
		one, err := p.value(field, e)
		if err != nil {
			return nil, err
		}
		if list = append(list, one); len(list) > maxValues {
			return nil, p.bad("%q has more than %d values", field, maxValues)
		}
	}
	if len(list) == 0 {
		return nil, p.bad("%q has no values, which nothing can meet", field)
	}
	return list, nil
}

func (p *filterParser) value(field string, v []byte) (pipeline.Value, error) {
	if s, ok := chat.Text(v); ok {
		return pipeline.Value{Kind: pipeline.TextValue, Text: s}, nil
	}
	if b, ok := chat.Bool(v); ok {
		return pipeline.Value{Kind: pipeline.BoolValue, Bool: b}, nil
	}
	if n, err := strconv.ParseFloat(string(v), 64); err == nil {
		return pipeline.Value{Kind: pipeline.NumberValue, Number: n}, nil
	}
	return pipeline.Value{}, p.bad("a value of %q is a string, a number or true or false", field)
}

func (p *filterParser) between(field string, raw []byte) (pipeline.Condition, error) {
	r := &pipeline.Range{}
	empty := true
	for k, v := range chat.Object(raw) {
		side := map[string]**float64{"gt": &r.GT, "gte": &r.GTE, "lt": &r.LT, "lte": &r.LTE}[string(k)]
		if side == nil {
			return pipeline.Condition{}, p.bad("the range of %q knows gt, gte, lt and lte, not %q", field, shorten(k))
		}
		if string(v) == "null" {
			continue
		}
		n, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return pipeline.Condition{}, p.bad("%s of %q is a number", k, field)
		}
		*side, empty = &n, false
	}
	if empty {
		return pipeline.Condition{}, p.bad("the range of %q has no bound", field)
	}
	return pipeline.Condition{Field: field, Range: r}, nil
}

// shorten cuts what a client wrote for a message.
func shorten(b []byte) string { return Cut(string(b), 40) }
