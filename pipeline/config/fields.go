package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[Secret]()
	chainType    = reflect.TypeFor[pipeline.Chain]()
	eachType     = reflect.TypeFor[Each]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	refType      = reflect.TypeFor[reference]()
)

// A field is one setting of a struct, those of inlined structs included.
type field struct {
	key   string
	index []int
	typ   reflect.Type
	name  string       // of the Go field, by which its comment is found
	owner reflect.Type // the struct that declares it
	check rules
}

// fieldsOf returns the settings of a struct type in the order declared.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			if f.Type.Kind() != reflect.Struct {
				panic(fmt.Sprintf("BUG: %s.%s: only the settings of a struct can be inline, not those of a %s", t, f.Name, f.Type))
			}
			for _, in := range fieldsOf(f.Type) {
				in.index = append([]int{i}, in.index...)
				out = append(out, in)
			}
		case !f.IsExported(), key == "-", key == "":
		default:
			out = append(out, field{
				key: key, index: []int{i}, typ: f.Type, name: f.Name, owner: t,
				check: rulesOf(t, f),
			})
		}
	}
	return out
}

// rules are what a check tag asks for. min and max bound a number, or a length.
type rules struct {
	required bool
	min, max string
	enum     []string
}

func rulesOf(t reflect.Type, f reflect.StructField) rules {
	var r rules
	for rule := range strings.SplitSeq(f.Tag.Get("check"), ",") {
		switch name, arg, _ := strings.Cut(strings.TrimSpace(rule), "="); name {
		case "required":
			r.required = true
		case "min":
			r.min = arg
		case "max":
			r.max = arg
		case "enum":
			r.enum = strings.Split(arg, "|")
		case "":
		default:
			panic(fmt.Sprintf("BUG: %s.%s: there is no check %q; there are required, min, max and enum", t, f.Name, name))
		}
	}
	return r
}

// broken says which rule v breaks, or "".
func (r rules) broken(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		return r.broken(v.Elem())
	}
	if r.min != "" && compare(v, r.min) < 0 {
		return "must be at least " + boundWords(v.Type(), r.min)
	}
	if r.max != "" && compare(v, r.max) > 0 {
		return "must be at most " + boundWords(v.Type(), r.max)
	}
	return ""
}

// characters stands behind bounds of texts.
const characters = " characters long"

// boundWords says a bound of a check tag as a file would.
func boundWords(t reflect.Type, bound string) string {
	switch t.Kind() {
	case reflect.String:
		return bound + characters
	case reflect.Slice, reflect.Map:
		return bound + " long"
	}
	b := reflect.New(t).Elem()
	if !reflect.PointerTo(t).Implements(textType) || scan(b, bound) != nil {
		return bound
	}
	return fmt.Sprint(b.Interface())
}

// counted reports whether min and max bound the length of values of type t.
func counted(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return true
	}
	return false
}

// compare compares v with the bound of a check tag, in the type of v.
func compare(v reflect.Value, bound string) int {
	if counted(v.Type()) {
		n, err := strconv.Atoi(bound)
		mustBound(err, bound, v.Type())
		length := v.Len()
		if v.Kind() == reflect.String {
			length = len([]rune(v.String()))
		}
		return length - n
	}
	b := reflect.New(v.Type()).Elem()
	mustBound(scan(b, bound), bound, v.Type())
	switch {
	case v.CanInt():
		return order(v.Int(), b.Int())
	case v.CanUint():
		return order(v.Uint(), b.Uint())
	case v.CanFloat():
		return order(v.Float(), b.Float())
	}
	panic(fmt.Sprintf("BUG: check: %s has no order", v.Type()))
}

func mustBound(err error, bound string, t reflect.Type) {
	if err != nil {
		panic(fmt.Sprintf("BUG: check: bound %q for %s: %v", bound, t, err))
	}
}

func order[T int64 | uint64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	}
	return -1 // NaN is below every bound
}

// scan sets v, a number of any kind, from text.
func scan(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	if v.Type() == durationType {
		d, err := time.ParseDuration(text)
		v.SetInt(int64(d))
		return err
	}
	switch {
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(n)
		return err
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		v.SetUint(n)
		return err
	case v.CanFloat():
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		v.SetFloat(n)
		return err
	}
	return fmt.Errorf("a %s is no number", v.Type())
}

// clone copies v with the slices, maps and pointers in it, so that decoding
// over the copy leaves the original alone.
func clone(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if out.Field(i).CanSet() {
				out.Field(i).Set(clone(v.Field(i)))
			}
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(clone(v.Index(i)))
			}
		}
	case reflect.Map:
		if !v.IsNil() {
			out.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
			for it := v.MapRange(); it.Next(); {
				out.SetMapIndex(it.Key(), clone(it.Value()))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(clone(v.Elem()))
		}
	}
	return out
}
