package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

var seeds = []string{
	`{}`, ` { } `, `{"model":"m"}`, `{"a":1,"b":[1,2,{"c":null}],"d":"x\n\u00e9"}`, `{"mod\u0065l":"a","stream":true}`,
	`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"Model":"x"}`, `{"ſtream":true}`, `{"a":"\ud800"}`, `{"\ud800":1,"\ud801":2}`,
	`{"a":-0.5e+10,"b":1E2}`, `{"a":01}`, `{"a":.5}`, `{"a":tru}`, `{"a":NaN}`, "{\"a\":\"\x01\"}", "{\"a\":\"\xff\"}",
	`{"日本語":"日本語のテキスト","é":"ééé","😀":"😀😀"}`, "\ufeff{}", `{"a":1}x`, `{"a":[[[[]]]]}`, `{"a" : [ 1 , 2 ] , "b" : { } }`,
	"{\n  \"model\": \"m\",\n  \"messages\": [\n    {\"role\": \"user\", \"content\": \"hi\"}\n  ]\n}\n",
	`{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url"}]},{"role":"system"}],"n":1}`,
	`{"` + strings.Repeat("a", 70) + `":"` + strings.Repeat("b", 70) + `\\"}`, `{"x":"\\\\\\"}`, `{"x":"\"\\\"", "y":"\/"}`,
}

// reference reports whether b keeps the rules of Scan, by means of
// encoding/json and of rules written anew.
func reference(b []byte) (map[string]json.RawMessage, bool) {
	if !json.Valid(b) || !utf8.Valid(b) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, false
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, false
		}
		if _, twice := members[key.(string)]; twice {
			return nil, false
		}
		members[key.(string)] = v
		for _, known := range []string{"model", "stream", "messages", "n", "store", "stop"} {
			if key != known && strings.EqualFold(key.(string), known) {
				return nil, false
			}
		}
	}
	depth, deepest := 0, 0
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		t, err := d.Token()
		if err != nil {
			break
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return members, deepest <= 64 && len(members) <= 1024
}

// halved reports whether b may hold escapes of halves of surrogate pairs, which
// encoding/json does not keep apart.
func halved(b []byte) bool { return bytes.Contains(bytes.ToLower(b), []byte(`\ud`)) }

func FuzzScan(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	var r Request
	f.Fuzz(func(t *testing.T, b []byte) {
		err := r.Scan(b)
		want, ok := reference(b)
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b) || e.Line < 1 || e.Column < 1) {
			t.Fatalf("%q: %#v", b, err)
		}
		if halved(b) {
			return
		}
		if (err == nil) != ok && !(err != nil && strings.HasPrefix(e.Reason, "unknown key")) {
			t.Fatalf("%q: error %v, reference accepts: %v", b, err, ok)
		}
		if err != nil {
			return
		}
		if r.Len() != len(want) {
			t.Fatalf("%q: %d members, want %d", b, r.Len(), len(want))
		}
		for i := range r.Len() {
			k, v := r.At(i)
			w, ok := want[string(k)]
			if raw, found := r.Member(string(k)); !ok || !found || !bytes.Equal(v, w) || !bytes.Equal(raw, v) {
				t.Fatalf("%q: member %q is %q, want %q", b, k, v, w)
			}
		}
		if _, found := r.Member("no such key"); found {
			t.Fatalf("%q: found a member that is not there", b)
		}
		var model *string
		if json.Unmarshal(want["model"], &model) == nil && model != nil {
			if string(r.Model()) != *model || r.Model() == nil {
				t.Fatalf("%q: model %q, want %q", b, r.Model(), *model)
			}
		} else if r.Model() != nil {
			t.Fatalf("%q: model %q, want none", b, r.Model())
		}
		if r.Stream() != (string(want["stream"]) == "true") {
			t.Fatalf("%q: stream %v", b, r.Stream())
		}
	})
}
