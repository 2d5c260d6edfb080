package stub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// patience bounds how long a hanging answer waits for its client to leave.
const patience = 30 * time.Second

func chat(w http.ResponseWriter, r *http.Request, c *call) {
	stream, _ := c.json["stream"].(bool)
	if _, ok := c.json["messages"].([]any); !ok {
		answer(w, 400, map[string]any{"error": map[string]any{
			"message": "Missing required parameter: 'messages'.", "type": "invalid_request_error", "param": "messages", "code": "missing_required_parameter",
		}})
		return
	}
	switch c.how {
	case "hang":
		pause(r, patience)
		return
	case "cut":
		if !stream {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"id":"chatcmpl-stub","choi`))
			flush(w)
			panic(http.ErrAbortHandler)
		}
	}
	if stream {
		c.streamChat(w, r)
		return
	}
	answer(w, 200, map[string]any{
		"id": "chatcmpl-stub", "object": "chat.completion", "created": 1700000000, "model": c.Model,
		"choices":   []any{map[string]any{"index": 0, "message": c.message(), "logprobs": nil, "finish_reason": c.finish()}},
		"usage":     usage(c),
		"x_unknown": map[string]any{"kept": true},
	})
}

// text is what the model says.
func (c *call) text() string {
	if c.how == "large" {
		return strings.Repeat("0123456789abcdef", 1<<16)
	}
	messages, _ := c.json["messages"].([]any)
	if len(messages) == 0 {
		return ""
	}
	last, _ := messages[len(messages)-1].(map[string]any)
	if s, ok := last["content"].(string); ok {
		return s
	}
	b, _ := json.Marshal(last["content"])
	return string(b)
}

// arguments is what get_weather is called with, in the pieces a stream has.
var arguments = []string{`{"ci`, `ty":"Pa`, `ris"}`}

func (c *call) message() map[string]any {
	if c.how != "tool" {
		return map[string]any{"role": "assistant", "content": c.text(), "refusal": nil}
	}
	return map[string]any{"role": "assistant", "content": nil, "tool_calls": []any{map[string]any{
		"id": "call_stub", "type": "function",
		"function": map[string]any{"name": "get_weather", "arguments": strings.Join(arguments, "")},
	}}}
}

func (c *call) finish() string {
	if c.how == "tool" {
		return "tool_calls"
	}
	return "stop"
}

func usage(c *call) map[string]any {
	n := len(strings.Fields(c.text()))
	return map[string]any{"prompt_tokens": n, "completion_tokens": n, "total_tokens": 2 * n}
}

// deltas are the pieces of the streamed answer.
func (c *call) deltas() []map[string]any {
	out := []map[string]any{{"role": "assistant", "content": ""}}
	switch c.how {
	case "tool":
		f := map[string]any{"name": "get_weather", "arguments": ""}
		out = append(out, map[string]any{"tool_calls": []any{map[string]any{"index": 0, "id": "call_stub", "type": "function", "function": f}}})
		for _, a := range arguments {
			out = append(out, map[string]any{"tool_calls": []any{map[string]any{"index": 0, "function": map[string]any{"arguments": a}}}})
		}
		return out
	case "drip":
		for i := range 80 {
			out = append(out, map[string]any{"content": fmt.Sprintf("%d ", i)})
		}
		return out
	}
	for _, word := range strings.SplitAfter(c.text(), " ") {
		out = append(out, map[string]any{"content": word})
	}
	return out
}

func (c *call) streamChat(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	event := func(v any) {
		b, _ := json.Marshal(v)
		_, _ = fmt.Fprintf(w, "data: %s\n\n", b)
		flush(w)
	}
	options, _ := c.json["stream_options"].(map[string]any)
	counts := options["include_usage"] == true
	chunk := func(choices ...any) map[string]any {
		m := map[string]any{
			"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": 1700000000, "model": c.Model,
			"choices": append([]any{}, choices...),
		}
		if counts {
			m["usage"] = nil
		}
		return m
	}
	for i, d := range c.deltas() {
		if i == 2 && c.breaks(w, r, event) {
			return
		}
		if c.how == "drip" && !pause(r, 50*time.Millisecond) {
			return
		}
		event(chunk(map[string]any{"index": 0, "delta": d, "logprobs": nil, "finish_reason": nil}))
	}
	event(chunk(map[string]any{"index": 0, "delta": map[string]any{}, "logprobs": nil, "finish_reason": c.finish()}))
	if counts {
		m := chunk()
		m["usage"] = usage(c)
		event(m)
	}
	_, _ = w.Write([]byte("data: [DONE]\n\n"))
}

// breaks ends a stream in the way its model asks for, after two events. It
// reports whether it did.
func (c *call) breaks(w http.ResponseWriter, r *http.Request, event func(any)) bool {
	switch c.how {
	case "stall":
		pause(r, patience)
	case "in-stream":
		event(map[string]any{"error": map[string]any{"message": "the model fell over", "type": "server_error", "param": nil, "code": "stub_error"}})
	case "cut":
		flush(w)
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	return true
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}
