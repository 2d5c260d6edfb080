package offline

import (
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

type responseBody struct {
	ID, Object, Status, Model string
	Output                    []struct {
		ID, Type, Status, Role string
		Name, Arguments, Input string
		CallID                 string `json:"call_id"`
		Content                []struct{ Type, Text string }
	}
	Usage *struct {
		Input  int `json:"input_tokens"`
		Output int `json:"output_tokens"`
		Total  int `json:"total_tokens"`
	}
	Instructions *string
	Metadata     map[string]string
}

// event is any event of a streamed response.
type event struct {
	Type           string
	SequenceNumber int `json:"sequence_number"`
	Response       *responseBody
	ItemID         string `json:"item_id"`
	Delta, Text    string
	Arguments      string
	Input          string
}

func TestResponses(t *testing.T) {
	f := func(request, text, status string, kinds ...string) responseBody {
		t.Helper()
		body := `{"model":"m",` + request + `}`
		a := post(t, pipeline.OpResponses, body)
		r := decode[responseBody](t, a.body())
		said := func(r responseBody) (said string) {
			for _, o := range r.Output {
				said += o.Name + o.Arguments + o.Input
				for _, p := range o.Content {
					said += p.Text
				}
			}
			return said
		}
		if a.status != 200 || r.Object != "response" || r.Model != "m" || !strings.HasPrefix(r.ID, "resp_") || said(r) != text || r.Status != status || r.Usage == nil {
			t.Fatalf("%s: %s", request, a.body())
		}
		s := post(t, pipeline.OpResponses, `{"stream":true,`+body[1:])
		var got, order []string
		var deltas string
		for i, d := range data(t, s.body()) {
			e := decode[event](t, d)
			if e.SequenceNumber != i || !strings.Contains(s.body(), "event: "+e.Type+"\ndata: {\"type\":\""+e.Type) {
				t.Fatalf("%s: event %d: %s", request, i, d)
			}
			if deltas += e.Delta; len(order) == 0 || order[len(order)-1] != e.Type {
				order = append(order, e.Type)
			}
			got = append(got, d)
			if strings.HasSuffix(e.Type, ".done") && e.Text+e.Arguments+e.Input != "" && !strings.HasSuffix(deltas, e.Text+e.Arguments+e.Input) {
				t.Fatalf("%s: deltas %q before %s", request, deltas, d)
			}
		}
		if strings.Join(order, "\n") != strings.ReplaceAll(strings.Join(kinds, "\n"), "~", "response.") {
			t.Fatalf("%s: events\n%s", request, strings.Join(order, "\n"))
		}
		last := decode[event](t, got[len(got)-1]).Response
		if last == nil || said(*last) != text || last.Status != status || *last.Usage != *r.Usage {
			t.Fatalf("%s: the stream ends with %s", request, got[len(got)-1])
		}
		return r
	}
	message := []string{
		"~created", "~in_progress", "~output_item.added", "~content_part.added",
		"~output_text.delta", "~output_text.done", "~content_part.done", "~output_item.done",
	}
	const said = "This is the offline model. You said: "
	r := f(`"input":"hello","instructions":"be brief","metadata":{"a":"b"}`, said+"hello", "completed", append(message, "~completed")...)
	if *r.Instructions != "be brief" || r.Metadata["a"] != "b" || r.Usage.Total != r.Usage.Input+r.Usage.Output {
		t.Fatalf("%+v", r)
	}
	f(`"input":[{"role":"user","content":[{"type":"input_text","text":"hello"}]}]`, said+"hello", "completed", append(message, "~completed")...)
	f(`"input":"hello","max_output_tokens":1`, "This", "incomplete", append(message, "~incomplete")...)
	f(`"input":"hello","text":{"format":{"type":"json_schema","name":"x","schema":{"type":"object","properties":{"n":{"type":"integer","minimum":3}}}}}`,
		`{"n":3}`, "completed", append(message, "~completed")...)

	const tools = `"tools":[{"type":"function","name":"now","parameters":{"type":"object","properties":{"zone":{"type":"string"}}}},{"type":"custom","name":"shell"},{"type":"web_search"}]`
	call := []string{"~created", "~in_progress", "~output_item.added", "~function_call_arguments.delta", "~function_call_arguments.done", "~output_item.done"}
	f(`"input":"now",`+tools, `now{"zone":"now"}`, "completed", append(call, "~completed")...)
	f(`"input":"now, in the shell",`+tools, `now{"zone":"now, in the shell"}shellnow, in the shell`, "completed",
		append(call, "~output_item.added", "~custom_tool_call_input.delta", "~custom_tool_call_input.done", "~output_item.done", "~completed")...)
	f(`"input":[{"role":"user","content":"now"},{"type":"function_call","call_id":"c","name":"now","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"noon"}],`+tools,
		"This is the offline model. The tool says: noon", "completed", append(message, "~completed")...)
}
