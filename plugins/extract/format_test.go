package extract

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline/graphjson"
)

// formatOf is the format that a request asks for.
func formatOf(t *testing.T, body string) string {
	t.Helper()
	var r struct {
		Format struct {
			Type   string
			Schema struct {
				Strict bool
				Schema json.RawMessage
			} `json:"json_schema"`
		} `json:"response_format"`
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	if r.Format.Type == "json_schema" && (!r.Format.Schema.Strict || !strings.Contains(string(r.Format.Schema.Schema), `"dst"`)) {
		t.Errorf("no schema: %s", body)
	}
	if r.Format.Type == "" {
		return "text"
	}
	return r.Format.Type
}

// What a model refuses it is not asked for again.
func TestFormatsAreLearnt(t *testing.T) {
	f := func(format, alias string, status int, refuses, first, second string) {
		t.Helper()
		m := &model{says: []string{good}, status: status, refuses: strings.Fields(refuses)}
		h := handlerWith(t, func(c *Config) { c.Format = format })
		for _, want := range []string{first, second} {
			m.asked = nil
			got, answer := asksOf(t, h, `{"context":"x","provider_chain":["`+alias+`"]}`, alias, m)
			var asked []string
			for _, body := range m.asked {
				asked = append(asked, formatOf(t, body))
			}
			if got != http.StatusOK || strings.Join(asked, " ") != want {
				t.Errorf("%s of %s, which refuses %q with %d: %d, asked for %q, want %s; %v", format, alias, refuses, status, got, asked, want, answer)
			}
		}
	}
	f("json_schema", "m", 400, "", "json_schema", "json_schema")
	f("json_schema", "m", 400, "json_schema", "json_schema json_object", "json_object")
	f("json_schema", "m", 422, "json_schema json_object", "json_schema json_object text", "text")
	f("json_object", "m", 415, "json_object", "json_object text", "text")
	f("json_object", "gemini", 400, "json_object", "text", "text")
	f("json_schema", "gemini", 400, "", "json_schema", "json_schema")
	f("text", "m", 400, "", "text", "text")
}

// What is refused in every format is no fault of the format, and nothing is learnt of it.
func TestWhatIsRefusedInEveryFormat(t *testing.T) {
	f := func(status, calls int) {
		t.Helper()
		m := &model{status: status, refuses: []string{"json_schema", "json_object", "text"}}
		h := handlerWith(t, func(c *Config) { c.Format = "json_schema" })
		for range 2 {
			m.asked = nil
			if got, answer := asksOf(t, h, `{"context":"x","max_attempts":1,"provider_chain":["m"]}`, "m", m); got != 422 || len(m.asked) != calls {
				t.Errorf("%d: %d after %d calls, want %d; %v", status, got, len(m.asked), calls, answer)
			}
		}
	}
	f(400, 3)
	f(401, 1)
	f(404, 1)
	f(413, 1)
	f(429, 1)
	f(500, 1)
}

// Names of models are clients' to choose.
func TestFormatsAreBounded(t *testing.T) {
	var f formats
	for i := range 2 * maxLearnt {
		f.learn(strconv.Itoa(i), inWords)
	}
	if f.learn("0", asObject); len(f.learnt) != maxLearnt || f.of("0", bySchema) != asObject {
		t.Errorf("%d are kept, the first as %q", len(f.learnt), f.of("0", bySchema))
	}
}

// The schema that models are sent is the one that answers are held to, in simpler words.
func TestGraphSchema(t *testing.T) {
	var want, got map[string]any
	if err := json.Unmarshal(graphjson.Schema, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(graphSchema), &got); err != nil {
		t.Fatal(err)
	}
	defs := want["$defs"].(map[string]any)
	for _, k := range []string{"$defs", "$schema", "title"} {
		delete(want, k)
	}
	var plain func(v any) any
	plain = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				return plain(defs[strings.TrimPrefix(ref, "#/$defs/")])
			}
			out := map[string]any{}
			for k, x := range v {
				if k != "minLength" {
					out[k] = plain(x)
				}
			}
			return out
		case []any:
			out := slices.Clone(v)
			for i := range out {
				out[i] = plain(out[i])
			}
			return out
		}
		return v
	}
	if diff := cmp.Diff(plain(want), any(got)); diff != "" {
		t.Error(diff)
	}
}
