package prompt

import (
	"bytes"
	"io"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// maxChoices bounds the choices of a stream whose text is collected.
const maxChoices = 16

// events adds to a stream of events what the client asked for: annotations to
// the delta that ends a choice, the account to the last chunk. Text passes as it
// comes; only once a choice has ended is each chunk held until it is known
// whether another follows.
type events struct {
	pipeline.Stream
	sources []cited // to annotate; nil: not asked for
	account []byte  // nil: not asked for

	texts  [maxChoices][]byte // by index of the choice
	last   []byte             // data of the last chunk
	held   []byte             // data of a chunk that may be the last; nil: none
	ending bool               // a choice has ended
	told   bool               // the account is out
	err    error              // to be returned once out is read
	out    []byte
}

// Next implements pipeline.Stream.
func (e *events) Next() ([]byte, error) {
	for {
		if e.err != nil {
			return nil, e.err
		}
		frame, err := e.Stream.Next()
		e.out = e.out[:0]
		if err != nil {
			e.err = err
			// A stream that broke has no last chunk.
			e.release(err == io.EOF)
		}
		if err == nil {
			eachEvent(frame, e.event)
		}
		if len(e.out) > 0 {
			return e.out, nil
		}
	}
}

// eachEvent calls do for every event of a frame.
func eachEvent(frame []byte, do func(event []byte)) {
	for len(frame) > 0 {
		var event []byte
		if event, frame = sse.Cut(frame); event == nil {
			return
		}
		do(event)
	}
}

// event passes one event on.
func (e *events) event(event []byte) {
	data, ok := sse.Data(nil, event)
	switch {
	case !ok:
		e.out = append(e.out, event...)
	case bytes.Equal(data, sse.Done):
		e.release(true)
		e.finish()
		e.out = append(e.out, event...)
	default:
		e.release(false)
		e.chunk(event, data)
	}
}

// release lets go of the chunk that is held, as the last one or as one of many.
func (e *events) release(last bool) {
	if e.held == nil {
		return
	}
	if last && !e.told {
		e.held = e.tell(e.held)
	}
	e.out = sse.AppendData(e.out, e.held)
	e.held = nil
}

// finish tells in a chunk of its own what no chunk could be held for.
func (e *events) finish() {
	if e.account == nil || e.told {
		return
	}
	base := e.last
	if base == nil {
		base = []byte(`{"object":"chat.completion.chunk"}`)
	}
	var chunk chat.Request
	if chunk.Scan(base) != nil {
		return
	}
	b := chunk.AppendEdit(nil, chat.Edit{Key: "choices", Value: []byte("[]")}, chat.Edit{Key: "usage"}, chat.Edit{Key: "rag", Value: e.account})
	e.out, e.told = sse.AppendData(e.out, b), true
}

// tell returns a chunk with the account.
func (e *events) tell(data []byte) []byte {
	var chunk chat.Request
	if e.account == nil || chunk.Scan(data) != nil {
		return data
	}
	e.told = true
	return chunk.AppendEdit(nil, chat.Edit{Key: "rag", Value: e.account})
}

// chunk looks at the data of an event and passes the event on, or holds it.
func (e *events) chunk(event, data []byte) {
	var chunk chat.Request
	if chunk.Scan(data) != nil {
		e.out = append(e.out, event...)
		return
	}
	if _, failed := chat.ErrorObject(data); failed {
		e.out, e.told = append(e.out, event...), true // nothing is added to a failure
		return
	}
	edited := e.read(&chunk)
	switch {
	case e.account != nil && e.ending:
		e.held = append([]byte(nil), data...)
		if edited != nil {
			e.held = edited
		}
		e.last = append(e.last[:0], e.held...)
	case edited != nil:
		e.out = sse.AppendData(e.out, edited)
	default:
		if e.account != nil {
			e.last = append(e.last[:0], data...)
		}
		e.out = append(e.out, event...)
	}
}

// mostText is how much of a text is looked through for markers, about: a stream may go on
// for hours.
const mostText = 1 << 20

// read collects the text of a chunk. If the chunk ends a choice, it returns the
// chunk with annotations, or nil if there are none.
func (e *events) read(chunk *chat.Request) []byte {
	raw, ok := chunk.Member("choices")
	if !ok {
		return nil
	}
	choices := eachObject(raw, func(choice *chat.Request) []byte {
		index := int64(0)
		if raw, ok := choice.Member("index"); ok {
			index, _ = chat.Int(raw)
		}
		if index < 0 || index >= maxChoices {
			return nil
		}
		delta, _ := choice.Member("delta")
		if len(e.sources) > 0 && len(e.texts[index]) < mostText {
			e.texts[index], _ = chat.AppendText(e.texts[index], chat.Get(delta, "content"))
		}
		reason, ok := choice.Member("finish_reason")
		if !ok || string(reason) == "null" {
			return nil
		}
		e.ending = true
		if len(delta) == 0 || delta[0] != '{' {
			delta = []byte("{}")
		}
		return withAnnotations(choice, "delta", delta, e.texts[index], e.sources)
	})
	if choices == nil {
		return nil
	}
	return chunk.AppendEdit(nil, chat.Edit{Key: "choices", Value: choices})
}
