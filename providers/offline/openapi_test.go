package offline

import (
	"fmt"
	"maps"
	"os"
	"slices"
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

// TestWordsAreOpenAIs needs each word that OpenAI's API takes for a parameter, for an
// element of one or for a member of one to be taken, and one that it does not know to be
// refused.
func TestWordsAreOpenAIs(t *testing.T) {
	schema := spec(t)
	for op, request := range map[pipeline.Operation][2]string{
		pipeline.OpChat:       {"CreateChatCompletionRequest", `"model":"m","messages":[{"role":"user","content":"a"}]`},
		pipeline.OpEmbeddings: {"CreateEmbeddingRequest", `"model":"m","input":"a"`},
		pipeline.OpResponses:  {"CreateResponse", `"model":"m","input":"a"`},
	} {
		judged := 0
		f := func(s *jsonschema.Schema, param, format string) {
			t.Helper()
			known := listed(nil, s)
			if len(known) == 0 || s.Validate("nobody") == nil {
				return
			}
			judged++
			for _, word := range append(known, "nobody") {
				a := post(t, op, "{"+request[1]+","+fmt.Sprintf(format, word)+"}")
				refused := a.status == 400 && strings.Contains(a.body(), `"param":"`+param+`"`)
				if refused != (word == "nobody") {
					t.Errorf("%s: %s: %q: %d %s", op, param, word, a.status, a.body())
				}
			}
		}
		all := map[string]*jsonschema.Schema{}
		parameters(all, schema(request[0]))
		for name, s := range all {
			if name == "model" {
				continue
			}
			f(s, name, `"`+name+`":"%s"`)
			members := map[string]*jsonschema.Schema{}
			parameters(members, s)
			for member, s := range members {
				f(s, name+"."+member, `"`+name+`":{"`+member+`":"%s"}`)
			}
			for _, s := range append(s.AnyOf, s) {
				if items := s.Items2020; items != nil {
					f(items, name+"[0]", `"`+name+`":["%s"]`)
				}
			}
		}
		if judged < map[pipeline.Operation]int{pipeline.OpChat: 8, pipeline.OpEmbeddings: 1, pipeline.OpResponses: 8}[op] {
			t.Errorf("%s: words of %d parameters are known", op, judged)
		}
	}
}

// listed adds the words that s takes to list.
func listed(list []string, s *jsonschema.Schema) []string {
	if s == nil {
		return list
	}
	if s.Enum != nil {
		for _, v := range s.Enum.Values {
			if word, ok := v.(string); ok {
				list = append(list, word)
			}
		}
	}
	list = listed(list, s.Ref)
	for _, part := range slices.Concat(s.AllOf, s.AnyOf, s.OneOf) {
		list = listed(list, part)
	}
	return list
}

// parameters adds the properties of s, and of all that it is made of, to all.
func parameters(all map[string]*jsonschema.Schema, s *jsonschema.Schema) {
	if s == nil {
		return
	}
	maps.Copy(all, s.Properties)
	parameters(all, s.Ref)
	for _, part := range slices.Concat(s.AllOf, s.AnyOf) {
		parameters(all, part)
	}
}
