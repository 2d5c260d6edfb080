package offline

import (
	"strconv"

	"github.com/headrace/headrace/pipeline/chat"
)

// created is the time in every answer, for answers are the same at all times.
const created = "1735689600"

// events writes a stream. next appends events to c.out and moves c.state on. word
// means that they carry a word, which takes its time; flush, that they are to be
// sent before more is written. Setting c.state.step to ended ends the stream.
type events interface {
	next(c *call) (word, flush bool)
}

// state is how far a stream has come.
type state struct {
	step   step
	choice int
	pos    int  // in the text, or in a tool call's arguments
	call   int  // tool call
	seq    int  // events so far
	said   bool // a word has been sent
}

type step uint8

const (
	opening step = iota
	saying
	calling
	closing
	ended
)

// chat answers a chat completion.
func (c *call) chat(r *chat.Request) *refusal {
	if bad := c.turn.readChat(r); bad != nil {
		return bad
	}
	c.reply.answer(&c.turn, c.p.MaxWords)
	if c.turn.stream {
		c.events = chatEvents{}
		return nil
	}
	b := c.head(c.out, `{"id":"chatcmpl-`, `","object":"chat.completion","created":`+created)
	b = append(b, `,"choices":[`...)
	for i := range c.turn.n {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendInt(b, `{"index":`, i)
		b = append(b, `,"message":{"role":"assistant","content":`...)
		said := c.reply.text
		if len(c.reply.calls) > 0 {
			said = nil
			b = c.toolCalls(append(b, `null,"refusal":null,"annotations":[],"tool_calls":[`...), i)
			b = append(b, ']')
		} else {
			b = append(chat.AppendString(b, said), `,"refusal":null,"annotations":[]`...)
		}
		b = c.turn.choiceLogprobs(append(b, `},"logprobs":`...), said)
		b = append(append(append(b, `,"finish_reason":"`...), c.reply.finish...), `"}`...)
	}
	c.out = append(c.usage(append(b, `],"usage":`...)), `,"service_tier":"default","system_fingerprint":"fp_offline"}`...)
	return nil
}

// head begins an answer or a chunk, up to its model.
func (c *call) head(b []byte, before, after string) []byte {
	b = append(append(append(b, before...), c.id[:]...), after...)
	return append(append(b, `,"model":`...), c.model...)
}

func (c *call) usage(b []byte) []byte {
	prompt, answer := tokens(c.turn.prompt), c.reply.tokens*c.turn.n
	b = appendInt(b, `{"prompt_tokens":`, prompt)
	b = appendInt(b, `,"completion_tokens":`, answer)
	b = appendInt(b, `,"total_tokens":`, prompt+answer)
	return append(b, `,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`...)
}

// toolCalls appends the calls of one choice, separated by commas.
func (c *call) toolCalls(b []byte, choice int) []byte {
	for i := range c.reply.calls {
		if i > 0 {
			b = append(b, ',')
		}
		tc := &c.reply.calls[i]
		b = c.toolCall(append(b, '{'), choice, i)
		b = append(chat.AppendString(b, tc.args), `}}`...)
	}
	return b
}

// toolCall appends a tool call up to its arguments.
func (c *call) toolCall(b []byte, choice, i int) []byte {
	tc := &c.reply.calls[i]
	b = c.callID(append(b, `"id":"`...), choice, i)
	if tc.custom {
		b = append(append(b, `","type":"custom","custom":{"name":"`...), tc.name...)
		return append(b, `","input":`...)
	}
	b = append(append(b, `","type":"function","function":{"name":"`...), tc.name...)
	return append(b, `","arguments":`...)
}

func (c *call) callID(b []byte, choice, i int) []byte {
	b = append(append(b, "call_"...), c.id[:]...)
	b = strconv.AppendInt(append(b, '_'), int64(choice), 10)
	return strconv.AppendInt(append(b, '_'), int64(i), 10)
}

// chatEvents streams a chat completion, one choice after the other.
type chatEvents struct{}

func (chatEvents) next(c *call) (word, flush bool) {
	s := &c.state
	switch s.step {
	case opening:
		b := append(c.chunk(c.out), `{"role":"assistant","content":`...)
		if s.step = saying; len(c.reply.calls) > 0 {
			s.step = calling
			b = append(b, `null,"refusal":null}`...)
		} else {
			b = append(b, `"","refusal":null}`...)
		}
		c.out = c.endChunk(b, nil, "")
		return false, false
	case saying:
		p := piece(c.reply.text[s.pos:])
		if s.pos += len(p); len(p) == 0 {
			s.step = closing
			return false, false
		}
		b := append(c.chunk(c.out), `{"content":`...)
		c.out = c.endChunk(append(chat.AppendString(b, p), '}'), p, "")
		return true, true
	case calling:
		return c.callDelta()
	}
	c.out = c.endChunk(append(c.chunk(c.out), `{}`...), nil, c.reply.finish)
	if s.choice++; s.choice < c.turn.n {
		s.step, s.pos, s.call = opening, 0, 0
		return false, false
	}
	if c.turn.usage {
		b := c.chunkHead(c.out)
		c.out = append(c.usage(append(b, `"choices":[],"usage":`...)), "}\n\n"...)
	}
	c.out = append(c.out, "data: [DONE]\n\n"...)
	s.step = ended
	return false, true
}

// callDelta writes the next piece of the next tool call.
func (c *call) callDelta() (word, flush bool) {
	s := &c.state
	if s.call == len(c.reply.calls) {
		s.step = closing
		return false, false
	}
	tc := &c.reply.calls[s.call]
	b := appendInt(append(c.chunk(c.out), `{"tool_calls":[{`...), `"index":`, s.call)
	if b = append(b, ','); s.pos == 0 {
		b = append(c.toolCall(b, s.choice, s.call), `""`...)
		s.pos = 1 // from now on one more than the bytes sent
	} else {
		p := piece(tc.args[s.pos-1:])
		s.pos += len(p)
		key := `"function":{"arguments":`
		if tc.custom {
			key = `"custom":{"input":`
		}
		b = chat.AppendString(append(b, key...), p)
	}
	c.out = c.endChunk(append(b, `}}]}`...), nil, "")
	if s.pos-1 == len(tc.args) {
		s.call, s.pos = s.call+1, 0
	}
	return true, true
}

// chunkHead begins an event.
func (c *call) chunkHead(b []byte) []byte {
	b = c.head(append(b, "data: "...), `{"id":"chatcmpl-`, `","object":"chat.completion.chunk","created":`+created)
	return append(b, `,"service_tier":"default","system_fingerprint":"fp_offline",`...)
}

// chunk begins an event, up to the delta of the choice that is being written.
func (c *call) chunk(b []byte) []byte {
	b = appendInt(append(c.chunkHead(b), `"choices":[`...), `{"index":`, c.state.choice)
	return append(b, `,"delta":`...)
}

// endChunk ends an event behind its delta, which says text.
func (c *call) endChunk(b, text []byte, finish string) []byte {
	b = c.turn.choiceLogprobs(append(b, `,"logprobs":`...), text)
	b = append(b, `,"finish_reason":`...)
	if finish == "" {
		b = append(b, "null}]"...)
	} else {
		b = append(append(append(b, '"'), finish...), `"}]`...)
	}
	if c.turn.usage {
		b = append(b, `,"usage":null`...)
	}
	return append(b, "}\n\n"...)
}
