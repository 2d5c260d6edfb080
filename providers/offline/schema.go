package offline

import (
	"bytes"
	"math"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline/chat"
)

// instance appends a small JSON value that is valid for schema. Free text in it is
// what was said, members that nothing demands are left out where others are
// demanded, and of alternatives the first is taken. Keywords that exclude (not,
// if, dependent schemas) are not looked at.
func instance(dst, schema, said []byte) []byte {
	if kind(schema) != '{' {
		return append(dst, "{}"...)
	}
	if len(said) > longest {
		said = bytes.ToValidUTF8(said[:longest], nil)
	}
	g := generator{root: schema, said: said, left: max(1, min(mostSchemas, mostRead/len(schema)))}
	return g.value(dst, schema, 0, 0)
}

// A generator writes an instance of one schema.
type generator struct {
	root, said []byte
	left       int // how many schemas may still be looked at
}

// A schema may refer to itself, and is the client's: beyond generous levels nothing
// optional is written, beyond deepest, or after mostSchemas, nothing at all, and no
// text is longer than longest bytes. Each schema may be looked through as a whole, so
// that of large ones there are fewer, for mostRead bytes in all.
const (
	generous    = 4
	deepest     = 32
	mostSchemas = 1000
	longest     = 1 << 10
	mostRead    = 16 << 20
)

// parts is a schema together with all that it includes: keywords are looked up in
// each in turn.
type parts [][]byte

func (p parts) keyword(key string) []byte {
	for _, s := range p {
		if v := chat.Get(s, key); v != nil {
			return v
		}
	}
	return nil
}

func (p parts) number(key string) (float64, bool) {
	v, err := strconv.ParseFloat(string(p.keyword(key)), 64)
	return v, err == nil
}

// flatten adds s, what it refers to, all of allOf and one alternative of each
// choice.
func (g *generator) flatten(p parts, s []byte, depth int) parts {
	if depth > deepest || g.left <= 0 || kind(s) != '{' {
		return p
	}
	g.left--
	p = append(p, s)
	if ref := chat.Get(s, "$ref"); ref != nil {
		p = g.flatten(p, g.resolve(ref), depth+1)
	}
	for sub := range chat.Array(chat.Get(s, "allOf")) {
		if p = g.flatten(p, sub, depth+1); g.left <= 0 {
			break
		}
	}
	for _, choice := range [...]string{"anyOf", "oneOf"} {
		for sub := range chat.Array(chat.Get(s, choice)) {
			if string(chat.Get(sub, "type")) != `"null"` {
				p = g.flatten(p, sub, depth+1)
				break
			}
		}
	}
	return p
}

// resolve finds what a reference into the same schema points at.
func (g *generator) resolve(ref []byte) []byte {
	path, ok := strings.CutPrefix(string(unquote(nil, ref)), "#")
	if !ok {
		return nil
	}
	at := g.root
	for key := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if key != "" {
			at = chat.Get(at, strings.NewReplacer("~1", "/", "~0", "~").Replace(key))
		}
	}
	return at
}

// value appends an instance of s. Values of one array that must differ are told
// apart by nth.
func (g *generator) value(dst, s []byte, depth, nth int) []byte {
	p := g.flatten(nil, s, 0)
	if g.left--; depth > deepest || g.left < 0 {
		return append(dst, "null"...)
	}
	if v := p.keyword("const"); v != nil {
		return append(dst, v...)
	}
	if v := g.pick(p.keyword("enum"), nth); v != nil {
		return append(dst, v...)
	}
	switch p.typ() {
	case "object":
		return g.object(dst, p, depth)
	case "array":
		return g.array(dst, p, depth)
	case "integer":
		return g.number(dst, p, true, nth)
	case "number":
		return g.number(dst, p, false, nth)
	case "boolean":
		return strconv.AppendBool(dst, nth%2 == 0)
	case "null":
		return append(dst, "null"...)
	}
	return g.text(dst, p, nth)
}

// typ is the type to write, guessed from other keywords where none is named.
func (p parts) typ() string {
	t := p.keyword("type")
	if kind(t) == '[' {
		for one := range chat.Array(t) {
			if t = one; string(one) != `"null"` {
				break
			}
		}
	}
	if kind(t) == '"' {
		return string(t[1 : len(t)-1])
	}
	for _, guess := range [...][2]string{
		{"properties", "object"},
		{"required", "object"},
		{"additionalProperties", "object"},
		{"items", "array"},
		{"prefixItems", "array"},
		{"minItems", "array"},
		{"minimum", "number"},
		{"maximum", "number"},
		{"multipleOf", "number"},
	} {
		if p.keyword(guess[0]) != nil {
			return guess[1]
		}
	}
	return "string"
}

// pick is the enumerated value that was mentioned, else the first.
func (g *generator) pick(list []byte, nth int) []byte {
	var first []byte
	i := 0
	for v := range chat.Array(list) {
		if kind(v) == '"' && nth == 0 && names(g.said, v[1:len(v)-1]) {
			return v
		}
		if i <= nth {
			first = v
		}
		i++
	}
	return first
}

func (g *generator) object(dst []byte, p parts, depth int) []byte {
	var wanted [][]byte
	for _, s := range p {
		for name := range chat.Array(chat.Get(s, "required")) {
			if kind(name) == '"' {
				wanted = append(wanted, unquote(nil, name))
			}
		}
	}
	all := len(wanted) == 0 && depth < generous
	dst = append(dst, '{')
	var done [][]byte
	add := func(name, s []byte) {
		if holds(done, name) {
			return
		}
		if len(done) > 0 {
			dst = append(dst, ',')
		}
		done = append(done, name)
		dst = append(chat.AppendString(dst, name), ':')
		dst = g.value(dst, s, depth+1, 0)
	}
	for _, s := range p {
		for name, sub := range chat.Object(chat.Get(s, "properties")) {
			if all || holds(wanted, name) {
				add(name, sub)
			}
		}
	}
	for _, name := range wanted { // those that no property describes
		add(name, p.keyword("additionalProperties"))
	}
	return append(dst, '}')
}

func holds(list [][]byte, name []byte) bool {
	for _, v := range list {
		if bytes.Equal(v, name) {
			return true
		}
	}
	return false
}

func (g *generator) array(dst []byte, p parts, depth int) []byte {
	items := p.keyword("items")
	want := 0
	if kind(items) == '{' && depth < generous {
		want = 1
	}
	if least, ok := p.number("minItems"); ok {
		want = max(want, int(min(max(0, least), 64)))
	}
	if most, ok := p.number("maxItems"); ok {
		want = int(min(float64(want), max(0, most)))
	}
	dst = append(dst, '[')
	n := 0
	for s := range chat.Array(p.keyword("prefixItems")) {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = g.value(dst, s, depth+1, 0)
		n++
	}
	for ; n < want; n++ {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = g.value(dst, items, depth+1, n)
	}
	return append(dst, ']')
}

func (g *generator) number(dst []byte, p parts, whole bool, nth int) []byte {
	step, stepped := p.number("multipleOf")
	if !stepped || step <= 0 {
		if step = 1; !whole {
			step = 0.5
		}
	}
	low, bounded := p.number("minimum")
	if v, ok := p.number("exclusiveMinimum"); ok && (!bounded || v >= low) {
		low, bounded = (math.Floor(v/step)+1)*step, true
	}
	v := 0.0
	if bounded {
		v = max(v, math.Ceil(low/step)*step)
		if !whole && !stepped {
			v = max(0, low)
		}
	}
	if high, ok := p.number("maximum"); ok && v > high {
		v = math.Floor(high/step) * step
	}
	if high, ok := p.number("exclusiveMaximum"); ok && v >= high {
		v = (math.Ceil(high/step) - 1) * step
		if bounded && v < low {
			v = (low + high) / 2
		}
	}
	if v += float64(nth) * step; math.IsInf(v, 0) || math.IsNaN(v) {
		v = 0
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

// formats are examples of the formats of strings that can be checked.
var formats = map[string]string{
	"date-time": "2025-01-01T00:00:00Z",
	"date":      "2025-01-01",
	"time":      "00:00:00Z",
	"duration":  "P1D",
	"email":     "someone@example.com",
	"hostname":  "example.com",
	"ipv4":      "192.0.2.1",
	"ipv6":      "2001:db8::1",
	"uri":       "https://example.com/",
	"uuid":      "00000000-0000-4000-8000-000000000000",
}

func (g *generator) text(dst []byte, p parts, nth int) []byte {
	if f, ok := formats[string(unquote(nil, p.keyword("format")))]; ok {
		return chat.AppendString(dst, []byte(f))
	}
	text := g.said
	if pattern := p.keyword("pattern"); pattern != nil {
		if re, err := syntax.Parse(string(unquote(nil, pattern)), syntax.Perl); err == nil {
			text = match(nil, re)
		}
	}
	if nth > 0 {
		text = strconv.AppendInt(append(bytes.Clone(text), ' '), int64(nth+1), 10)
	}
	if most, ok := p.number("maxLength"); ok {
		for len(text) > 0 && float64(utf8.RuneCount(text)) > most {
			_, size := utf8.DecodeLastRune(text)
			text = text[:len(text)-size]
		}
	}
	if least, ok := p.number("minLength"); ok {
		if lack := int(min(max(0, least), longest)) - utf8.RuneCount(text); lack > 0 {
			text = append(bytes.Clone(text), strings.Repeat("x", lack)...)
		}
	}
	return chat.AppendString(dst, text)
}

// match appends a short text that the expression matches.
func match(dst []byte, re *syntax.Regexp) []byte {
	switch re.Op {
	case syntax.OpLiteral:
		return append(dst, string(re.Rune)...)
	case syntax.OpCharClass:
		return utf8.AppendRune(dst, member1(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return append(dst, 'x')
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			dst = match(dst, sub)
		}
	case syntax.OpAlternate, syntax.OpPlus:
		return match(dst, re.Sub[0])
	case syntax.OpRepeat:
		for range min(re.Min, longest) {
			dst = match(dst, re.Sub[0])
		}
	}
	return dst
}

// member1 is a character of a class, a plain one if there is any. The class is a
// list of ranges.
func member1(ranges []rune) rune {
	for _, nice := range "a0A_-" {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= nice && nice <= ranges[i+1] {
				return nice
			}
		}
	}
	if len(ranges) > 0 {
		return ranges[0]
	}
	return 'x'
}
