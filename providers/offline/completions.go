package offline

import (
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline/chat"
)

// completions answers a completion: n choices for each prompt.
func (c *call) completions(r *chat.Request) *refusal {
	prompt, ok := r.Member("prompt")
	if !ok {
		return missing("prompt")
	}
	prompts, ok := promptsOf(prompt)
	if !ok {
		return invalid("prompt", "a string, an array of strings, an array of tokens or an array of arrays of tokens")
	}
	if bad := c.turn.readPrompt(r); bad != nil {
		return bad
	}
	if len(prompts)*c.turn.n > 128 {
		return invalid("prompt", "at most 128 prompts and choices together")
	}
	t := &completion{prompts: prompts}
	for _, p := range prompts {
		c.turn.prompt += promptSize(p)
	}
	t.load(c, 0)
	if c.turn.stream {
		c.events = t
		return nil
	}
	b := c.head(c.out, `{"id":"cmpl-`, `","object":"text_completion","created":`+created)
	b = append(b, `,"choices":[`...)
	for i := range len(prompts) * c.turn.n {
		if i > 0 {
			b = append(b, ',')
		}
		t.load(c, i)
		b = append(t.choice(c, b, i, c.reply.text, 0), c.reply.finish...)
		b = append(b, `"}`...)
	}
	c.out = append(t.usage(c, append(b, `],"usage":`...)), `,"system_fingerprint":"fp_offline"}`...)
	return nil
}

func firstOf(list []byte) []byte {
	for v := range chat.Array(list) {
		return v
	}
	return nil
}

// promptsOf takes a prompt apart: one text, several, one list of tokens, or several. Null
// stands for the beginning of a document.
func promptsOf(prompt []byte) (list [][]byte, ok bool) {
	first := kind(firstOf(prompt))
	switch {
	case !given(prompt):
		return [][]byte{[]byte(`""`)}, true
	case kind(prompt) == '"':
		return [][]byte{prompt}, true
	case kind(prompt) != '[':
		return nil, false
	case first != '"' && first != '[':
		return [][]byte{prompt}, areTokens(prompt)
	}
	for p := range chat.Array(prompt) {
		if kind(p) != first || first == '[' && !areTokens(p) {
			return nil, false
		}
		list = append(list, p)
	}
	return list, true
}

// promptSize is the size of a prompt in bytes, as far as usage is concerned: a
// token given by number counts as one.
func promptSize(p []byte) int {
	if kind(p) == '"' {
		return len(p) - 2
	}
	n := 0
	for range chat.Array(p) {
		n += 4
	}
	return n
}

// completion is a request with its prompts, and streams the answers.
type completion struct {
	prompts [][]byte
	total   int // tokens answered
	loaded  int // choices answered
}

// load makes the reply to the prompt of choice i the call's own.
func (t *completion) load(c *call, i int) {
	p := t.prompts[i/c.turn.n]
	c.turn.text = unquote(c.turn.text[:0], p)
	c.reply.answer(&c.turn, c.p.MaxWords)
	if t.loaded <= i {
		t.loaded = i + 1
		t.total += c.reply.tokens
	}
	if c.turn.echo {
		answer := append([]byte("\n"), c.reply.text...)
		c.reply.text = append(unquote(c.reply.text[:0], p), answer...)
	}
}

// choice appends a choice up to why it ended. There are so many characters of it in front
// of the text.
func (t *completion) choice(c *call, b []byte, i int, text []byte, before int) []byte {
	b = chat.AppendString(append(b, `{"text":`...), text)
	b = c.turn.legacyLogprobs(append(appendInt(b, `,"index":`, i), `,"logprobs":`...), text, before)
	return append(b, `,"finish_reason":"`...)
}

func (t *completion) usage(c *call, b []byte) []byte {
	prompt := tokens(c.turn.prompt)
	b = appendInt(b, `{"prompt_tokens":`, prompt)
	b = appendInt(b, `,"completion_tokens":`, t.total)
	return append(appendInt(b, `,"total_tokens":`, prompt+t.total), '}')
}

// next implements events.
func (t *completion) next(c *call) (word, flush bool) {
	s := &c.state
	p := piece(c.reply.text[s.pos:])
	before := 0
	if c.turn.logprobs {
		before = utf8.RuneCount(c.reply.text[:s.pos])
	}
	s.pos += len(p)
	finished := s.pos == len(c.reply.text)
	b := c.chunkStart(c.out)
	if b = t.choice(c, b, s.choice, p, before); finished {
		b = append(append(b, c.reply.finish...), `"}]`...)
	} else {
		b = append(b[:len(b)-1], "null}]"...)
	}
	if c.turn.usage {
		b = append(b, `,"usage":null`...)
	}
	c.out = append(b, "}\n\n"...)
	if !finished {
		return true, true
	}
	if s.choice++; s.choice < len(t.prompts)*c.turn.n {
		s.pos = 0
		t.load(c, s.choice)
		return true, true
	}
	if c.turn.usage {
		b := append(c.chunkStart(c.out), `],"usage":`...)
		c.out = append(t.usage(c, b), "}\n\n"...)
	}
	c.out = append(c.out, "data: [DONE]\n\n"...)
	s.step = ended
	return true, true
}

// chunkStart begins an event, up to its choices.
func (c *call) chunkStart(b []byte) []byte {
	b = c.head(append(b, "data: "...), `{"id":"cmpl-`, `","object":"text_completion","created":`+created)
	return append(b, `,"system_fingerprint":"fp_offline","choices":[`...)
}
