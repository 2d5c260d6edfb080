package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// typeWords says what may be written for a type, for people.
func typeWords(t reflect.Type) string {
	p := reflect.PointerTo(t)
	switch {
	case p.Implements(refType):
		return "name of " + a(kindOf(reflect.New(t).Interface().(reference).wants()))
	case t == chainType:
		return "chain"
	case t == eachType:
		return "chain, one for each target"
	case t == durationType:
		return "duration"
	case t == reflect.TypeFor[Size]():
		return "size"
	case t == reflect.TypeFor[Ratio]():
		return "share"
	case t == secretType:
		return "secret text"
	case p.Implements(textType):
		if d, ok := reflect.New(t).Interface().(interface{ SchemaText() string }); ok {
			return d.SchemaText()
		}
		return "text"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeWords(t.Elem())
	case reflect.Slice:
		if t.Elem() == chainType {
			return "list of chains"
		}
		return "list of " + plural(typeWords(t.Elem()))
	case reflect.Map:
		return "mapping from names to " + typeWords(t.Elem())
	case reflect.Struct:
		return "settings"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "whole number"
}

func plural(words string) string {
	switch words {
	case "duration", "size", "share", "number", "whole number", "chain":
		return words + "s"
	case "secret text":
		return "secret texts"
	case "text":
		return "texts"
	}
	if rest, ok := strings.CutPrefix(words, "name of "); ok {
		_, noun, _ := strings.Cut(rest, " ")
		return "names of " + noun + "s"
	}
	return words
}

// written returns a value as a file would have it: a scalar, a list or a
// mapping of such. It returns nil for what is not set and for secrets.
func written(v reflect.Value) any {
	if !v.IsValid() || v.IsZero() && v.Kind() != reflect.Bool {
		return nil
	}
	t := v.Type()
	switch {
	case t == secretType:
		return nil
	case t == durationType:
		return shortDuration(time.Duration(v.Int()))
	case t == chainType, t == eachType, reflect.PointerTo(t).Implements(refType):
		return nil
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	if reflect.PointerTo(t).Implements(textType) {
		return fmt.Sprint(v.Interface())
	}
	switch v.Kind() {
	case reflect.Pointer:
		return written(v.Elem())
	case reflect.Slice:
		var out []any
		for i := range v.Len() {
			out = append(out, written(v.Index(i)))
		}
		return out
	case reflect.Map, reflect.Struct:
		return nil
	}
	return v.Interface()
}

// shortDuration leaves out the units that are zero.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
