package offline

import (
	"strconv"

	"github.com/headrace/headrace/pipeline/chat"
)

// responses answers a request for a response.
func (c *call) responses(r *chat.Request) *refusal {
	if bad := unknownResponse(r); bad != nil {
		return bad
	}
	if bad := c.turn.readResponse(r); bad != nil {
		return bad
	}
	c.reply.answer(&c.turn, c.p.MaxWords)
	s := &response{settings: settingsOf(r)}
	if c.turn.stream {
		c.events = s
		return nil
	}
	c.out = s.object(c, c.out, true)
	return nil
}

// settingsOf is what a response repeats of its request, with what stands for a
// setting that the request does not make.
func settingsOf(r *chat.Request) []byte {
	var b []byte
	for _, s := range [...][2]string{
		{"instructions", "null"},
		{"max_output_tokens", "null"},
		{"metadata", "{}"},
		{"parallel_tool_calls", "true"},
		{"previous_response_id", "null"},
		{"reasoning", `{"effort":null,"summary":null}`},
		{"store", "false"},
		{"temperature", "1"},
		{"text", `{"format":{"type":"text"}}`},
		{"tool_choice", `"auto"`},
		{"tools", "[]"},
		{"top_p", "1"},
		{"truncation", `"disabled"`},
	} {
		b = append(append(append(b, `,"`...), s[0]...), `":`...)
		raw, _ := r.Member(s[0])
		if !given(raw) || s[0] == "store" { // nothing is stored, whatever was asked
			raw = []byte(s[1])
		}
		b = append(b, raw...)
	}
	return b
}

// responseID is what the ids of responses begin with.
const responseID = "resp_"

// response streams a response.
type response struct {
	settings []byte // members of the object, each with a comma before it
}

// object appends the response: as it is at the end, or as it is when begun.
func (s *response) object(c *call, b []byte, whole bool) []byte {
	status, details := "in_progress", "null"
	switch {
	case whole && c.reply.finish == "length":
		status, details = "incomplete", `{"reason":"max_output_tokens"}`
	case whole:
		status = "completed"
	}
	b = append(append(append(b, `{"id":"`+responseID...), c.id[:]...), `","object":"response","created_at":`+created+`,"status":"`...)
	b = append(append(append(b, status...), `","background":false,"error":null,"incomplete_details":`...), details...)
	b = append(append(b, `,"model":`...), c.model...)
	b = append(append(b, s.settings...), `,"output":[`...)
	if !whole {
		return append(b, "]}"...)
	}
	for i := range s.items(c) {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.item(c, b, i, true)
	}
	prompt := tokens(c.turn.prompt)
	b = appendInt(b, `],"usage":{"input_tokens":`, prompt)
	b = appendInt(b, `,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":`, c.reply.tokens)
	return append(appendInt(b, `,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":`, prompt+c.reply.tokens), "}}"...)
}

// items is how many output items there are: a message, or the tool calls.
func (s *response) items(c *call) int { return max(1, len(c.reply.calls)) }

// item appends an output item: as it is at the end, or as it is when begun.
func (s *response) item(c *call, b []byte, i int, whole bool) []byte {
	status := `","status":"in_progress"`
	if whole {
		status = `","status":"completed"`
		if c.reply.finish == "length" {
			status = `","status":"incomplete"`
		}
	}
	b = s.itemID(c, append(b, `{"id":"`...), i)
	if len(c.reply.calls) == 0 {
		b = append(append(b, status...), `,"type":"message","role":"assistant","content":[`...)
		if whole {
			b = s.part(c, b, c.reply.text)
		}
		return append(b, "]}"...)
	}
	tc := &c.reply.calls[i]
	kind, key := `,"type":"function_call","call_id":"`, `","arguments":`
	if tc.custom {
		kind, key, status = `","type":"custom_tool_call","call_id":"`, `","input":`, ""
	}
	b = c.callID(append(append(b, status...), kind...), 0, i)
	b = append(append(append(b, `","name":"`...), tc.name...), key...)
	args := tc.args
	if !whole {
		args = nil
	}
	return append(chat.AppendString(b, args), '}')
}

func (s *response) itemID(c *call, b []byte, i int) []byte {
	prefix := "msg_"
	if len(c.reply.calls) > 0 {
		prefix = "fc_"
	}
	return strconv.AppendInt(append(append(append(b, prefix...), c.id[:]...), '_'), int64(i), 10)
}

func (s *response) part(c *call, b, text []byte) []byte {
	b = c.turn.chances(append(b, `{"type":"output_text","annotations":[],"logprobs":`...), text)
	return append(chat.AppendString(append(b, `,"text":`...), text), '}')
}

// next implements events.
func (s *response) next(c *call) (word, flush bool) {
	st := &c.state
	switch st.step {
	case opening:
		for _, kind := range [...]string{"response.created", "response.in_progress"} {
			b := s.begin(c, kind)
			c.out = append(s.object(c, append(b, `,"response":`...), false), "}\n\n"...)
		}
		s.openItem(c)
		return false, false
	case saying:
		return s.piece(c, c.reply.text, "response.output_text", ",\"content_index\":0", "text")
	case calling:
		if tc := &c.reply.calls[st.call]; tc.custom {
			return s.piece(c, tc.args, "response.custom_tool_call_input", "", "input")
		}
		tc := &c.reply.calls[st.call]
		return s.piece(c, tc.args, "response.function_call_arguments", "", "arguments")
	}
	kind := "response.completed"
	if c.reply.finish == "length" {
		kind = "response.incomplete"
	}
	b := s.begin(c, kind)
	c.out = append(s.object(c, append(b, `,"response":`...), true), "}\n\n"...)
	st.step = ended
	return false, true
}

// begin appends the start of an event.
func (s *response) begin(c *call, kind string) []byte {
	b := append(append(append(c.out, "event: "...), kind...), "\ndata: {\"type\":\""...)
	b = appendInt(append(b, kind...), `","sequence_number":`, c.state.seq)
	c.state.seq++
	return b
}

// at appends where in the output an event belongs.
func (s *response) at(c *call, b []byte) []byte {
	b = s.itemID(c, append(b, `,"item_id":"`...), c.state.call)
	return appendInt(append(b, '"'), `,"output_index":`, c.state.call)
}

// openItem writes the events that announce an output item.
func (s *response) openItem(c *call) {
	st := &c.state
	b := appendInt(s.begin(c, "response.output_item.added"), `,"output_index":`, st.call)
	c.out = append(s.item(c, append(b, `,"item":`...), st.call, false), "}\n\n"...)
	if st.step = calling; len(c.reply.calls) > 0 {
		return
	}
	st.step = saying
	b = s.at(c, s.begin(c, "response.content_part.added"))
	c.out = append(s.part(c, append(b, `,"content_index":0,"part":`...), nil), "}\n\n"...)
}

// chances appends how likely the words of a text were, which no arguments of a call have.
func (s *response) chances(c *call, b, text []byte) []byte {
	if c.state.step != saying {
		return b
	}
	return c.turn.chances(append(b, `,"logprobs":`...), text)
}

// piece writes the next piece of the item at hand, or the events that end it.
func (s *response) piece(c *call, text []byte, kind, more, name string) (word, flush bool) {
	st := &c.state
	if p := piece(text[st.pos:]); len(p) > 0 {
		st.pos += len(p)
		b := s.chances(c, append(s.at(c, s.begin(c, kind+".delta")), more...), p)
		c.out = append(chat.AppendString(append(b, `,"delta":`...), p), "}\n\n"...)
		return true, true
	}
	b := s.chances(c, append(s.at(c, s.begin(c, kind+".done")), more...), text)
	if st.step == calling && name == "arguments" {
		b = append(append(append(b, `,"name":"`...), c.reply.calls[st.call].name...), '"')
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	c.out = append(chat.AppendString(b, text), "}\n\n"...)
	if st.step == saying {
		b = s.at(c, s.begin(c, "response.content_part.done"))
		c.out = append(s.part(c, append(b, `,"content_index":0,"part":`...), text), "}\n\n"...)
	}
	b = appendInt(s.begin(c, "response.output_item.done"), `,"output_index":`, st.call)
	c.out = append(s.item(c, append(b, `,"item":`...), st.call, true), "}\n\n"...)
	if st.call++; st.call < s.items(c) {
		st.pos = 0
		s.openItem(c)
		return false, false
	}
	st.step = closing
	return false, false
}
