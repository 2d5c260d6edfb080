package detail

import (
	"encoding/json"
	"fmt"
	"iter"

	"github.com/headrace/headrace/pipeline/chat"
)

// elements are those of a list, of most at most, which must be there if needed. ok
// tells whether there is a list. One that is longer is not read: each element would
// cost many times what it took to send.
func (r *Reader) elements(key string, needed bool, most int) (all []json.RawMessage, ok bool) {
	var raw json.RawMessage
	if needed {
		if raw, ok = r.need(key); !ok {
			return nil, false
		}
	} else if raw = r.Raw(key); raw == nil {
		return nil, false
	}
	if len(raw) == 0 || raw[0] != '[' {
		r.wrong(r.at(key), raw, "list_type", "Input should be a valid list", nil)
		return nil, false
	}
	for e := range chat.Array(raw) {
		if len(all) == most {
			r.wrong(r.at(key), raw, "too_long", fmt.Sprintf("List should have at most %d items", most), map[string]int{"max_length": most})
			return nil, false
		}
		all = append(all, e)
	}
	return all, true
}

// NeedStrings is a list of strings, of most at most, that must be there.
func (r *Reader) NeedStrings(key string, most int) []string { return r.strings(key, true, most) }

// OptStrings is a list of strings, of most at most, nil for null or nothing.
func (r *Reader) OptStrings(key string, most int) []string { return r.strings(key, false, most) }

func (r *Reader) strings(key string, needed bool, most int) []string {
	all, ok := r.elements(key, needed, most)
	if !ok {
		return nil
	}
	out := make([]string, len(all))
	for i, e := range all {
		out[i] = r.str(append(r.at(key), i), e)
	}
	return out
}

// OptList is a list of anything, of most at most, nil for null or nothing.
func (r *Reader) OptList(key string, most int) []json.RawMessage {
	all, _ := r.elements(key, false, most)
	return all
}

// NeedTextObjects is a list of objects whose values are all texts, which must be
// there. Of what is wrong, nothing is in it.
func (r *Reader) NeedTextObjects(key string) []json.RawMessage { return r.textObjects(key, true) }

// OptTextObjects is the same, or nil for null or nothing.
func (r *Reader) OptTextObjects(key string) []json.RawMessage { return r.textObjects(key, false) }

// mostTextObjects is more than any chat has messages.
const mostTextObjects = 1 << 16

func (r *Reader) textObjects(key string, needed bool) (out []json.RawMessage) {
	all, _ := r.elements(key, needed, mostTextObjects)
	for i, e := range all {
		loc := append(r.at(key), i)
		if e[0] != '{' {
			r.wrong(loc, e, "dict_type", "Input should be a valid dictionary", nil)
			continue
		}
		for k, v := range chat.Object(e) {
			r.str(append(loc[:len(loc):len(loc)], string(k)), v)
		}
		out = append(out, e)
	}
	return out
}

// NeedObjects are those of a list, of most at most, that must be there. An element that
// is no object is reported in its turn, between what is wrong within those around it.
func (r *Reader) NeedObjects(key string, most int) iter.Seq[*Reader] {
	all, _ := r.elements(key, true, most)
	return func(yield func(*Reader) bool) {
		for i, e := range all {
			if len(*r.found) >= maxProblems {
				return // what else is wrong would not be told
			}
			if o := r.object(append(r.at(key), i), e); o != nil && !yield(o) {
				return
			}
		}
	}
}

// NeedObject is an object that must be there; nil where it is not.
func (r *Reader) NeedObject(key string) *Reader {
	v, ok := r.need(key)
	if !ok {
		return nil
	}
	return r.object(r.at(key), v)
}

// OptObject is an object, or nil for null or nothing.
func (r *Reader) OptObject(key string) *Reader {
	v := r.Raw(key)
	if v == nil {
		return nil
	}
	return r.object(r.at(key), v)
}

func (r *Reader) object(loc []any, raw json.RawMessage) *Reader {
	if len(raw) == 0 || raw[0] != '{' {
		r.wrong(loc, raw, noObject, noObjectMsg, nil)
		return nil
	}
	return newReader(raw, loc, r.found)
}

// Dict is an object as it was sent, nil for null or nothing.
func (r *Reader) Dict(key string) json.RawMessage {
	v := r.Raw(key)
	if v == nil {
		return nil
	}
	if v[0] != '{' {
		r.wrong(r.at(key), v, "dict_type", "Input should be a valid dictionary", nil)
		return nil
	}
	return v
}

// Object is the whole object as it was sent.
func (r *Reader) Object() json.RawMessage { return r.raw }
