package rag_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/rag"
)

func TestBegin(t *testing.T) {
	f := func(header, body, wantBody string, want pipeline.RetrievalOptions, off bool) {
		t.Helper()
		ex := pipetest.Exchange(t, body)
		defer ex.Release()
		if header != "" {
			ex.Request.Header.Set("X-RAG", header)
		}
		r, err := rag.Begin(ex)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, *r.Options); d != "" {
			t.Errorf("options differ (-want +got):\n%s", d)
		}
		if r.Off != off || string(ex.Request.Body) != wantBody {
			t.Errorf("off %v, body %s; want %v, %s", r.Off, ex.Request.Body, off, wantBody)
		}
		if v := ex.Request.Header.Peek("X-RAG"); len(v) > 0 {
			t.Errorf("the upstream sees X-RAG: %s", v)
		}
		again, err := rag.Begin(ex)
		if again != r || err != nil {
			t.Error("the second call did something")
		}
	}
	const plain = `{"model":"m","messages":[{"role":"user","content":"What is a headrace, please?"}]}`
	with := func(rag string) string { return strings.Replace(plain, `"messages"`, `"rag":`+rag+`,"messages"`, 1) }
	yes, two := true, 2
	f("", plain, plain, pipeline.RetrievalOptions{}, false)
	f("off", plain, plain, pipeline.RetrievalOptions{Switch: pipeline.RetrievalOff}, true)
	f("Required", plain, plain, pipeline.RetrievalOptions{Switch: pipeline.RetrievalRequired}, false)
	f("", with(`{"enabled":false}`), plain, pipeline.RetrievalOptions{Switch: pipeline.RetrievalOff}, true)
	f("on", with(`{"enabled":false}`), plain, pipeline.RetrievalOptions{Switch: pipeline.RetrievalOn}, false)
	f("", with(`null`), plain, pipeline.RetrievalOptions{}, false)
	f("", with(`{"collection":"kb","top_k":3,"rerank":true,"max_hops":2,"filters":{"lang":"en"},"max_context_tokens":99,"include":["annotations","debug"]}`), plain,
		pipeline.RetrievalOptions{
			Collection: "kb", TopK: 3, Rerank: &yes, MaxHops: &two, MaxContextTokens: 99,
			Filter:  &pipeline.Filter{Must: []pipeline.Condition{{Field: "lang", Any: []pipeline.Value{{Text: "en"}}}}},
			Include: pipeline.IncludeAnnotations | pipeline.IncludeDebug,
		}, false)
	tool := `{"messages":[{"role":"user","content":"What is a headrace, please?"},{"role":"tool","content":"x"}]}`
	f("", tool, tool, pipeline.RetrievalOptions{}, true)
}

func TestOptionsRefused(t *testing.T) {
	f := func(raw, param string) {
		t.Helper()
		ex := pipetest.Exchange(t, `{"rag":`+raw+`,"messages":[]}`)
		defer ex.Release()
		_, err := rag.Begin(ex)
		e, ok := errors.AsType[*pipeline.Error](err)
		if !ok || e.Status != 400 || e.Param != param || !strings.Contains(e.Err.Error(), param) {
			t.Errorf("%s: got %v; want 400 about %s", raw, err, param)
		}
	}
	f(`[]`, "rag")
	f(`{"top_k":1,"top_k":2}`, "rag")
	f(`{"enabled":"yes"}`, "rag.enabled")
	f(`{"top_k":"5"}`, "rag.top_k")
	f(`{"top_k":0}`, "rag.top_k")
	f(`{"top_k":101}`, "rag.top_k")
	f(`{"max_hops":4}`, "rag.max_hops")
	f(`{"max_hops":1.5}`, "rag.max_hops")
	f(`{"rerank":1}`, "rag.rerank")
	f(`{"collection":""}`, "rag.collection")
	f(`{"include":"debug"}`, "rag.include")
	f(`{"include":["all"]}`, "rag.include")
	f(`{"filter":{}}`, "rag.filter")
	f(`{"filters":[]}`, "rag.filters")
	f(`{"max_context_tokens":-1}`, "rag.max_context_tokens")

	ex := pipetest.Exchange(t, `{}`)
	defer ex.Release()
	ex.Request.Header.Set("X-RAG", "maybe")
	if _, err := rag.Begin(ex); err == nil || !strings.Contains(err.Error(), "X-RAG must be off, on or required") {
		t.Errorf("got %v", err)
	}
}

// What some answers cannot have is not silently left out of them.
func TestRequired(t *testing.T) {
	f := func(op pipeline.Operation, body string, refused bool) {
		t.Helper()
		for header, asked := range map[string]bool{"required": true, "on": false} {
			ex := pipetest.Exchange(t, body)
			ex.Op = op
			ex.Request.Header.Set("X-RAG", header)
			_, err := rag.Begin(ex)
			e, ok := errors.AsType[*pipeline.Error](err)
			if ok != (refused && asked) || ok && (e.Status != 400 || e.Param != "X-RAG") {
				t.Errorf("%v, %s: %v", op, header, err)
			}
			ex.Release()
		}
	}
	f(pipeline.OpChat, `{"messages":[{"role":"user","content":"Who?"}]}`, false)
	f(pipeline.OpResponses, `{"input":"Who?"}`, false)
	f(pipeline.OpCompletions, `{"prompt":"Who?"}`, false)
	f(pipeline.OpCompletions, `{"prompt":["Who?","When?"]}`, true)
	f(pipeline.OpCompletions, `{"prompt":[1,2]}`, true)
	f(pipeline.OpEmbeddings, `{"input":"Who?"}`, true)
	// What can be had without a question is refused too, but for the way back from a tool.
	f(pipeline.OpResponses, `{"previous_response_id":"r"}`, true)
	f(pipeline.OpResponses, `{"input":[{"role":"system","content":"Be brief."}]}`, true)
	f(pipeline.OpResponses, `{"input":[{"type":"function_call_output","call_id":"1","output":"x"}]}`, false)
	f(pipeline.OpCompletions, `{"prompt":" "}`, true)
}

// When to come again is what the upstream says, if it says it.
func TestUnavailable(t *testing.T) {
	f := func(err error, want time.Duration) {
		t.Helper()
		e, ok := errors.AsType[*pipeline.Error](rag.Unavailable(err))
		if !ok || e.Status != 503 || e.Code != "retrieval_unavailable" || e.RetryAfter != want || strings.Contains(e.Error(), "10.0.0.1") {
			t.Errorf("%v: got %v, again in %v, want %v", err, e, e.RetryAfter, want)
		}
	}
	f(errors.New("connect to 10.0.0.1: refused"), 2*time.Second)
	f(&pipeline.Error{Status: 502, Err: errors.New("10.0.0.1")}, 2*time.Second)
	f(fmt.Errorf("embed: %w", &pipeline.Error{Status: 429, RetryAfter: 17 * time.Second}), 17*time.Second)
	f(errors.Join(&pipeline.Error{Status: 503, RetryAfter: 9 * time.Second}, errors.New("10.0.0.1")), 9*time.Second)
}

func TestQuestionOfOthers(t *testing.T) {
	f := func(op pipeline.Operation, body, want string) {
		t.Helper()
		ex := pipetest.Exchange(t, body)
		defer ex.Release()
		ex.Op = op
		if got := rag.Question(ex); got != want {
			t.Errorf("%v, %s: got %q, want %q", op, body, got, want)
		}
	}
	f(pipeline.OpCompletions, `{"prompt":" Who has \"founded\" Foo? "}`, `Who has "founded" Foo?`)
	f(pipeline.OpCompletions, `{"prompt":["Who has founded Foo?"]}`, "Who has founded Foo?")
	f(pipeline.OpCompletions, `{"prompt":["a","b"]}`, "")
	f(pipeline.OpCompletions, `{"prompt":[[1,2]]}`, "")
	f(pipeline.OpCompletions, `{"messages":[{"role":"user","content":"Who has founded Foo?"}]}`, "")
	f(pipeline.OpResponses, `{"input":"Who?"}`, "Who?")
	f(pipeline.OpResponses, `{"instructions":"Be brief.","input":[{"role":"user","content":"Who has founded Foo?!"},
		{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Bar."}]},
		{"type":"message","role":"user","content":[{"type":"input_text","text":"And when?"},{"type":"input_image","image_url":"x"}]}]}`, "And when?\nWho has founded Foo?!")
	const call = `{"input":[{"role":"user","content":"What is the weather in Foo?"},{"type":"function_call","call_id":"1","name":"weather","arguments":"{}"}`
	f(pipeline.OpResponses, call+`]}`, "What is the weather in Foo?")
	f(pipeline.OpResponses, call+`,{"type":"function_call_output","call_id":"1","output":"rain"}]}`, "")
	f(pipeline.OpResponses, `{"previous_response_id":"r"}`, "")
	f(pipeline.OpEmbeddings, `{"input":"Who has founded Foo?"}`, "")
}

func TestQuestion(t *testing.T) {
	f := func(messages, want string) {
		t.Helper()
		ex := pipetest.Exchange(t, `{"messages":`+messages+`}`)
		defer ex.Release()
		if got := rag.Question(ex); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(`[]`, "")
	f(`"hi"`, "")
	f(`[{"role":"system","content":"Be brief and also very polite."}]`, "")
	f(`[{"role":"user","content":"Who has founded the company of Foo?"}]`, "Who has founded the company of Foo?")
	f(`[{"role":"user","content":[{"type":"text","text":"Who has founded"},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"the company of Foo?"}]}]`,
		"Who has founded\nthe company of Foo?")
	// A short turn refers to the one before.
	f(`[{"role":"user","content":"Who has founded Foo?!"},{"role":"assistant","content":"Bar."},{"role":"user","content":"And when?"}]`, "And when?\nWho has founded Foo?!")
	f(`[{"role":"user","content":"And when?"}]`, "And when?")
	f(`[{"role":"user","content":"Who has founded the company?"},{"role":"assistant","content":"Bar."}]`, "Who has founded the company?")
	f(`[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[]},{"role":"tool","content":"y"}]`, "")
	f(`[{"role":"user","content":"`+strings.Repeat("水", 3000)+`"}]`, strings.Repeat("水", 2000))
}

func TestCollection(t *testing.T) {
	f := func(p *pipeline.Policy, named, want string) {
		t.Helper()
		got, err := rag.Collection(p, named, "kb")
		if want == "" {
			if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 403 {
				t.Errorf("got %q, %v; want 403", got, err)
			}
			return
		}
		if got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	f(nil, "", "kb")
	f(nil, "other", "other")
	f(&pipeline.Policy{}, "other", "other")
	f(&pipeline.Policy{Collections: []string{"other"}}, "other", "other")
	f(&pipeline.Policy{Collections: []string{"other"}}, "", "kb")
	f(&pipeline.Policy{Collections: []string{}}, "kb", "kb")
	f(&pipeline.Policy{Collections: []string{}}, "other", "")
}
