package sdk

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A published server answers every request that OpenAI's published description of its API
// has, with an example made from the description.
type published struct {
	schemas    map[string]any
	operations []operation
}

type operation struct {
	method string
	path   []string // a segment in braces stands for any
	kind   string   // content type of the answer
	answer []byte
}

// startPublished serves the description in a file.
func startPublished(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct{ Schema any }
			}
		}
		Components struct{ Schemas map[string]any }
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	p := &published{schemas: doc.Components.Schemas}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			op := operation{method: strings.ToUpper(method), path: strings.Split(path, "/"), kind: "application/json"}
			content := o.Responses["200"].Content
			if content == nil {
				content = o.Responses["201"].Content
			}
			if m, ok := content[op.kind]; ok {
				if op.answer, err = json.Marshal(p.example(m.Schema, 0)); err != nil {
					t.Fatal(path, err)
				}
			} else {
				op.answer = []byte("{}")
				for kind := range content {
					op.kind, op.answer = kind, []byte("bytes")
				}
			}
			p.operations = append(p.operations, op)
		}
	}
	if len(p.operations) < 100 {
		t.Fatalf("%s describes %d operations", file, len(p.operations))
	}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s.URL
}

// ServeHTTP implements http.Handler.
func (p *published) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	asked := strings.Split(r.URL.EscapedPath(), "/")
	var found *operation
	for i := range p.operations {
		// What is written out goes before what stands for anything.
		if o := &p.operations[i]; o.method == r.Method && o.matches(asked) && (found == nil || o.holes() < found.holes()) {
			found = o
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if found == nil {
		w.WriteHeader(404)
		_, _ = io.WriteString(w, `{"error":{"message":"not described","type":"invalid_request_error","param":null,"code":null}}`)
		return
	}
	w.Header().Set("Content-Type", found.kind)
	_, _ = w.Write(found.answer)
}

func (o *operation) matches(path []string) bool {
	return slices.EqualFunc(o.path, path, func(want, got string) bool {
		return want == got || strings.HasPrefix(want, "{") && got != ""
	})
}

func (o *operation) holes() (n int) {
	for _, segment := range o.path {
		if strings.HasPrefix(segment, "{") {
			n++
		}
	}
	return n
}

// example makes a value that fits a schema. Deep down only what is required is there.
func (p *published) example(schema any, depth int) any {
	s, _ := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		return p.example(p.schemas[ref[strings.LastIndexByte(ref, '/')+1:]], depth+1)
	}
	if v, ok := s["const"]; ok {
		return v
	}
	if list, ok := s["enum"].([]any); ok && len(list) > 0 {
		return list[0]
	}
	for _, word := range []string{"oneOf", "anyOf"} {
		for _, one := range list(s[word]) {
			if v := p.example(one, depth+1); v != nil {
				return v
			}
		}
	}
	object := map[string]any{}
	for _, part := range list(s["allOf"]) {
		v := p.example(part, depth+1)
		members, ok := v.(map[string]any)
		if !ok {
			return v
		}
		maps.Copy(object, members)
	}
	kind, _ := s["type"].(string)
	for _, one := range list(s["type"]) {
		if one != "null" {
			kind, _ = one.(string)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	switch {
	case kind == "object" || properties != nil || len(object) > 0:
		for name, property := range properties {
			if depth < 6 || slices.Contains(list(s["required"]), any(name)) {
				object[name] = p.example(property, depth+1)
			}
		}
		return object
	case kind == "array":
		if depth > 12 {
			return []any{}
		}
		return []any{p.example(s["items"], depth+1)}
	case kind == "string":
		if s["format"] == "uri" {
			return "https://example.com"
		}
		return "text"
	case kind == "integer", kind == "number":
		return 1
	case kind == "boolean":
		return true
	}
	return nil
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}
