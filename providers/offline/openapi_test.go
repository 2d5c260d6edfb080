package offline

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/tests/harness"
)

// spec compiles schemas of OpenAI's own description of its API.
func spec(t *testing.T) func(name string) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile(harness.Data(t, "http/openai-openapi/openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", map[string]any{"components": map[string]any{"schemas": plain(schemas)}}); err != nil {
		t.Fatal(err)
	}
	return func(name string) *jsonschema.Schema {
		t.Helper()
		s, err := c.Compile("openapi.json#/components/schemas/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// plain makes a description into JSON Schema: `nullable` is of an older dialect,
// and prose is of no use here.
func plain(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			if k == "example" || k == "examples" || k == "discriminator" || strings.HasPrefix(k, "$recursive") || strings.HasPrefix(k, "x-") {
				delete(v, k)
				continue
			}
			v[k] = plain(v[k])
		}
		if v["nullable"] == true {
			delete(v, "nullable")
			return map[string]any{"anyOf": []any{v, map[string]any{"type": "null"}}}
		}
	case int:
		return float64(v)
	case uint64:
		return float64(v)
	}
	return v
}

func TestShapesAreOpenAIs(t *testing.T) {
	schema := spec(t)
	valid := func(s *jsonschema.Schema, body string) {
		t.Helper()
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if err := s.Validate(v); err != nil {
			t.Fatalf("%s\n%v", body, err)
		}
	}
	f := func(op pipeline.Operation, whole, chunk *jsonschema.Schema, request string) {
		t.Helper()
		valid(whole, post(t, op, "{"+request+"}").body())
		if chunk == nil {
			return
		}
		for _, more := range []string{`"stream":true,`, `"stream":true,"stream_options":{"include_usage":true},`} {
			if op == pipeline.OpResponses && strings.Contains(more, "usage") {
				continue
			}
			for _, d := range data(t, post(t, op, "{"+more+request+"}").body()) {
				if d != "[DONE]" {
					valid(chunk, d)
				}
			}
		}
	}
	const user = `"model":"m","messages":[{"role":"user","content":"call f now"}]`
	const params = `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`
	chat, chunk := schema("CreateChatCompletionResponse"), schema("CreateChatCompletionStreamResponse")
	f(pipeline.OpChat, chat, chunk, user)
	f(pipeline.OpChat, chat, chunk, user+`,"n":2,"max_tokens":2`)
	f(pipeline.OpChat, chat, chunk, user+`,"tools":[{"type":"function","function":{"name":"f","parameters":`+params+`}}]`)
	f(pipeline.OpChat, chat, nil, user+`,"tools":[{"type":"custom","custom":{"name":"f"}}]`)
	f(pipeline.OpCompletions, schema("CreateCompletionResponse"), nil, `"model":"m","prompt":["a","b"]`)
	f(pipeline.OpEmbeddings, schema("CreateEmbeddingResponse"), nil, `"model":"m","input":["a","b"]`)
	response, event := schema("Response"), schema("ResponseStreamEvent")
	f(pipeline.OpResponses, response, event, `"model":"m","input":"hello","metadata":{"a":"b"},"temperature":0.5`)
	f(pipeline.OpResponses, response, event, `"model":"m","input":"hello","max_output_tokens":2`)
	f(pipeline.OpResponses, response, event, `"model":"m","input":"call f now","tools":[{"type":"function","name":"f","strict":true,"parameters":`+params+`}]`)
	f(pipeline.OpResponses, response, event, `"model":"m","input":"call f now","tools":[{"type":"custom","name":"f"}],"tool_choice":"required"`)
	f(pipeline.OpChat, schema("ErrorResponse"), nil, `"model":"m"`)
	valid(schema("ListModelsResponse"), string(listing([]string{"a", "b"})))
	valid(schema("Model"), string(describe(nil, fmt.Sprint("a", `"`))))
}

// TestParametersAreOpenAIs needs each parameter that OpenAI's API describes to be refused,
// by its name, where it is a boolean or a fraction and may not be.
func TestParametersAreOpenAIs(t *testing.T) {
	schema := spec(t)
	for op, request := range map[pipeline.Operation][2]string{
		pipeline.OpChat:        {"CreateChatCompletionRequest", `"model":"m","messages":[{"role":"user","content":"a"}]`},
		pipeline.OpCompletions: {"CreateCompletionRequest", `"model":"m","prompt":"a"`},
		pipeline.OpEmbeddings:  {"CreateEmbeddingRequest", `"model":"m","input":"a"`},
		pipeline.OpResponses:   {"CreateResponse", `"model":"m","input":"a"`},
	} {
		all := map[string]*jsonschema.Schema{}
		parameters(all, schema(request[0]))
		if len(all) < 5 {
			t.Fatalf("%s has %d parameters", request[0], len(all))
		}
		for name, s := range all {
			if strings.Contains(request[1], `"`+name+`"`) || name == "stream" {
				continue // judged elsewhere: the edge, and each operation
			}
			for raw, v := range map[string]any{"true": true, "0.5": 0.5} {
				a := post(t, op, "{"+request[1]+`,"`+name+`":`+raw+"}")
				if s.Validate(v) == nil {
					continue
				}
				if e := decode[failure](t, a.body()).Error; a.status != 400 || e.Param == nil || *e.Param != name {
					t.Errorf("%s: %s: %d %s", op, name, a.status, a.body())
				}
			}
		}
	}
}

// parameters adds the properties of s, and of all that it is made of, to all.
func parameters(all map[string]*jsonschema.Schema, s *jsonschema.Schema) {
	if s == nil {
		return
	}
	maps.Copy(all, s.Properties)
	parameters(all, s.Ref)
	for _, part := range s.AllOf {
		parameters(all, part)
	}
}
