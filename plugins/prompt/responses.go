package prompt

import (
	"strconv"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// withOutput returns the output items of a response with annotations; nil if there
// are none.
func withOutput(items []byte, sources []cited) []byte {
	return eachObject(items, func(item *chat.Request) []byte { return withContent(item, sources) })
}

// withContent returns an output item with annotations, or nil.
func withContent(item *chat.Request, sources []cited) []byte {
	raw, ok := item.Member("content")
	if !ok {
		return nil
	}
	parts := eachObject(raw, func(part *chat.Request) []byte { return withPart(part, sources) })
	if parts == nil {
		return nil
	}
	return item.AppendEdit(nil, chat.Edit{Key: "content", Value: parts})
}

// withPart returns a part of a message with annotations, or nil.
func withPart(part *chat.Request, sources []cited) []byte {
	if kind, _ := part.Member("type"); string(kind) != `"output_text"` {
		return nil
	}
	raw, _ := part.Member("text")
	text, _ := chat.AppendText(nil, raw)
	return added(part, annotations(text, sources, true))
}

// responseEvents adds to the events of a streamed response what the client asked for:
// an event for each annotation in front of the one that ends its text, annotations to
// whatever repeats the text from there on, and the account to the response that the
// last event holds.
type responseEvents struct {
	pipeline.Stream
	sources []cited // to annotate; nil: not asked for
	account []byte  // nil: not asked for

	more int64 // events that were added, which those behind them count too
	seen int   // annotations of the upstream's own, on the text at hand
	out  []byte
}

// Next implements pipeline.Stream.
func (e *responseEvents) Next() ([]byte, error) {
	for {
		frame, err := e.Stream.Next()
		if err != nil {
			return nil, err
		}
		e.out = e.out[:0]
		eachEvent(frame, e.event)
		if len(e.out) > 0 {
			return e.out, nil
		}
	}
}

// event passes one event on.
func (e *responseEvents) event(event []byte) {
	var members chat.Request
	data, ok := sse.Data(nil, event)
	if !ok || members.Scan(data) != nil {
		e.out = append(e.out, event...)
		return
	}
	raw, _ := members.Member("type")
	kind, _ := chat.Text(raw)
	var edits []chat.Edit
	edit := func(key string, change func(o *chat.Request) []byte) {
		var o chat.Request
		if raw, ok := members.Member(key); ok && o.Scan(raw) == nil {
			if changed := change(&o); changed != nil {
				edits = append(edits, chat.Edit{Key: key, Value: changed})
			}
		}
	}
	switch kind {
	case annotationAdded:
		e.seen++
	case "response.output_text.done":
		e.announce(&members, string(sse.Name(event)) != "")
	case "response.content_part.done":
		edit("part", func(o *chat.Request) []byte { return withPart(o, e.sources) })
	case "response.output_item.done":
		edit("item", func(o *chat.Request) []byte { return withContent(o, e.sources) })
	case "response.completed", "response.incomplete":
		if raw, ok := members.Member("response"); ok {
			if changed := annotated(raw, e.sources, e.account); changed != nil {
				edits = append(edits, chat.Edit{Key: "response", Value: changed})
			}
		}
	}
	if n, ok := e.number(&members); ok {
		edits = append(edits, chat.Edit{Key: sequence, Value: strconv.AppendInt(nil, n, 10)})
	}
	if len(edits) == 0 {
		e.out = append(e.out, event...)
		return
	}
	e.out = sse.AppendEvent(e.out, string(sse.Name(event)), members.AppendEdit(nil, edits...))
}

const (
	sequence        = "sequence_number"
	annotationAdded = "response.output_text.annotation.added"
)

// number is that of an event, if it is not the one that it came with.
func (e *responseEvents) number(members *chat.Request) (int64, bool) {
	raw, _ := members.Member(sequence)
	n, ok := chat.Int(raw)
	return n + e.more, ok && e.more > 0
}

// announce writes the events for the annotations of a text that has ended.
func (e *responseEvents) announce(done *chat.Request, named bool) {
	raw, _ := done.Member("text")
	text, _ := chat.AppendText(nil, raw)
	name := ""
	if named {
		name = annotationAdded
	}
	for i, a := range annotations(text, e.sources, true) {
		b := []byte(`{"type":"` + annotationAdded + `"`)
		for _, key := range [...]string{"item_id", "output_index", "content_index"} {
			if raw, ok := done.Member(key); ok {
				b = append(append(append(append(b, `,"`...), key...), `":`...), raw...)
			}
		}
		b = strconv.AppendInt(append(b, `,"annotation_index":`...), int64(e.seen+i), 10)
		b = append(append(b, `,"annotation":`...), a...)
		if raw, ok := done.Member(sequence); ok {
			if n, ok := chat.Int(raw); ok {
				b = strconv.AppendInt(append(b, `,"`+sequence+`":`...), n+e.more, 10)
				e.more++
			}
		}
		e.out = sse.AppendEvent(e.out, name, append(b, '}'))
	}
	e.seen = 0
}
