package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/plugins/standard"
)

func compile(t *testing.T, reg config.Registry) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema(reg)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("gateway.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("gateway.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// parsed reads YAML as an editor does.
func parsed(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	v, err = jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The shipped files fit the schema, and the loader takes them.
func TestShippedFiles(t *testing.T) {
	schema := compile(t, standard.Components())
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../gateway.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(parsed(t, text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		// What a file cannot do without: it names servers that have no default.
		servers := []string{"QDRANT_URL=http://127.0.0.1:1", "NEO4J_URI=bolt://127.0.0.1:1", "NEO4J_PASSWORD=p", "EMBEDDER_URL=http://127.0.0.1:1/v1"}
		for _, env := range [][]string{nil, {"HEADRACE_UPSTREAM=http://127.0.0.1:1/v1", "HEADRACE_UPSTREAM_KEY=k", "HEADRACE_KEYS=a=b"}} {
			env = append(env, servers...)
			if err := config.Check(source(string(text), env...), standard.Components()); err != nil {
				t.Errorf("%s with %v: %v", file, env, err)
			}
		}
	}
}

// What the loader takes fits the schema, and what a schema can tell does not.
func TestSchema(t *testing.T) {
	schema := compile(t, registry)
	f := func(settings string, fits bool, env ...string) {
		t.Helper()
		text := file("[ kinds: { " + settings + " } ]")
		if err := schema.Validate(parsed(t, []byte(text))); (err == nil) != fits {
			t.Errorf("%s: %v", settings, err)
		}
		if err := config.Check(source(text, env...), registry); (err == nil) != fits {
			t.Errorf("%s: the loader says %v", settings, err)
		}
	}
	f("", true)
	f("bool: true, int: -5, small: 1, count: 3, float: 1.5", true)
	f(`bool: "${B:-true}", int: "${N}", float: "1${F:-}", wait: "${W:-1s}", mode: "${M:-fast}"`, true, "N=1")
	f("wait: 1h, shift: -1m30s, durations: [ 0, 1.5s, 5ms ]", true)
	f("size: 64KiB, ratio: 5%", true)
	f("size: 5, ratio: 0.05", true)
	f("text: aa, mode: slow, secret: x, color: red", true)
	f("list: [a], map: { a: 1 }, maybe: 2, inner: {}, inners: [ { name: a } ], by_name: { a: { name: b } }", true)
	f("common: here, optional: { name: a }", true)
	f("int: 11", false)
	f("int: x", false)
	f("bool: maybe", false)
	f("float: 2", false)
	f("text: a", false)
	f("mode: other", false)
	f("wait: fast", false)
	f("wait: 5", false)
	f("size: 5 parsecs", false)
	f("ratio: 2", false)
	f("list: a", false)
	f("list: [a, b, c, d]", false)
	f("map: { a: b }", false)
	f("maybe: 0", false)
	f("inners: [ {} ]", false)
	f("optional: { nam: a }", false)
	f("unknown: 1", false)
	for _, text := range []string{builtFile, file("[ pass, call: null, nest: { each: [ pass ], branches: [ [ pass ] ] } ]")} {
		if err := schema.Validate(parsed(t, []byte(text))); err != nil {
			t.Error(err)
		}
	}
	for _, text := range []string{"routes: 5", "{}", file("pass"), file("[ pas: {} ]"), file("[ pas ]"), "servre: {}\n" + file("[]")} {
		if err := schema.Validate(parsed(t, []byte(text))); err == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
}

// The schema tells editors what the comments tell readers of the source.
func TestSchemaProse(t *testing.T) {
	var s struct {
		Properties map[string]struct {
			Description string
			Properties  map[string]struct {
				Description string
				Default     any
			}
		}
		Defs map[string]struct {
			Description string
			Properties  map[string]struct {
				Description string
				Default     any
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(config.Schema(registry), &s); err != nil {
		t.Fatal(err)
	}
	kinds := s.Defs["chains.kinds"]
	if kinds.Description != "`kinds` has a setting of every type." {
		t.Errorf("summary %q", kinds.Description)
	}
	if p := kinds.Properties["wait"]; p.Description != "`wait` is a duration." || p.Default != "1s" {
		t.Errorf("wait: %+v", p)
	}
	if p := kinds.Properties["list"]; len(p.Default.([]any)) != 2 {
		t.Errorf("list: %+v", p)
	}
	if p := s.Properties["server"].Properties["listen"]; p.Default != "127.0.0.1:8080" || !strings.HasPrefix(p.Description, "`listen` is the address") {
		t.Errorf("listen: %+v", p)
	}
	if text := string(config.Schema(registry)); strings.Contains(text, `"description": ""`) {
		t.Error("there is a setting without a description")
	}
}

func TestDocs(t *testing.T) {
	f := func(name string, want ...string) {
		t.Helper()
		got := config.Docs(registry, name)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %s in\n%s", name, w, got)
			}
		}
	}
	f("kinds", "| 2 to 5 characters long |",
		"## kinds\n\n*plugin*\n\n`kinds` has a setting of every type.\n\n| setting | type | default | allowed | meaning |",
		"| `int` | whole number | `3` | -5 to 10 | `int` is a whole number. |",
		"| `mode` | text | `slow` | one of fast, slow |",
		"| `wait` | duration | `1s` | 0s to 1h |",
		"| `size` | size |  | at most 1MiB |",
		"| `ratio` | share |  | at most 50% |",
		"| `secret` | secret text |",
		"| `color` | red or blue |",
		`| `+"`list`"+` | list of texts | `+"`[\"a\",\"b\"]`"+` | at most 3 long |`,
		"| `inner.name` | text | `me` | required | `name` is text. |",
		"| `inners[].name` | text |  | required |",
		"| `by_name.*.weight` | whole number |",
		"| `common` | text |")
	f("pass", "| `store` | name of a cachestore (memory) |")
	f("nest", "| `each` | chain, one for each target |", "| `branches` | list of chains |")
	f("guard", "| `closed` | true or false | `true` |")
	f("index", "*index*", "| `embed` | name of a provider (answer) |  | required |")
	f("server", "| `limits.max_body` | size | `32MiB` | 1KiB to 1GiB |")
	f("models", "| `targets[].provider` | name of a provider (answer) |  | required |", "| `context_window` |")
	f("routes", "| `match.path` |", "| `chain` | chain |")
	f("", "## server", "## kinds", "## answer", "## memory", "## index")
	if got := config.Docs(registry, "nothing"); got != "" {
		t.Errorf("docs of nothing: %s", got)
	}
}
