package litellm

import (
	"strconv"

	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// A replay tells a response that came in one piece as the events of a streamed one, since
// some clients look at nothing but pieces of texts and others at nothing but the last event.
// Each text, and each call's arguments, is one piece.
type replay struct {
	out  []byte
	next int64  // number of the next event
	kind string // of the event at hand
	data []byte // and what it says
	part []byte // scratch
}

// lastEvent is the event that ends a stream with a response of this status, or nothing if
// such a response has not ended.
func lastEvent(body []byte) string {
	switch string(chat.Get(body, "status")) {
	case `"completed"`:
		return "response.completed"
	case `"incomplete"`:
		return "response.incomplete"
	case `"failed"`:
		return "response.failed"
	}
	return ""
}

// appendResponse appends a valid response as a stream.
func appendResponse(dst, body []byte) []byte {
	r := replay{out: dst}
	r.part = appendWith(r.part[:0], body, begunResponse)
	for _, kind := range [...]string{"response.created", "response.in_progress"} {
		r.begin(kind)
		r.end("response", r.part)
	}
	at := int64(0)
	for item := range chat.Array(chat.Get(body, "output")) {
		r.begin("response.output_item.added")
		r.number("output_index", at)
		r.part = appendWith(r.part[:0], item, begunItem)
		r.end("item", r.part)
		r.item(item, at)
		r.begin("response.output_item.done")
		r.number("output_index", at)
		r.end("item", item)
		at++
	}
	r.begin(lastEvent(body))
	r.end("response", body)
	return r.out
}

// What a response, an item of its output and a part of an item are before they have grown.
var (
	begunResponse = map[string]string{
		"status": `"in_progress"`, "output": "[]", "usage": "null", "error": "null",
		"incomplete_details": "null", "completed_at": "null", "output_text": `""`,
	}
	begunItem = map[string]string{"status": `"in_progress"`, "content": "[]", "summary": "[]", "arguments": `""`, "input": `""`}
	begunPart = map[string]string{"text": `""`, "refusal": `""`, "annotations": "[]", "logprobs": "[]"}
)

// item writes how an item grows. One of a kind that is not known is there at once.
func (r *replay) item(item []byte, at int64) {
	switch string(chat.Get(item, "type")) {
	case `"message"`:
		r.parts(item, at, "content", "content_index", "response.content_part")
	case `"reasoning"`:
		r.parts(item, at, "summary", "summary_index", "response.reasoning_summary_part")
		r.parts(item, at, "content", "content_index", "response.content_part")
	case `"function_call"`:
		r.grow(item, at, "response.function_call_arguments", "arguments")
	case `"custom_tool_call"`:
		r.grow(item, at, "response.custom_tool_call_input", "input")
	}
}

// grow writes the arguments of a call.
func (r *replay) grow(item []byte, at int64, kind, key string) {
	value := chat.Get(item, key)
	if _, ok := chat.Text(value); !ok {
		return
	}
	r.place(kind+".delta", item, at)
	r.end("delta", value)
	r.place(kind+".done", item, at)
	if name := chat.Get(item, "name"); key == "arguments" && name != nil {
		r.member("name", name)
	}
	r.end(key, value)
}

// parts writes a list of parts, each of which is announced, said, and ended.
func (r *replay) parts(item []byte, at int64, list, index, kind string) {
	i := int64(0)
	for part := range chat.Array(chat.Get(item, list)) {
		begin := func(kind string) {
			r.place(kind, item, at)
			r.number(index, i)
		}
		begin(kind + ".added")
		r.part = appendWith(r.part[:0], part, begunPart)
		r.end("part", r.part)
		r.say(part, begin)
		begin(kind + ".done")
		r.end("part", part)
		i++
	}
}

// said is how the text of a part is told of: in events of this kind, as this member.
var said = map[string]struct{ kind, key string }{
	`"output_text"`:    {"response.output_text", "text"},
	`"refusal"`:        {"response.refusal", "refusal"},
	`"reasoning_text"`: {"response.reasoning_text", "text"},
	`"summary_text"`:   {"response.reasoning_summary_text", "text"},
}

// say writes what a part says. begin begins an event about it.
func (r *replay) say(part []byte, begin func(kind string)) {
	as, ok := said[string(chat.Get(part, "type"))]
	if !ok {
		return
	}
	value := chat.Get(part, as.key)
	if _, ok := chat.Text(value); !ok {
		return
	}
	for _, step := range [...]struct{ kind, key string }{{as.kind + ".delta", "delta"}, {as.kind + ".done", as.key}} {
		begin(step.kind)
		if as.kind == "response.output_text" {
			logprobs := chat.Get(part, "logprobs")
			if len(logprobs) == 0 || logprobs[0] != '[' {
				logprobs = []byte("[]")
			}
			r.member("logprobs", logprobs)
		}
		r.end(step.key, value)
		if step.key != "delta" {
			continue
		}
		n := int64(0)
		for annotation := range chat.Array(chat.Get(part, "annotations")) {
			begin("response.output_text.annotation.added")
			r.number("annotation_index", n)
			r.end("annotation", annotation)
			n++
		}
	}
}

// begin begins an event.
func (r *replay) begin(kind string) {
	r.kind = kind
	r.data = append(chat.AppendString(append(r.data[:0], `{"type":`...), kind), `,"sequence_number":`...)
	r.data = strconv.AppendInt(r.data, r.next, 10)
	r.next++
}

// place begins an event about an item.
func (r *replay) place(kind string, item []byte, at int64) {
	r.begin(kind)
	id := chat.Get(item, "id")
	if id == nil {
		id = []byte(`""`)
	}
	r.member("item_id", id)
	r.number("output_index", at)
}

func (r *replay) member(key string, value []byte) {
	r.data = append(append(chat.AppendString(append(r.data, ','), key), ':'), value...)
}

func (r *replay) number(key string, n int64) {
	r.data = strconv.AppendInt(append(chat.AppendString(append(r.data, ','), key), ':'), n, 10)
}

// end ends an event with its last member. Its name is its type.
func (r *replay) end(key string, value []byte) {
	r.member(key, value)
	r.out = sse.AppendEvent(r.out, r.kind, append(r.data, '}'))
}

// appendWith appends an object with other values in the place of some of its own.
func appendWith(dst, object []byte, values map[string]string) []byte {
	dst = append(dst, '{')
	for key, value := range chat.Object(object) {
		if other, ok := values[string(key)]; ok {
			value = []byte(other)
		}
		dst = appendMember(dst, key, value)
	}
	return end(dst, '}')
}
