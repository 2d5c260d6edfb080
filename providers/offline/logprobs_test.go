package offline

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline"
)

type likely struct {
	Token   string
	Logprob *float64
	Bytes   []int
	Top     []likely `json:"top_logprobs"`
}

// tell joins the tokens and checks what is said of each.
func tell(t *testing.T, tokens []likely, rivals int) string {
	t.Helper()
	var b strings.Builder
	for _, k := range tokens {
		if k.Logprob == nil || *k.Logprob != 0 || len(k.Bytes) != len(k.Token) || k.Bytes[0] != int(k.Token[0]) || len(k.Top) != rivals || rivals > 0 && k.Top[0].Token != k.Token {
			t.Errorf("%+v", k)
		}
		b.WriteString(k.Token)
	}
	return b.String()
}

// chunks are the data of a stream's events but for the mark of its end.
func chunks(t *testing.T, body string) []string {
	t.Helper()
	all := data(t, body)
	return all[:len(all)-1]
}

type chances struct {
	Choices []struct {
		Index          int
		Text           string
		Message, Delta struct{ Content string }
		Logprobs       *struct{ Content, Refusal []likely }
	}
}

func TestLogprobsOfChat(t *testing.T) {
	const body = `{"model":"m","n":2,"messages":[{"role":"user","content":"Hé \"x\" 你好"}]`
	f := func(more string, rivals int) {
		t.Helper()
		var whole, streamed, said [2]string
		for _, c := range decode[chances](t, post(t, pipeline.OpChat, body+more+"}").body()).Choices {
			if whole[c.Index] = c.Message.Content; c.Logprobs == nil || tell(t, c.Logprobs.Content, rivals) != c.Message.Content {
				t.Errorf("%+v", c)
			}
		}
		for _, d := range chunks(t, post(t, pipeline.OpChat, body+more+`,"stream":true}`).body()) {
			for _, c := range decode[chances](t, d).Choices {
				streamed[c.Index] += c.Delta.Content
				if c.Logprobs != nil {
					said[c.Index] += tell(t, c.Logprobs.Content, rivals)
				}
			}
		}
		if whole[0] == "" || streamed != whole || said != whole {
			t.Errorf("%q, streamed %q, said %q", whole, streamed, said)
		}
	}
	f(`,"logprobs":true`, 0)
	f(`,"logprobs":true,"top_logprobs":0`, 0)
	f(`,"logprobs":true,"top_logprobs":5`, 1)

	none := func(more string) {
		t.Helper()
		for _, c := range decode[chances](t, post(t, pipeline.OpChat, body+more+"}").body()).Choices {
			if c.Logprobs != nil {
				t.Errorf("%s: %+v", more, c)
			}
		}
	}
	none(``)
	none(`,"logprobs":false`)
	none(`,"logprobs":true,"tool_choice":"required","tools":[{"type":"function","function":{"name":"f"}}]`)
}

type legacy struct {
	Choices []struct {
		Text     string
		Logprobs *struct {
			Tokens   []string
			Logprobs []float64            `json:"token_logprobs"`
			Top      []map[string]float64 `json:"top_logprobs"`
			Offsets  []int                `json:"text_offset"`
		}
	}
}

func TestLogprobsOfCompletions(t *testing.T) {
	f := func(body string, rivals bool) {
		t.Helper()
		check := func(text *string, body string) {
			t.Helper()
			for _, c := range decode[legacy](t, body).Choices {
				p := c.Logprobs
				if p == nil || strings.Join(p.Tokens, "") != c.Text || len(p.Logprobs) != len(p.Tokens) || len(p.Offsets) != len(p.Tokens) || rivals != (p.Top != nil) {
					t.Fatal(body)
				}
				at := utf8.RuneCountInString(*text)
				for i, token := range p.Tokens {
					if p.Offsets[i] != at || p.Logprobs[i] != 0 || rivals && len(p.Top[i]) != 1 {
						t.Error(body)
					}
					at += utf8.RuneCountInString(token)
				}
				*text += c.Text
			}
		}
		var whole, streamed string
		check(&whole, post(t, pipeline.OpCompletions, body+"}").body())
		for _, d := range chunks(t, post(t, pipeline.OpCompletions, body+`,"stream":true}`).body()) {
			check(&streamed, d)
		}
		if whole == "" || streamed != whole {
			t.Errorf("%q, streamed %q", whole, streamed)
		}
	}
	f(`{"model":"m","prompt":"Hé \"x\" 你好","logprobs":0`, false)
	f(`{"model":"m","prompt":"Hé \"x\" 你好","logprobs":3,"echo":true`, true)
	if c := decode[legacy](t, post(t, pipeline.OpCompletions, `{"model":"m","prompt":"a","logprobs":null}`).body()).Choices[0]; c.Logprobs != nil {
		t.Errorf("%+v", c)
	}
}

type spoken struct {
	Type, Text string
	Logprobs   []likely
}

func TestLogprobsOfResponses(t *testing.T) {
	const body = `{"model":"m","input":"Hé \"x\" 你好","include":["message.output_text.logprobs"],"top_logprobs":1`
	r := decode[struct{ Output []struct{ Content []spoken } }](t, post(t, pipeline.OpResponses, body+"}").body())
	whole := r.Output[0].Content[0]
	if whole.Text == "" || tell(t, whole.Logprobs, 1) != whole.Text {
		t.Errorf("%+v", whole)
	}
	var deltas, done string
	for _, d := range data(t, post(t, pipeline.OpResponses, body+`,"stream":true}`).body()) {
		e := decode[struct {
			spoken
			Delta string
		}](t, d)
		switch e.Type {
		case "response.output_text.delta":
			if deltas += e.Delta; tell(t, e.Logprobs, 1) != e.Delta {
				t.Error(d)
			}
		case "response.output_text.done":
			done = tell(t, e.Logprobs, 1)
		}
	}
	if deltas != whole.Text || done != whole.Text {
		t.Errorf("%q, %q", deltas, done)
	}
	if s := post(t, pipeline.OpResponses, `{"model":"m","input":"a","top_logprobs":1}`).body(); !strings.Contains(s, `"logprobs":[]`) {
		t.Error(s)
	}
}
