package offline

import (
	"strconv"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline/chat"
)

// Since the same request always gets the same answer, each of its words had to be said, and nothing
// else could have been: where probabilities are asked for, they are 1, the logarithm 0.

// readLogprobs reads whether a chat completion shall tell how likely its words were.
func (t *turn) readLogprobs(r *chat.Request) {
	raw, _ := r.Member("logprobs")
	t.logprobs = string(raw) == "true"
	t.readRivals(r, "top_logprobs")
}

// readRivals reads how many words are to be named for each place: there is only ever one.
func (t *turn) readRivals(r *chat.Request, param string) {
	raw, _ := r.Member(param)
	n, _ := chat.Int(raw)
	t.rivals = n > 0
}

// readIncluded does the same for a response.
func (t *turn) readIncluded(r *chat.Request) {
	raw, _ := r.Member("include")
	for v := range chat.Array(raw) {
		t.logprobs = t.logprobs || string(v) == `"message.output_text.logprobs"`
	}
	t.readRivals(r, "top_logprobs")
}

// choiceLogprobs appends what the choice of a chat completion tells of a text; null if
// nobody asked, or there is no text.
func (t *turn) choiceLogprobs(b, text []byte) []byte {
	if !t.logprobs || len(text) == 0 {
		return append(b, "null"...)
	}
	return append(t.chances(append(b, `{"content":`...), text), `,"refusal":null}`...)
}

// chances appends a list of the words of a text, each with its probability; an empty one
// if nobody asked.
func (t *turn) chances(b, text []byte) []byte {
	b = append(b, '[')
	for t.logprobs && len(text) > 0 {
		word := piece(text)
		text = text[len(word):]
		b = append(b, '{')
		at := len(b)
		b = chat.AppendString(append(b, `"token":`...), word)
		b = append(b, `,"logprob":0.0,"bytes":`...)
		for i, v := range word {
			b = strconv.AppendInt(append(b, "[,"[min(i, 1)]), int64(v), 10)
		}
		b = append(b, ']')
		said := b[at:]
		if b = append(b, `,"top_logprobs":[`...); t.rivals {
			b = append(append(append(b, '{'), said...), '}')
		}
		if b = append(b, "]}"...); len(text) > 0 {
			b = append(b, ',')
		}
	}
	return append(b, ']')
}

// legacyLogprobs appends what a choice of a completion tells of a text, in front of which
// there are so many characters.
func (t *turn) legacyLogprobs(b, text []byte, before int) []byte {
	if !t.logprobs {
		return append(b, "null"...)
	}
	var offsets, logprobs, top []byte
	b = append(b, `{"tokens":[`...)
	for comma := ""; len(text) > 0; comma = "," {
		word := piece(text)
		text = text[len(word):]
		b = chat.AppendString(append(b, comma...), word)
		logprobs = append(append(logprobs, comma...), "0.0"...)
		offsets = strconv.AppendInt(append(offsets, comma...), int64(before), 10)
		before += utf8.RuneCount(word)
		top = append(chat.AppendString(append(append(top, comma...), '{'), word), ":0.0}"...)
	}
	b = append(append(append(b, `],"token_logprobs":[`...), logprobs...), `],"top_logprobs":`...)
	if t.rivals {
		b = append(append(append(b, '['), top...), ']')
	} else {
		b = append(b, "null"...)
	}
	return append(append(append(b, `,"text_offset":[`...), offsets...), "]}"...)
}
