package detail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline/chat"
)

// get returns a field; the last, if it was sent twice.
func (r *Reader) get(key string) (json.RawMessage, bool) {
	for i := len(r.fields) - 1; i >= 0; i-- {
		if f := &r.fields[i]; string(f.key) == key {
			return f.value, true
		}
	}
	return nil, false
}

// Has reports whether the field was sent, be it as null.
func (r *Reader) Has(key string) bool {
	_, ok := r.get(key)
	return ok
}

// Raw is the field as it was sent, nil if it was not, or was null.
func (r *Reader) Raw(key string) json.RawMessage {
	if v, _ := r.get(key); string(v) != "null" {
		return v
	}
	return nil
}

// need returns the field, and reports where it is missing.
func (r *Reader) need(key string) (json.RawMessage, bool) {
	v, ok := r.get(key)
	if !ok {
		r.wrong(r.at(key), r.raw, "missing", "Field required", nil)
	}
	return v, ok
}

// NeedAny is a value of any kind, be it null, that must be there.
func (r *Reader) NeedAny(key string) json.RawMessage {
	v, _ := r.need(key)
	return v
}

// NeedString is a string that must be there.
func (r *Reader) NeedString(key string) string {
	v, ok := r.need(key)
	if !ok {
		return ""
	}
	return r.str(r.at(key), v)
}

// String is a string with a default for where it is left out.
func (r *Reader) String(key, otherwise string) string {
	if v, ok := r.get(key); ok {
		return r.str(r.at(key), v)
	}
	return otherwise
}

// OptString is a string, or nil for null or nothing.
func (r *Reader) OptString(key string) *string {
	v := r.Raw(key)
	if v == nil {
		return nil
	}
	s := r.str(r.at(key), v)
	return &s
}

func (r *Reader) str(loc []any, raw json.RawMessage) string {
	s, ok := chat.Text(raw)
	if !ok {
		r.wrong(loc, raw, "string_type", "Input should be a valid string", nil)
	}
	return s
}

// Int is an integer with a default.
func (r *Reader) Int(key string, otherwise int) int {
	if v, ok := r.get(key); ok {
		return r.int(r.at(key), v)
	}
	return otherwise
}

// OptInt is an integer, or otherwise for null or nothing.
func (r *Reader) OptInt(key string, otherwise int) int {
	if v := r.Raw(key); v != nil {
		return r.int(r.at(key), v)
	}
	return otherwise
}

func (r *Reader) int(loc []any, raw json.RawMessage) int {
	kind, msg := "int_type", "Input should be a valid integer"
	switch s, isText := chat.Text(raw); {
	case string(raw) == "true":
		return 1
	case string(raw) == "false":
		return 0
	case isText:
		if n, ok := Integer(s); ok {
			return n
		}
		kind, msg = "int_parsing", "Input should be a valid integer, unable to parse string as an integer"
	case isNumber(raw):
		f, _ := strconv.ParseFloat(string(raw), 64) // an infinity if it is too large
		switch whole := !bytes.ContainsAny(raw, ".eE"); {
		case whole, f == math.Trunc(f) && math.Abs(f) < 1<<63:
			return clamp(f)
		case math.IsInf(f, 0):
			kind, msg = notFinite, notFiniteMsg
		case f == math.Trunc(f):
			kind, msg = "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size"
		default:
			kind, msg = "int_from_float", "Input should be a valid integer, got a number with a fractional part"
		}
	}
	r.wrong(loc, raw, kind, msg, nil)
	return 0
}

// What is wrong with 1e999 and "inf".
const (
	notFinite    = "finite_number"
	notFiniteMsg = "Input should be a finite number"
)

// Integer reads a text as an integer, which is kept within what any setting here can
// mean.
func Integer(s string) (n int, ok bool) {
	m := integer.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, false
	}
	f, _ := strconv.ParseFloat(strings.ReplaceAll(m[1], "_", ""), 64)
	return clamp(f), true
}

// integer is a text that pydantic takes for an integer: "12", "+1_000", "3.00".
var integer = regexp.MustCompile(`^([+-]?[0-9]+(?:_[0-9]+)*)(?:\.0+)?$`)

// clamp keeps f within what any setting here can mean.
func clamp(f float64) int { return int(max(-1e9, min(f, 1e9))) }

// OptWithin is an integer from least to most, or 0 for null or nothing.
func (r *Reader) OptWithin(key string, least, most int) int {
	v := r.Raw(key)
	if v == nil {
		return 0
	}
	return r.Within(key, r.int(r.at(key), v), least, most)
}

// Within refuses a field, which was read as n, if that is not from least to most. It
// returns n.
func (r *Reader) Within(key string, n, least, most int) int {
	switch {
	case n < least:
		r.Refuse(key, "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %d", least), map[string]int{"ge": least})
	case n > most:
		r.Refuse(key, "less_than_equal", fmt.Sprintf("Input should be less than or equal to %d", most), map[string]int{"le": most})
	}
	return n
}

// Float is a number with a default.
func (r *Reader) Float(key string, otherwise float64) float64 {
	raw, ok := r.get(key)
	if !ok {
		return otherwise
	}
	kind, msg := "float_type", "Input should be a valid number"
	s, isText := chat.Text(raw)
	if !isText {
		s = string(raw)
	}
	switch s = strings.TrimSpace(s); {
	case string(raw) == "true":
		return 1
	case string(raw) == "false":
		return 0
	case isText && !number.MatchString(s):
		kind, msg = "float_parsing", "Input should be a valid number, unable to parse string as a number"
	case isText, isNumber(raw):
		f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
		if err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
		// The service took them; no setting here means anything by them.
		kind, msg = notFinite, notFiniteMsg
	}
	r.wrong(r.at(key), raw, kind, msg, nil)
	return 0
}

// number is a text that Python takes for a number, the infinities included.
var number = regexp.MustCompile(`^(?i)[+-]?(?:inf|infinity|nan|(?:[0-9]+(?:_[0-9]+)*\.?(?:[0-9]+(?:_[0-9]+)*)?|\.[0-9]+(?:_[0-9]+)*)(?:e[+-]?[0-9]+)?)$`)

// OptFloat is a number, or nil for null or nothing.
func (r *Reader) OptFloat(key string) *float64 {
	if r.Raw(key) == nil {
		return nil
	}
	f := r.Float(key, 0)
	return &f
}

func isNumber(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}

// Bool is true or false, with a default.
func (r *Reader) Bool(key string, otherwise bool) bool {
	raw, ok := r.get(key)
	if !ok {
		return otherwise
	}
	kind, msg := "bool_type", "Input should be a valid boolean"
	s, isText := chat.Text(raw)
	switch f, err := strconv.ParseFloat(string(raw), 64); {
	case string(raw) == "true" || f == 1:
		return true
	case string(raw) == "false" || isNumber(raw) && err == nil && f == 0:
		return false
	case isText:
		switch strings.ToLower(s) {
		case "true", "1", "on", "t", "y", "yes":
			return true
		case "false", "0", "off", "f", "n", "no":
			return false
		}
		kind, msg = "bool_parsing", "Input should be a valid boolean, unable to interpret input"
	case isNumber(raw) && err == nil && f == math.Trunc(f) && (math.Abs(f) < 1<<63 || isInt64(raw)):
		kind, msg = "bool_parsing", "Input should be a valid boolean, unable to interpret input"
	}
	r.wrong(r.at(key), raw, kind, msg, nil)
	return false
}

func isInt64(raw json.RawMessage) bool {
	_, err := strconv.ParseInt(string(raw), 10, 64)
	return err == nil
}

// OptBool is true or false, or otherwise for null or nothing.
func (r *Reader) OptBool(key string, otherwise bool) bool {
	if r.Raw(key) == nil {
		return otherwise
	}
	return r.Bool(key, otherwise)
}

// Only refuses fields of other names, for why, where one that is misspelt would do harm.
func (r *Reader) Only(why string, keys ...string) {
	for _, f := range r.fields {
		if name := string(f.key); !slices.Contains(keys, name) {
			r.Refuse(name, "extra_forbidden", "Extra inputs are not permitted: "+why, nil)
		}
	}
}
