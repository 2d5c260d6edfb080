package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

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
	d, err := describe(c.src)
	if err != nil {
		return errors.Join(append(v.faults, err)...)
	}
	t := c.defaults.Type()
	if d.of(t).summary == "" {
		v.fault("type %s has no comment in the source given to Define", t)
	}
	v.describer = d
	v.fields(t, c.defaults, "", map[reflect.Type]bool{})
	return errors.Join(v.faults...)
}

type verifier struct {
	*describer
	faults []error
}

func (v *verifier) fault(format string, a ...any) {
	v.faults = append(v.faults, fmt.Errorf(format, a...))
}

// fields verifies a struct type and, if it is valid, the defaults of it.
func (v *verifier) fields(t reflect.Type, defaults reflect.Value, path string, seen map[reflect.Type]bool) {
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
		case key == "":
			v.fault("%s.%s has no yaml name", t, f.Name)
		case !snake.MatchString(key):
			v.fault("%s.%s: the yaml name %q is not snake_case", t, f.Name, key)
		}
	}
	for _, f := range fieldsOf(t) {
		at := join(path, f.key)
		if v.describer.of(f.owner).fields[f.name] == "" {
			v.fault("%s: %s.%s has no comment", at, f.owner, f.name)
		}
		v.typ(f.typ, at, seen)
		if why := guarded(func() error { return tryRules(f) }); why != nil {
			v.fault("%s: %v", at, why)
			continue
		}
		if !defaults.IsValid() {
			continue
		}
		if fv := defaults.FieldByIndex(f.index); !fv.IsZero() {
			if why := f.check.broken(fv); why != "" {
				v.fault("%s: the default %s", at, why)
			}
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
		v.fields(t, reflect.Value{}, path, seen)
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
	default:
		v.fault("%s: a setting cannot have the type %s", path, t)
	}
}
