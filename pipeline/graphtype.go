package pipeline

import (
	"fmt"
	"strings"
	"unicode"
)

// The bounds of what a graph store takes, the same for all of them: a graph that was
// written into one can be written into another.
const (
	maxType     = 64      // characters of a type
	maxEntityID = 2 << 10 // bytes of the id of an entity; indexes end at 8 kB
)

// reserved are types that stores have uses of their own for, as have those that begin
// with two underscores.
func reserved(name string) bool {
	return name == "Chunk" || name == "Document" || name == GenericType || strings.HasPrefix(name, "__")
}

// isType reports whether name may be a type. It is no regular expression, since one
// over all letters takes megabytes and milliseconds of every start.
func isType(name string) bool {
	n := 0
	for _, r := range name {
		if r != '_' && !unicode.IsLetter(r) && (n == 0 || !unicode.IsNumber(r)) {
			return false
		}
		n++
	}
	return n > 0 && n <= maxType && !reserved(name)
}

// Check refuses what no graph store takes: an id that is empty or too long, and a type
// that is none. An entity may have the generic type, or none, which is the same.
func (w *GraphWrite) Check() error {
	for i := range w.Entities {
		e := &w.Entities[i]
		if e.ID == "" || len(e.ID) > maxEntityID {
			return unwritable("invalid_id", fmt.Errorf("the id of an entity has 1 to %d bytes, not %d", maxEntityID, len(e.ID)))
		}
		if e.Type != "" && e.Type != GenericType && !isType(e.Type) {
			return noType("entity", e.Type)
		}
	}
	for i := range w.Relations {
		if !isType(w.Relations[i].Type) {
			return noType("relation", w.Relations[i].Type)
		}
	}
	return nil
}

func noType(what, name string) error {
	if reserved(name) {
		return unwritable("invalid_type", fmt.Errorf("the %s type %.80q is reserved; choose another", what, name))
	}
	return unwritable("invalid_type", fmt.Errorf("the %s type %.80q is not made of up to %d letters, digits and underscores, the first no digit", what, name, maxType))
}

func unwritable(code string, err error) error {
	return &Error{Status: 400, Code: code, Fault: CallerFault, Err: err}
}

// TypeOf makes a type of what a model calls one: "real estate" is real_estate. It is
// empty if there is no letter or digit in it.
func TypeOf(words string) string {
	if isType(words) {
		return words
	}
	var b strings.Builder
	n, gap := 0, false
	for _, r := range strings.ToValidUTF8(words, " ") {
		if unicode.IsMark(r) {
			continue // an accent by itself
		}
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) {
			gap = n > 0
			continue
		}
		if gap || n == 0 && unicode.IsNumber(r) {
			b.WriteByte('_')
			n++
		}
		b.WriteRune(r)
		if gap, n = false, n+1; n >= maxType-1 {
			break
		}
	}
	name := b.String()
	if reserved(name) {
		name += "_"
	}
	return name
}
