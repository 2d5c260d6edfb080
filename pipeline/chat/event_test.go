package chat

import "testing"

func TestUseful(t *testing.T) {
	f := func(data string, want bool) {
		t.Helper()
		if Useful([]byte(data)) != want {
			t.Errorf("%s: useful is %v", data, !want)
		}
	}
	delta := func(delta string, want bool) {
		t.Helper()
		f(`{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":`+delta+`,"logprobs":null,"finish_reason":null}],"usage":null}`, want)
	}
	delta(`{"role":"assistant"}`, false)
	delta(`{"role":"assistant","content":""}`, false)
	delta(`{"role":"assistant","content":"","refusal":null,"tool_calls":[],"audio":{}}`, false)
	delta(`{}`, false)
	delta(`{"content":"a"}`, true)
	delta(`{"role":"assistant","content":" "}`, true)
	delta(`{"refusal":"no"}`, true)
	delta(`{"reasoning_content":"hm"}`, true)
	delta(`{"reasoning":"hm"}`, true)
	delta(`{"tool_calls":[{"index":0}]}`, true)
	delta(`{"function_call":{"name":"f"}}`, true)
	delta(`{"audio":{"data":"x"}}`, true)
	delta(`{"something":"new"}`, true)
	f(`{"choices":[{"delta":{},"finish_reason":"stop"}]}`, true)
	f(`{"choices":[{"index":0,"delta":{"role":"assistant"}},{"index":1,"delta":{"content":"a"}}]}`, true)
	f(`{"choices":[{"index":0,"text":""}]}`, false)
	f(`{"choices":[{"index":0,"text":"a"}]}`, true)
	f(`{"choices":[{"index":0,"message":{"role":"assistant","content":"a"}}]}`, true)
	f(`{"choices":[{"index":0}]}`, true)
	f(`{"choices":[],"prompt_filter_results":[]}`, false)
	f(`{"type":"response.created","response":{}}`, false)
	f(`{"type":"response.in_progress","response":{}}`, false)
	f(`{"type":"response.output_item.added","item":{}}`, false)
	f(`{"type":"response.output_text.delta","delta":"a"}`, true)
	f(`{"type":"response.completed","response":{}}`, true)
	f(`{"type":"something.new"}`, true)
	f(`{"object":"something.new"}`, true)
	f(`{"error":{"message":"no"}}`, true)
	f(`[DONE]`, true)
	f(`{"choices":[`, false)
	f(``, false)
}

func TestErrorObject(t *testing.T) {
	f := func(data, want string) {
		t.Helper()
		raw, ok := ErrorObject([]byte(data))
		if string(raw) != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", data, raw, ok)
		}
	}
	f(`{"error":{"message":"no"}}`, `{"message":"no"}`)
	f(`{"id":1, "error" : "no" }`, `"no"`)
	f(`{"error":null,"choices":[]}`, ``)
	f(`{"choices":[{"delta":{"content":"an \"error\" here"}}]}`, ``)
	f(`{"choices":[{"error":"inside"}]}`, ``)
	f(`{"a":"error"}`, ``)
	f(`{"type":"error","code":"server_error"}`, `{"type":"error","code":"server_error"}`)
	f(`{"type":"error","error":{"type":"overloaded_error"}}`, `{"type":"overloaded_error"}`)
	f(`{"type":"response.failed","response":{"error":{"code":"x"}}}`, `{"code":"x"}`)
	f(`{"type":"response.completed","response":{"error":null}}`, ``)
	f(`[DONE]`, ``)
}

func BenchmarkEvent(b *testing.B) {
	data := []byte(`{"id":"chatcmpl-123","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" brown"},"logprobs":null,"finish_reason":null}],"usage":null}`)
	b.Run("Useful", func(b *testing.B) {
		for b.Loop() {
			Useful(data)
		}
	})
	b.Run("ErrorObject", func(b *testing.B) {
		for b.Loop() {
			_, _ = ErrorObject(data)
		}
	})
}
