package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

func (s scope) item(i int) scope {
	s.path = fmt.Sprintf("%s[%d]", s.path, i)
	return s
}

// plain decodes what is made of Go's own kinds.
func (l *loader) plain(n *node, v reflect.Value, s scope, u *unit) {
	switch t := v.Type(); t.Kind() {
	case reflect.Struct:
		l.settings(n, n, v, s, u)
	case reflect.Slice:
		l.list(n, v, s, u)
	case reflect.Map:
		l.mapping(n, v, s, u)
	case reflect.String:
		if text, ok := l.text(n, s.path); ok {
			v.SetString(text)
			if t == secretType {
				l.secrets = append(l.secrets, text)
			}
		}
	case reflect.Bool:
		l.boolean(n, v, s.path)
	default:
		if !v.CanInt() && !v.CanUint() && !v.CanFloat() {
			panic(fmt.Sprintf("BUG: %s: no setting can have the type %s", s.path, t))
		}
		l.number(n, v, s.path)
	}
}

func (l *loader) list(n *node, v reflect.Value, s scope, u *unit) {
	if n.kind != list {
		l.problem(n, s.path, "", "want a list, as in [ a, b ], not %s", l.show(n, v.Type().Elem()))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.vals), len(n.vals))
	for i, item := range n.vals {
		l.item(item, out.Index(i), s.item(i), u)
	}
	v.Set(out)
}

func (l *loader) mapping(n *node, v reflect.Value, s scope, u *unit) {
	if n.kind != mapping {
		l.problem(n, s.path, "", "want a mapping, as in { key: value }, not %s", l.show(n, v.Type().Elem()))
		return
	}
	if v.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("BUG: %s: the keys of a mapping are strings", s.path))
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.keys))
	for i, k := range n.keys {
		item := reflect.New(v.Type().Elem()).Elem()
		at := s.at(k.text)
		at.name = join(s.name, k.text)
		l.item(n.vals[i], item, at, u)
		out.SetMapIndex(reflect.ValueOf(k.text).Convert(v.Type().Key()), item)
	}
	v.Set(out)
}

// item decodes one element of a list or a mapping, which has no default.
func (l *loader) item(n *node, v reflect.Value, s scope, u *unit) {
	if n.null && v.Kind() != reflect.Struct && v.Type() != chainType {
		l.problem(n, s.path, "", "must not be empty")
		return
	}
	l.value(n, v, s, u)
}

func (l *loader) boolean(n *node, v reflect.Value, path string) {
	text, ok := l.text(n, path)
	if !ok {
		return
	}
	switch lower := strings.ToLower(text); {
	case (lower == "true" || lower == "false") && l.unquoted(n):
		v.SetBool(lower == "true")
	case lower == "true" || lower == "false":
		l.problem(n, path, "", "want true or false; write %s without quotes", lower)
	case lower == "yes" || lower == "on":
		l.problem(n, path, "", "%s is not true or false; write true", l.show(n, v.Type()))
	case lower == "no" || lower == "off":
		l.problem(n, path, "", "%s is not true or false; write false", l.show(n, v.Type()))
	default:
		l.problem(n, path, "", "%s is not true or false", l.show(n, v.Type()))
	}
}

func (l *loader) number(n *node, v reflect.Value, path string) {
	text, ok := l.text(n, path)
	if !ok {
		return
	}
	want := "a whole number"
	if v.CanFloat() {
		want = "a number"
	}
	err := scan(v, text)
	switch {
	case err == nil && v.CanFloat() && strings.Trim(text, "+-.0123456789eE") != "":
		l.problem(n, path, "", "%s is not %s", l.show(n, v.Type()), want)
	case err == nil && !l.unquoted(n):
		l.problem(n, path, "", "want %s; write %s without quotes", want, text)
	case err == nil:
	case strings.HasSuffix(err.Error(), "value out of range"):
		l.problem(n, path, "", "%s is too large", l.show(n, v.Type()))
	default:
		l.problem(n, path, "", "%s is not %s", l.show(n, v.Type()), want)
	}
}

func (l *loader) duration(n *node, v reflect.Value, path string) {
	text, ok := l.text(n, path)
	if !ok {
		return
	}
	d, err := time.ParseDuration(text)
	switch {
	case err == nil:
		v.SetInt(int64(d))
	case plain(text):
		l.problem(n, path, "", "%s has no unit; write %ss or %sms", l.show(n, v.Type()), text, text)
	default:
		l.problem(n, path, "", "%s is not a duration; write 300ms, 10s or 5m", l.show(n, v.Type()))
	}
}

// custom decodes a type that knows how it is written.
func (l *loader) custom(n *node, v reflect.Value, path string) {
	text, ok := l.text(n, path)
	if !ok {
		return
	}
	u := v.Addr().Interface().(encoding.TextUnmarshaler)
	err := guarded(func() error { return u.UnmarshalText([]byte(text)) })
	if err == nil {
		return
	}
	msg := err.Error()
	if d, ok := u.(interface{ SchemaText() string }); ok && !strings.Contains(msg, d.SchemaText()) {
		msg += "; write " + d.SchemaText()
	}
	l.problem(n, path, "", "%s", msg)
}

// unquoted reports whether n may be read as something other than text. A
// variable may, in quotes or not.
func (l *loader) unquoted(n *node) bool {
	return !n.quoted || n.expanded != nil && n.expanded.used
}

// maxShown is how much of a value a problem shows, in characters.
const maxShown = 60

// placeOf stands for a long value until all secrets are known. No file and no variable
// holds the character.
func placeOf(long int) string { return fmt.Sprintf("\x00%d\x00", long) }

// show returns a value as a problem may show it, once finish has hidden what is secret.
func (l *loader) show(n *node, t reflect.Type) string {
	switch {
	case n.kind != scalar:
		return "a " + n.kind.String()
	case t == secretType:
		return masked
	case n.null:
		return "nothing"
	}
	text := n.text
	if n.expanded != nil && n.expanded.err == nil {
		text = n.expanded.text
	}
	if utf8.RuneCountInString(text) > maxShown {
		i := slices.Index(l.long, text)
		if i < 0 {
			i, l.long = len(l.long), append(l.long, text)
		}
		return placeOf(i)
	}
	return strconv.Quote(text)
}

func (k kind) String() string {
	return [...]string{"single value", "list", "mapping"}[k]
}
