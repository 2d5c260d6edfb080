package litellm

import (
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

const responseStreamed = `{"model":"m","input":"x","stream":true}`

// A response in one piece is told as the events that a client of streamed ones waits for.
func TestJSONToAStreamedResponse(t *testing.T) {
	f := func(response, want string) {
		t.Helper()
		a := asked(t, pipeline.OpResponses, responseStreamed, "200\nContent-Type: application/json", response)
		if a.err != nil || a.status != 200 || !strings.HasPrefix(string(a.header.ContentType()), "text/event-stream") {
			t.Fatalf("%d, %v\n%s", a.status, a.err, a.header.Header())
		}
		var got strings.Builder
		for rest := []byte(a.body); len(rest) > 0; {
			var event []byte
			event, rest = sse.Cut(rest)
			data, _ := sse.Data(nil, event)
			if kind, _ := chat.Text(chat.Get(data, "type")); chat.Valid(data) != nil || kind != string(sse.Name(event)) {
				t.Fatalf("%q", event)
			}
			got.Write(append(data, '\n'))
		}
		if got.String() != want {
			t.Errorf("got\n%s\nwant\n%s", got.String(), want)
		}
	}

	reasoning := `{"id":"r1","type":"reasoning","summary":[{"type":"summary_text","text":"so"}]}`
	part := `{"type":"output_text","text":"a\nb","annotations":[{"type":"url_citation","url":"u"}],"logprobs":[{"token":"a"}]}`
	message := `{"id":"m1","type":"message","role":"assistant","status":"completed","content":[` + part + `,{"type":"refusal","refusal":"no"}]}`
	call := `{"type":"function_call","call_id":"c","name":"f","arguments":"{}","status":"completed"}`
	custom := `{"id":"t1","type":"custom_tool_call","call_id":"d","name":"g","input":"in"}`
	search := `{"id":"w1","type":"web_search_call","status":"completed"}`
	whole := `{"id":"r","object":"response","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[` +
		strings.Join([]string{reasoning, message, call, custom, search}, ",") + `],"usage":{"total_tokens":3},"x":[1]}`
	begun := `{"id":"r","object":"response","status":"in_progress","incomplete_details":null,"output":[],"usage":null,"x":[1]}`
	f(whole, `{"type":"response.created","sequence_number":0,"response":`+begun+`}
{"type":"response.in_progress","sequence_number":1,"response":`+begun+`}
{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"r1","type":"reasoning","summary":[]}}
{"type":"response.reasoning_summary_part.added","sequence_number":3,"item_id":"r1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}
{"type":"response.reasoning_summary_text.delta","sequence_number":4,"item_id":"r1","output_index":0,"summary_index":0,"delta":"so"}
{"type":"response.reasoning_summary_text.done","sequence_number":5,"item_id":"r1","output_index":0,"summary_index":0,"text":"so"}
{"type":"response.reasoning_summary_part.done","sequence_number":6,"item_id":"r1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":"so"}}
{"type":"response.output_item.done","sequence_number":7,"output_index":0,"item":`+reasoning+`}
{"type":"response.output_item.added","sequence_number":8,"output_index":1,"item":{"id":"m1","type":"message","role":"assistant","status":"in_progress","content":[]}}
{"type":"response.content_part.added","sequence_number":9,"item_id":"m1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}
{"type":"response.output_text.delta","sequence_number":10,"item_id":"m1","output_index":1,"content_index":0,"logprobs":[{"token":"a"}],"delta":"a\nb"}
{"type":"response.output_text.annotation.added","sequence_number":11,"item_id":"m1","output_index":1,"content_index":0,"annotation_index":0,"annotation":{"type":"url_citation","url":"u"}}
{"type":"response.output_text.done","sequence_number":12,"item_id":"m1","output_index":1,"content_index":0,"logprobs":[{"token":"a"}],"text":"a\nb"}
{"type":"response.content_part.done","sequence_number":13,"item_id":"m1","output_index":1,"content_index":0,"part":`+part+`}
{"type":"response.content_part.added","sequence_number":14,"item_id":"m1","output_index":1,"content_index":1,"part":{"type":"refusal","refusal":""}}
{"type":"response.refusal.delta","sequence_number":15,"item_id":"m1","output_index":1,"content_index":1,"delta":"no"}
{"type":"response.refusal.done","sequence_number":16,"item_id":"m1","output_index":1,"content_index":1,"refusal":"no"}
{"type":"response.content_part.done","sequence_number":17,"item_id":"m1","output_index":1,"content_index":1,"part":{"type":"refusal","refusal":"no"}}
{"type":"response.output_item.done","sequence_number":18,"output_index":1,"item":`+message+`}
{"type":"response.output_item.added","sequence_number":19,"output_index":2,"item":{"type":"function_call","call_id":"c","name":"f","arguments":"","status":"in_progress"}}
{"type":"response.function_call_arguments.delta","sequence_number":20,"item_id":"","output_index":2,"delta":"{}"}
{"type":"response.function_call_arguments.done","sequence_number":21,"item_id":"","output_index":2,"name":"f","arguments":"{}"}
{"type":"response.output_item.done","sequence_number":22,"output_index":2,"item":`+call+`}
{"type":"response.output_item.added","sequence_number":23,"output_index":3,"item":{"id":"t1","type":"custom_tool_call","call_id":"d","name":"g","input":""}}
{"type":"response.custom_tool_call_input.delta","sequence_number":24,"item_id":"t1","output_index":3,"delta":"in"}
{"type":"response.custom_tool_call_input.done","sequence_number":25,"item_id":"t1","output_index":3,"input":"in"}
{"type":"response.output_item.done","sequence_number":26,"output_index":3,"item":`+custom+`}
{"type":"response.output_item.added","sequence_number":27,"output_index":4,"item":{"id":"w1","type":"web_search_call","status":"in_progress"}}
{"type":"response.output_item.done","sequence_number":28,"output_index":4,"item":`+search+`}
{"type":"response.incomplete","sequence_number":29,"response":`+whole+`}
`)

	// What is missing or of another type is left as it is, and makes no event.
	odd := `{"status":"completed","output":[1,{},{"type":"message","content":[{"type":"output_text"},2]},{"type":"function_call","arguments":{}}]}`
	f(odd, `{"type":"response.created","sequence_number":0,"response":{"status":"in_progress","output":[]}}
{"type":"response.in_progress","sequence_number":1,"response":{"status":"in_progress","output":[]}}
{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{}}
{"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":1}
{"type":"response.output_item.added","sequence_number":4,"output_index":1,"item":{}}
{"type":"response.output_item.done","sequence_number":5,"output_index":1,"item":{}}
{"type":"response.output_item.added","sequence_number":6,"output_index":2,"item":{"type":"message","content":[]}}
{"type":"response.content_part.added","sequence_number":7,"item_id":"","output_index":2,"content_index":0,"part":{"type":"output_text"}}
{"type":"response.content_part.done","sequence_number":8,"item_id":"","output_index":2,"content_index":0,"part":{"type":"output_text"}}
{"type":"response.content_part.added","sequence_number":9,"item_id":"","output_index":2,"content_index":1,"part":{}}
{"type":"response.content_part.done","sequence_number":10,"item_id":"","output_index":2,"content_index":1,"part":2}
{"type":"response.output_item.done","sequence_number":11,"output_index":2,"item":{"type":"message","content":[{"type":"output_text"},2]}}
{"type":"response.output_item.added","sequence_number":12,"output_index":3,"item":{"type":"function_call","arguments":""}}
{"type":"response.output_item.done","sequence_number":13,"output_index":3,"item":{"type":"function_call","arguments":{}}}
{"type":"response.completed","sequence_number":14,"response":`+odd+`}
`)

	// What has not ended, such as a response in the background, has no last event.
	for _, status := range []string{`"queued"`, `"in_progress"`, `"cancelled"`, "null"} {
		a := asked(t, pipeline.OpResponses, responseStreamed, "200\nContent-Type: application/json", `{"status":`+status+`,"output":[]}`)
		if e := problemOf(t, a.err); e.Status != 502 || e.Code != "upstream_protocol" {
			t.Errorf("%s: %q, %v", status, a.body, a.err)
		}
	}
}
