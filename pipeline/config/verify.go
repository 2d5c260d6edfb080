package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

var yamlType = reflect.TypeFor[yaml.Unmarshaler]()

var snake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// Verify reports what is missing in the definition of a component: a summary, a
// YAML name or a comment for each setting, a type that can be decoded, bounds
// that can be read, defaults within them. A component's test calls it by way of
// pipetest.Conform.
func (c Component) Verify() error {
	v := &verifier{}
	if !snake.MatchString(c.name) {
		v.fault("the name %q is not snake_case", c.name)
	}
	if slices.ContainsFunc(fieldsOf(reflect.TypeFor[onOff]()), func(f field) bool { return f.key == c.name }) {
		v.fault("the name %q is taken: it switches the component beside which it stands", c.name)
	}
	d, err := describe(c.src)
	if err != nil {
		return errors.Join(append(v.faults, err)...)
	}
	t := c.defaults.Type()
	if d.of(t).summary == "" {
		v.fault("type %s has no comment in the source given to Define", t)
	}
	v.describer = d
	v.fields(t, "", map[reflect.Type]bool{})
	v.defaults(c.defaults, "")
	return errors.Join(v.faults...)
}

type verifier struct {
	*describer
	faults []error
}

func (v *verifier) fault(format string, a ...any) {
	v.faults = append(v.faults, fmt.Errorf(format, a...))
}

// fields verifies a struct type.
func (v *verifier) fields(t reflect.Type, path string, seen map[reflect.Type]bool) {
	if seen[t] {
		return
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() && key == "" && options == "", key == "-":
		case options == "inline":
		case key == "" && f.Anonymous:
			v.fault("%s.%s has no yaml name; settings of an embedded struct need the tag yaml:\",inline\"", t, f.Name)
		case key == "":
			v.fault("%s.%s has no yaml name", t, f.Name)
		case !snake.MatchString(key):
			v.fault("%s.%s: the yaml name %q is not snake_case", t, f.Name, key)
		}
	}
	taken := map[string]string{}
	for _, f := range fieldsOf(t) {
		at := join(path, f.key)
		if other, ok := taken[f.key]; ok {
			v.fault("%s: %s and %s have the same yaml name", at, other, f.name)
		}
		taken[f.key] = f.name
		if v.describer.of(f.owner).fields[f.name] == "" {
			v.fault("%s: %s.%s has no comment", at, f.owner, f.name)
		}
		v.typ(f.typ, at, seen)
		if why := guarded(func() error { return tryRules(f) }); why != nil {
			v.fault("%s: %v", at, why)
		}
	}
}

// defaults verifies the values that settings have where a file says nothing: those that
// are not zero, which stands for none, keep to their rules, however deep they lie.
func (v *verifier) defaults(d reflect.Value, path string) {
	switch d.Kind() {
	case reflect.Pointer:
		if !d.IsNil() {
			v.defaults(d.Elem(), path)
		}
	case reflect.Slice:
		for i := range d.Len() {
			v.defaults(d.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		for it := d.MapRange(); it.Next(); {
			v.defaults(it.Value(), join(path, it.Key().String()))
		}
	case reflect.Struct:
		if p := reflect.PointerTo(d.Type()); p.Implements(refType) || p.Implements(textType) || d.Type() == eachType {
			return
		}
		for _, f := range fieldsOf(d.Type()) {
			fv, at := d.FieldByIndex(f.index), join(path, f.key)
			if fv.IsZero() || guarded(func() error { return tryRules(f) }) != nil {
				continue
			}
			if why := f.check.broken(fv); why != "" {
				v.fault("%s: the default %s", at, why)
			}
			if got := fmt.Sprint(reflect.Indirect(fv).Interface()); len(f.check.enum) > 0 && !slices.Contains(f.check.enum, got) {
				v.fault("%s: the default %q is not allowed; allowed: %s", at, got, strings.Join(f.check.enum, ", "))
			}
			v.defaults(fv, at)
		}
	}
}

// tryRules panics if the rules of a field cannot be read.
func tryRules(f field) error {
	t := f.typ
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	f.check.broken(reflect.New(t).Elem())
	for _, bound := range []string{f.check.min, f.check.max} {
		if bound != "" {
			compare(reflect.New(t).Elem(), bound)
		}
	}
	return nil
}

// typ verifies that a type can be decoded.
func (v *verifier) typ(t reflect.Type, path string, seen map[reflect.Type]bool) {
	p := reflect.PointerTo(t)
	switch {
	case p.Implements(refType), t == chainType, t == eachType, t == durationType, p.Implements(textType):
		return
	case p.Implements(yamlType):
		v.fault("%s: UnmarshalYAML of %s is never called; settings that are written in a way of their own implement encoding.TextUnmarshaler", path, t)
		return
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		v.typ(t.Elem(), path, seen)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			v.fault("%s: the keys of a mapping are strings, not %s", path, t.Key())
		}
		v.typ(t.Elem(), path, seen)
	case reflect.Struct:
		v.fields(t, path, seen)
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
	default:
		v.fault("%s: a setting cannot have the type %s", path, t)
	}
}
