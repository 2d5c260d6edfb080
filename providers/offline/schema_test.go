package offline

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/headrace/headrace/pipeline/chat"
)

func TestInstanceIsValid(t *testing.T) {
	f := func(schema, want string) {
		t.Helper()
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource("s.json", doc); err != nil {
			t.Fatal(err)
		}
		compiled, err := c.Compile("s.json")
		if err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		got := instance(nil, []byte(schema), []byte("some words"))
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(got))
		if err != nil {
			t.Fatalf("%s: %q is not JSON: %v", schema, got, err)
		}
		if err := compiled.Validate(value); err != nil {
			t.Fatalf("%s: %s is not valid: %v", schema, got, err)
		}
		if want != "" && string(got) != want {
			t.Fatalf("%s: got %s, want %s", schema, got, want)
		}
	}
	f(`{"type":"string"}`, `"some words"`)
	f(`{"type":"string","maxLength":4}`, `"some"`)
	f(`{"type":"string","minLength":12}`, `"some wordsxx"`)
	f(`{"type":"string","pattern":"^[A-Z]{3}-\\d+(foo|bar)?$"}`, `"AAA-0"`)
	f(`{"type":"string","format":"date-time"}`, "")
	f(`{"type":"string","format":"email"}`, "")
	f(`{"type":"string","format":"uuid"}`, "")
	f(`{"type":"string","format":"ipv6"}`, "")
	f(`{"type":"integer"}`, "0")
	f(`{"type":"integer","minimum":3}`, "3")
	f(`{"type":"integer","exclusiveMinimum":3}`, "4")
	f(`{"type":"integer","maximum":-3}`, "-3")
	f(`{"type":"integer","exclusiveMaximum":0}`, "-1")
	f(`{"type":"integer","minimum":3,"multipleOf":5}`, "5")
	f(`{"type":"number","minimum":0.25,"maximum":0.3}`, "0.25")
	f(`{"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1}`, "")
	f(`{"type":"boolean"}`, "true")
	f(`{"type":"null"}`, "null")
	f(`{"type":["null","string"]}`, `"some words"`)
	f(`{"enum":[1,"words","other"]}`, `"words"`)
	f(`{"enum":[1,2]}`, "1")
	f(`{"const":{"a":[1]}}`, `{"a":[1]}`)
	f(`{}`, "")
	f(`{"type":"object"}`, "{}")
	f(`{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}}}`, `{"a":"some words","b":0}`)
	f(`{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}},"required":["b"]}`, `{"b":0}`)
	f(`{"type":"object","required":["x"],"additionalProperties":{"type":"integer"}}`, `{"x":0}`)
	f(`{"type":"array","items":{"type":"integer"}}`, "[0]")
	f(`{"type":"array","items":{"type":"integer"},"minItems":3,"uniqueItems":true}`, "[0,1,2]")
	f(`{"type":"array","items":{"type":"string"},"minItems":2,"uniqueItems":true}`, `["some words","some words 2"]`)
	f(`{"type":"array","items":{"type":"integer"},"maxItems":0}`, "[]")
	f(`{"type":"array","prefixItems":[{"type":"string"},{"const":1}],"items":false}`, `["some words",1]`)
	f(`{"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"integer"}}}`, "0")
	f(`{"anyOf":[{"type":"null"},{"type":"integer"}]}`, "0")
	f(`{"allOf":[{"type":"object","properties":{"a":{"const":1}},"required":["a"]},{"properties":{"b":{"const":2}},"required":["b"]}]}`, `{"a":1,"b":2}`)
	f(`{"type":"object","properties":{"next":{"$ref":"#"},"v":{"type":"integer"}},"required":["v"]}`, `{"v":0}`)
	f(`{"type":"array","items":{"$ref":"#"}}`, "")
	f(`{"type":"object","properties":{"t":{"anyOf":[{"$ref":"#"},{"type":"null"}]}}}`, "")
}

// A schema may be anything: what comes out must be JSON, and come soon.
func FuzzInstance(f *testing.F) {
	for _, s := range []string{
		`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`,
		`{"$ref":"#"}`, `{"allOf":[{"$ref":"#"},{"$ref":"#"}]}`, `{"type":"array","minItems":1e9,"items":{"type":"array","minItems":64}}`,
		`{"pattern":"(a{1000}){1000}"}`, `{"minLength":1e18}`, `{"type":"integer","multipleOf":0}`, `{"type":"number","minimum":1e308,"multipleOf":1e-308}`,
		`{"enum":[]}`, `{"required":[1,null]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, schema string) {
		if !json.Valid([]byte(schema)) || len(schema) > 4<<10 {
			return
		}
		if got := instance(nil, []byte(schema), []byte("said")); !json.Valid(got) {
			t.Fatalf("%s: %q", schema, got)
		}
	})
}

// TestLargeSchemas needs the time that a schema takes to grow with its size, and no faster.
func TestLargeSchemas(t *testing.T) {
	const ref = `{"$ref":"#/$defs/a"}`
	schema := `{"$defs":{"a":{"allOf":[` + strings.Repeat(ref+",", 100_000) + ref + `]}},"$ref":"#/$defs/a"}`
	timed := func(f func()) time.Duration {
		began := time.Now()
		f()
		return time.Since(began)
	}
	// It is as slow as the machine is, and takes some hundred times what reading takes.
	reading := timed(func() {
		for range 10 {
			_ = chat.Valid([]byte(schema))
		}
	}) / 10
	took := timed(func() { instance(nil, []byte(schema), []byte("x")) })
	if took > 1000*reading {
		t.Errorf("it took %v, and reading it %v", took, reading)
	}
}
