package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A scope is where in the file the loader is.
type scope struct {
	path   string   // for problems: keys and positions
	name   string   // for people: names only, as in Env.Name
	target *target  // inside an Each
	inside []string // the named chains being written out
}

func (s scope) at(key string) scope {
	s.path = join(s.path, key)
	return s
}

func (s scope) called(name string) scope {
	s.name = join(s.name, name)
	return s
}

// text returns a scalar with its variables put in. ok is false after a problem.
func (l *loader) text(n *node, path string) (text string, ok bool) {
	if n.kind != scalar {
		l.problem(n, path, "", "want a single value, not a %s", n.kind)
		return "", false
	}
	if n.expanded == nil {
		x := expand(n.text, l.getenv)
		n.expanded = &x
	}
	if err := n.expanded.err; err != nil {
		l.problem(n, path, "", "%v", err)
		return "", false
	}
	return n.expanded.text, true
}

// silent reports whether n leaves a setting at its default: it is null, or a
// variable that turned out empty. A string may well be empty, so it asks for
// null only.
func (l *loader) silent(n *node, t reflect.Type) bool {
	if n == nil || n.null {
		return true
	}
	if n.kind != scalar || t.Kind() == reflect.String && !t.Implements(textType) && !reflect.PointerTo(t).Implements(textType) {
		return false
	}
	if n.expanded == nil {
		x := expand(n.text, l.getenv)
		n.expanded = &x
	}
	return n.expanded.used && n.expanded.err == nil && n.expanded.text == ""
}

// settings decodes a mapping over the struct v and checks the result. n may be
// nil or null, at is where problems of what is missing are shown. It reports
// whether there was no problem.
func (l *loader) settings(n, at *node, v reflect.Value, s scope, u *unit) bool {
	before := len(l.problems)
	if l.silent(n, v.Type()) {
		n = &node{kind: mapping, line: at.line, col: at.col}
	}
	if n.kind != mapping {
		l.structure(n, s.path, "", "want settings, as in { key: value }, not %s", l.show(n, v.Type()))
		return false
	}
	fields := fieldsOf(v.Type())
	misspelt := l.unknown(n, fields, s.path)
	for _, f := range fields {
		fv, val := v.FieldByIndex(f.index), n.get(f.key)
		at := s.at(f.key)
		at.name = join(s.name, f.key)
		if l.silent(val, f.typ) {
			if f.check.required && fv.IsZero() && !slices.Contains(misspelt, f.key) {
				l.problem(n, s.path, "", "missing required setting %q", f.key)
			}
			continue
		}
		good := len(l.problems)
		l.value(val, fv, at, u)
		if len(l.problems) == good {
			l.obey(f, val, fv, at.path)
		}
	}
	if len(l.problems) > before || l.off {
		return len(l.problems) == before
	}
	return l.validate(n, v, s.path)
}

// unknown reports the keys of n that are no settings, and returns what they were
// probably meant to be.
func (l *loader) unknown(n *node, fields []field, path string) (meant []string) {
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.key
	}
	for _, k := range n.keys {
		switch {
		case slices.Contains(known, k.text):
		case len(known) == 0:
			l.structure(k, path, "", "unknown setting %q; there are none", k.text)
		default:
			hint := nearest(k.text, known)
			meant = append(meant, hint)
			l.structure(k, path, hint, "unknown setting %q; known: %s", k.text, strings.Join(known, ", "))
		}
	}
	return meant
}

// obey checks a decoded setting against its rules.
func (l *loader) obey(f field, n *node, v reflect.Value, path string) {
	switch {
	case f.check.required && v.IsZero() && !v.CanInt() && !v.CanUint() && !v.CanFloat() && v.Kind() != reflect.Bool,
		f.check.required && counted(v.Type()) && v.Len() == 0:
		l.problem(n, path, "", "must not be empty")
	case len(f.check.enum) > 0:
		if got := fmt.Sprint(v.Interface()); !slices.Contains(f.check.enum, got) {
			l.problem(n, path, nearest(got, f.check.enum), "%s is not allowed; allowed: %s", l.show(n, v.Type()), strings.Join(f.check.enum, ", "))
		}
	default:
		if why := f.check.broken(v); why != "" {
			l.problem(n, path, "", "%s", why)
		}
	}
}

// validate asks the settings' own Validate, if they have one.
func (l *loader) validate(n *node, v reflect.Value, path string) bool {
	if v.CanAddr() {
		v = v.Addr()
	}
	if check, ok := v.Interface().(interface{ Validate() error }); ok {
		if err := guarded(check.Validate); err != nil {
			l.problem(n, path, "", "%v", err)
			return false
		}
	}
	if t, ok := v.Interface().(Targeted); ok && l.declaring != "" && t.Targeted() {
		l.problem(n, path, "", "asks the targets of models, and the chain of %s has none: write call: { provider: NAME }, or branches that end in one", l.declaring)
		return false
	}
	return true
}

// Targeted is what the settings of a stage may be that asks the targets of the
// requested model. A chain within a provider or a store has no such model, and the
// stage no place in it.
type Targeted interface {
	// Targeted reports whether the stage asks them, as it is set up.
	Targeted() bool
}

// guarded calls f and turns its panic into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}

// value decodes n over v, whatever its type.
func (l *loader) value(n *node, v reflect.Value, s scope, u *unit) {
	switch t := v.Type(); {
	case reflect.PointerTo(t).Implements(refType):
		l.reference(n, v.Addr().Interface().(reference), s, u)
	case t == chainType:
		p := l.chain(n, s)
		u.nested = append(u.nested, p)
		v.Set(reflect.ValueOf(p.slots))
	case t == eachType:
		l.each(n, v, s, u)
	case t == durationType:
		l.duration(n, v, s.path)
	case t.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		l.value(n, v.Elem(), s, u)
	case reflect.PointerTo(t).Implements(textType):
		l.custom(n, v, s.path)
	default:
		l.plain(n, v, s, u)
	}
}
