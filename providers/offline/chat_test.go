package offline

import (
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

type toolDelta struct {
	Index    int
	ID, Type string
	Function struct{ Name, Arguments string }
	Custom   struct{ Name, Input string }
}

// completionBody is a chat completion, or a chunk of one.
type completionBody struct {
	ID, Object, Model string
	Created           int
	Choices           []struct {
		Index   int
		Message struct {
			Role      string
			Content   *string
			ToolCalls []toolDelta `json:"tool_calls"`
		}
		Delta struct {
			Role      string
			Content   *string
			ToolCalls []toolDelta `json:"tool_calls"`
		}
		FinishReason *string `json:"finish_reason"`
	}
	Usage *usage
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// A choice is one answer, whichever way it came.
type choice struct {
	text, finish string
	calls        []toolDelta
}

func whole(t *testing.T, body string) ([]choice, *usage) {
	t.Helper()
	a := post(t, pipeline.OpChat, body)
	if a.status != 200 || a.kind != "application/json" || len(a.frames) != 1 {
		t.Fatalf("status %d, %s, %d frames: %s", a.status, a.kind, len(a.frames), a.body())
	}
	c := decode[completionBody](t, a.body())
	if c.Object != "chat.completion" || !strings.HasPrefix(c.ID, "chatcmpl-") || c.Created == 0 || c.Model != "m" {
		t.Fatal(a.body())
	}
	var out []choice
	for i, ch := range c.Choices {
		if ch.Index != i || ch.Message.Role != "assistant" || (ch.Message.Content == nil) != (ch.Message.ToolCalls != nil) {
			t.Fatal(a.body())
		}
		one := choice{finish: *ch.FinishReason, calls: ch.Message.ToolCalls}
		if ch.Message.Content != nil {
			one.text = *ch.Message.Content
		}
		out = append(out, one)
	}
	return out, c.Usage
}

// streamed asks for the same as a stream and puts the pieces together.
func streamed(t *testing.T, body string) ([]choice, *usage) {
	t.Helper()
	body = `{"stream":true,"stream_options":{"include_usage":true},` + body[1:]
	a := post(t, pipeline.OpChat, body)
	if a.status != 200 || a.kind != "text/event-stream" {
		t.Fatalf("status %d, %s", a.status, a.kind)
	}
	events := data(t, a.body())
	if events[len(events)-1] != "[DONE]" {
		t.Fatalf("the stream ends with %s", events[len(events)-1])
	}
	events = events[:len(events)-1]
	var out []choice
	id := decode[completionBody](t, events[0]).ID
	for i, e := range events {
		c := decode[completionBody](t, e)
		if c.ID != id || c.Object != "chat.completion.chunk" || c.Model != "m" || (c.Usage != nil) != (i == len(events)-1) {
			t.Fatal(e)
		}
		if c.Usage == nil && !strings.Contains(e, `"usage":null`) {
			t.Fatalf("no usage: null in %s", e)
		}
		if c.Usage != nil && len(c.Choices) != 0 {
			t.Fatalf("choices beside the usage: %s", e)
		}
		for _, ch := range c.Choices {
			if ch.Index == len(out) {
				out = append(out, choice{})
				if ch.Delta.Role != "assistant" {
					t.Fatalf("the first delta has no role: %s", e)
				}
			}
			one := &out[ch.Index]
			if one.finish != "" {
				t.Fatalf("choice goes on after its finish_reason: %s", e)
			}
			if ch.Delta.Content != nil {
				one.text += *ch.Delta.Content
			}
			one.calls = mergeCalls(one.calls, ch.Delta.ToolCalls)
			if ch.FinishReason != nil {
				one.finish = *ch.FinishReason
			}
		}
	}
	return out, decode[completionBody](t, events[len(events)-1]).Usage
}

func mergeCalls(to []toolDelta, pieces []toolDelta) []toolDelta {
	for _, p := range pieces {
		if p.Index == len(to) {
			to = append(to, p)
			continue
		}
		to[p.Index].Function.Arguments += p.Function.Arguments
		to[p.Index].Custom.Input += p.Custom.Input
	}
	return to
}

func TestChat(t *testing.T) {
	f := func(request, text, finish string) {
		t.Helper()
		body := `{"model":"m",` + request + `}`
		one, used := whole(t, body)
		two, usedToo := streamed(t, body)
		if len(one) != 1 || len(two) != 1 || one[0].text != text || two[0].text != text || one[0].finish != finish || two[0].finish != finish {
			t.Fatalf("%s\nwhole    %+v\nstreamed %+v\nwant     %q %s", request, one, two, text, finish)
		}
		if *used != *usedToo || used.CompletionTokens != (len(text)+3)/4 || used.TotalTokens != used.PromptTokens+used.CompletionTokens || used.PromptTokens == 0 {
			t.Fatalf("%s: usage %+v, streamed %+v", request, used, usedToo)
		}
	}
	const echo = "This is the offline model. You said: "
	user := func(content string) string { return `"messages":[{"role":"user","content":` + content + `}]` }
	f(user(`"hello there"`), echo+"hello there", "stop")
	f(user(`"  tab\tand \"quotes\" \\ \u00e9\ud83d\ude00\n"`), echo+"tab\tand \"quotes\" \\ é😀", "stop")
	f(user(`"中文没有空格的一句话,它被分成几块发送出去"`), echo+"中文没有空格的一句话,它被分成几块发送出去", "stop")
	f(user(`""`), "This is the offline model. You said nothing.", "stop")
	f(user(`null`), "This is the offline model. You said nothing.", "stop")
	f(user(`[{"type":"text","text":"one"},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"two"}]`), echo+"one\ntwo", "stop")
	f(`"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"one"},{"role":"assistant","content":"?"},{"role":"user","content":"two"},{"role":"assistant","content":"!"}]`, echo+"two", "stop")
	f(`"messages":[{"role":"user","content":"weather?"},{"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","tool_call_id":"c","content":"18 degrees"}]`,
		"This is the offline model. The tool says: 18 degrees", "stop")
	f(user(`"`+strings.Repeat("word ", 300)+`end"`), echo+"… "+strings.Repeat("word ", 199)+"end", "stop")
	f(user(`"hello"`)+`,"max_tokens":3`, "This is the ", "length")
	f(user(`"hello"`)+`,"max_completion_tokens":3,"max_tokens":100`, "This is the ", "length")
	f(user(`"ééé"`)+`,"max_tokens":10`, echo+"é", "length") // no half characters
	f(user(`"hello"`)+`,"max_tokens":5000`, echo+"hello", "stop")
	f(user(`"hello"`)+`,"stop":"offline"`, "This is the ", "stop")
	f(user(`"hello"`)+`,"stop":["zzz","You","is"]`, "Th", "stop")
	f(user(`"hello"`)+`,"stop":null,"n":null,"max_tokens":null,"tools":null,"tool_choice":null,"response_format":null`, echo+"hello", "stop")
	f(user(`"say \"json\""`)+`,"response_format":{"type":"json_object"}`, `{"answer":"say \"json\""}`, "stop")
	f(user(`"blue"`)+`,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","properties":{"colour":{"enum":["red","blue"]},"why":{"type":"string"}},"required":["colour","why"]}}}`,
		`{"colour":"blue","why":"blue"}`, "stop")
}

func TestChoices(t *testing.T) {
	body := `{"model":"m","n":3,"messages":[{"role":"user","content":"hi"}]}`
	one, used := whole(t, body)
	two, _ := streamed(t, body)
	if len(one) != 3 || len(two) != 3 || used.CompletionTokens != 3*((len(one[0].text)+3)/4) {
		t.Fatalf("%+v %+v %+v", one, two, used)
	}
	for i := range one {
		if one[i].text != two[i].text || two[i].finish != "stop" {
			t.Fatalf("%+v %+v", one, two)
		}
	}
}

func TestTools(t *testing.T) {
	const tools = `"tools":[
		{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["c","f"]}},"required":["city","unit"]}}},
		{"type":"function","function":{"name":"now"}},
		{"type":"custom","custom":{"name":"shell"}}]`
	f := func(text, more string, want ...string) {
		t.Helper()
		body := `{"model":"m","messages":[{"role":"user","content":"` + text + `"}],` + tools + more + `}`
		one, _ := whole(t, body)
		two, _ := streamed(t, body)
		for _, got := range [][]choice{one, two} {
			var calls []string
			ids := map[string]bool{}
			for i, c := range got[0].calls {
				if ids[c.ID] || !strings.HasPrefix(c.ID, "call_") || i != c.Index && len(two) == 0 {
					t.Fatalf("%s: %+v", text, got)
				}
				ids[c.ID] = true
				calls = append(calls, c.Type+" "+c.Function.Name+c.Function.Arguments+c.Custom.Name+c.Custom.Input)
			}
			if strings.Join(calls, "|") != strings.Join(want, "|") || (len(want) > 0) != (got[0].finish == "tool_calls") {
				t.Fatalf("%s %s: called %q with finish %q, want %q", text, more, calls, got[0].finish, want)
			}
		}
	}
	f("hello", "")
	f("use get_weather for f", "", `function get_weather{"city":"use get_weather for f","unit":"f"}`)
	f("use get_weathers", "")
	f("now and get_weather", "", `function get_weather{"city":"now and get_weather","unit":"c"}`, "function now{}")
	f("now and get_weather", `,"parallel_tool_calls":false`, `function get_weather{"city":"now and get_weather","unit":"c"}`)
	f("now", `,"tool_choice":"none"`)
	f("now", `,"tool_choice":"auto"`, "function now{}")
	f("hi", `,"tool_choice":"required"`, `function get_weather{"city":"hi","unit":"c"}`)
	f("hi", `,"tool_choice":{"type":"function","function":{"name":"now"}}`, "function now{}")
	f("ls -l", `,"tool_choice":{"type":"custom","custom":{"name":"shell"}}`, "custom shellls -l")
	f("hi", `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[]}}`, `function get_weather{"city":"hi","unit":"c"}`)
}

func TestCompletions(t *testing.T) {
	type chunk struct {
		Object  string
		Choices []struct {
			Text         string
			Index        int
			FinishReason *string `json:"finish_reason"`
		}
		Usage *usage
	}
	f := func(request string, want ...string) {
		t.Helper()
		body := `{"model":"m",` + request + `}`
		a := post(t, pipeline.OpCompletions, body)
		one := decode[chunk](t, a.body())
		if len(one.Choices) != len(want) || one.Object != "text_completion" {
			t.Fatalf("%s: %s", request, a.body())
		}
		for i, c := range one.Choices {
			if c.Index != i || c.Text+"|"+*c.FinishReason != want[i] {
				t.Fatalf("%s: choice %d: %q %s, want %q", request, i, c.Text, *c.FinishReason, want[i])
			}
		}
		s := post(t, pipeline.OpCompletions, `{"stream":true,"stream_options":{"include_usage":true},`+body[1:])
		events := data(t, s.body())
		got := make([]string, len(want))
		for _, e := range events[:len(events)-1] {
			c := decode[chunk](t, e)
			for _, ch := range c.Choices {
				got[ch.Index] += ch.Text
				if ch.FinishReason != nil {
					got[ch.Index] += "|" + *ch.FinishReason
				}
			}
			if c.Usage != nil && *c.Usage != *one.Usage {
				t.Fatalf("%s: usage %+v, streamed %+v", request, one.Usage, c.Usage)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") || events[len(events)-1] != "[DONE]" {
			t.Fatalf("%s: streamed %q, want %q", request, got, want)
		}
	}
	const said = "This is the offline model. You said: "
	f(`"prompt":"one"`, said+"one|stop")
	f(`"prompt":["one","two"]`, said+"one|stop", said+"two|stop")
	f(`"prompt":["one","two"],"n":2`, said+"one|stop", said+"one|stop", said+"two|stop", said+"two|stop")
	f(`"prompt":[1,2,3]`, "This is the offline model. You said nothing.|stop")
	f(`"prompt":[[1,2],[3]]`, "This is the offline model. You said nothing.|stop", "This is the offline model. You said nothing.|stop")
	f(`"prompt":"one","echo":true`, "one\n"+said+"one|stop")
	f(`"prompt":"one","max_tokens":2`, "This is |length")
	f(`"prompt":"one","stop":["You"]`, "This is the offline model. |stop")
	f(`"prompt":"one","stop":["This"]`, "|stop")
}
