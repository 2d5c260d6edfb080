package offline

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline/chat"
)

// A reply is one answer. It belongs to the call, which reuses it.
type reply struct {
	text   []byte
	calls  []toolCall
	args   []byte // what the calls' arguments point into
	finish string
	tokens int
}

// A toolCall is a call of a tool that the answer asks for.
type toolCall struct {
	tool
	args []byte // a JSON text, or any text for a custom tool
}

// tokens is the estimate behind every usage figure: four bytes a token.
func tokens(size int) int { return (size + 3) / 4 }

// answer makes the reply to a turn. It depends on nothing else.
func (r *reply) answer(t *turn, maxWords int) {
	r.text, r.calls, r.args = r.text[:0], r.calls[:0], r.args[:0]
	r.finish, r.tokens = "stop", 0
	if r.callTools(t, maxWords); len(r.calls) > 0 {
		r.finish = "tool_calls"
		for _, c := range r.calls {
			r.tokens += tokens(len(c.name) + len(c.args))
		}
		return
	}
	switch t.format {
	case jsonObject:
		r.text = append(r.text, `{"answer":`...)
		r.text = append(chat.AppendString(r.text, words(t.text, maxWords)), '}')
	case jsonSchema:
		r.text = instance(r.text, t.schema, words(t.text, maxWords))
	default:
		r.say(t, maxWords)
	}
	r.cut(t)
	r.tokens = tokens(len(r.text))
}

// say writes the echo.
func (r *reply) say(t *turn, maxWords int) {
	switch {
	case len(t.text) == 0:
		r.text = append(r.text, "This is the offline model. You said nothing."...)
		return
	case t.fromTool:
		r.text = append(r.text, "This is the offline model. The tool says: "...)
	default:
		r.text = append(r.text, "This is the offline model. You said: "...)
	}
	said := words(t.text, maxWords)
	if len(said) < len(bytes.TrimSpace(t.text)) {
		r.text = append(r.text, "… "...)
	}
	r.text = append(r.text, said...)
}

// cut ends the text at the first stop sequence, and at the limit.
func (r *reply) cut(t *turn) {
	if given(t.stops) {
		var room [64]byte
		if kind(t.stops) == '"' {
			r.stopAt(unquote(room[:0], t.stops))
		}
		for s := range chat.Array(t.stops) {
			r.stopAt(unquote(room[:0], s))
		}
	}
	if t.limit == 0 || t.limit > len(r.text) || tokens(len(r.text)) <= t.limit {
		return
	}
	end := t.limit * 4
	for end > 0 && !utf8.RuneStart(r.text[end]) {
		end--
	}
	r.text, r.finish = r.text[:end], "length"
}

func (r *reply) stopAt(stop []byte) {
	if at := bytes.Index(r.text, stop); at >= 0 && len(stop) > 0 {
		r.text = r.text[:at]
	}
}

// callTools fills calls, if a tool is to be called: the one that the request
// demands, else those that the user names, else, if it must be one, the first.
func (r *reply) callTools(t *turn, maxWords int) {
	if t.mode == never || len(t.tools) == 0 {
		return
	}
	for _, tool := range t.tools {
		if t.forced != nil && string(tool.name) == string(t.forced) ||
			t.forced == nil && !t.fromTool && names(t.text, tool.name) {
			r.call(t, tool, maxWords)
			if t.forced != nil || !t.parallel {
				return
			}
		}
	}
	if len(r.calls) == 0 && t.mode == required {
		r.call(t, t.tools[0], maxWords)
	}
}

func (r *reply) call(t *turn, tool tool, maxWords int) {
	from := len(r.args)
	if said := words(t.text, maxWords); tool.custom {
		r.args = append(r.args, said...)
	} else {
		r.args = instance(r.args, tool.schema, said)
	}
	r.calls = append(r.calls, toolCall{tool, r.args[from:len(r.args):len(r.args)]})
}

// names reports whether text holds name as a word of its own.
func names(text, name []byte) bool {
	if len(name) == 0 {
		return false
	}
	for from := 0; ; {
		at := bytes.Index(text[from:], name)
		if at < 0 {
			return false
		}
		at += from
		before, _ := utf8.DecodeLastRune(text[:at])
		after, _ := utf8.DecodeRune(text[at+len(name):])
		if !part(before) && !part(after) {
			return true
		}
		from = at + 1
	}
}

// part reports whether r may be part of a tool's name.
func part(r rune) bool {
	return r == '_' || r == '-' || r != utf8.RuneError && r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

// words is the text without white space around it, and of that the last max words:
// a long message has its question at the end.
func words(text []byte, max int) []byte {
	text = bytes.TrimSpace(text)
	for end := len(text); end > 0; {
		at := bytes.LastIndexAny(text[:end], " \n\t")
		if max--; max == 0 {
			return text[at+1:]
		}
		if end = at; at > 0 {
			end = len(bytes.TrimRight(text[:at], " \n\t"))
		}
	}
	return text
}

// piece is the first word of text with the white space behind it: what one event
// of a stream carries. Writing without spaces is cut every few characters.
func piece(text []byte) []byte {
	const longest = 24
	end := 0
	for end < len(text) && text[end] > ' ' && end < longest {
		end++
	}
	for end > 0 && end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	for end < len(text) && text[end] <= ' ' {
		end++
	}
	return text[:end]
}
