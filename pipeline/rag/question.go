package rag

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// shortTurn is the length, in characters, below which a user's turn is taken to
// refer to the one before it.
const shortTurn = 20

// Asked is where a request says what it asks: in a conversation, or in one text.
type Asked struct {
	// Turns is the conversation; nil where there is only a text.
	Turns *chat.Messages
	// Key is the member with the text: "prompt" or "input".
	Key string
	// Text is the text, a JSON string as written.
	Text []byte
}

// AskedIn returns what the request asks; false for requests that are not answered
// from documents, and for bodies that the upstream will refuse.
func AskedIn(ex *pipeline.Exchange) (Asked, bool) {
	if !ex.Op.Answers() {
		return Asked{}, false
	}
	r, err := ex.Chat()
	if err != nil {
		return Asked{}, false
	}
	var turns *chat.Messages
	switch ex.Op {
	case pipeline.OpCompletions:
		return oneText(r)
	case pipeline.OpResponses:
		if raw, _ := r.Member("input"); isString(raw) {
			return Asked{Key: "input", Text: raw}, true
		}
		turns, err = r.Items()
	default:
		turns, err = r.Messages()
	}
	return Asked{Turns: turns}, err == nil
}

// unmeetable is why a request cannot have the answer from documents that it requires,
// whatever is found; nil if it can.
func unmeetable(ex *pipeline.Exchange, query string) error {
	for _, stage := range [...]string{"retrieve", "prompt"} {
		if ex.Skips(stage) {
			return &pipeline.Error{
				Status: 400, Code: "invalid_value", Param: "X-RAG", Fault: pipeline.CallerFault,
				Err: fmt.Errorf("X-RAG: required asks for an answer from documents, and %s: %s leaves out what makes one: send only one of the two", pipeline.SkipHeader, stage),
			}
		}
	}
	if query != "" {
		return nil
	}
	return unasked(ex)
}

// unasked is why a request without a question cannot have the answer from documents
// that it requires; nil if it goes on with the result of a tool, or is a chat that the
// upstream will refuse. A completion of several texts has several questions.
func unasked(ex *pipeline.Exchange) error {
	why := "which only chat completions, responses, and completions of one text have: send the question to /v1/chat/completions"
	switch a, ok := AskedIn(ex); {
	case !ok && (ex.Op == pipeline.OpCompletions || !ex.Op.Answers()):
	case !ok && ex.Op == pipeline.OpChat, a.Turns != nil && endsInResult(a.Turns):
		return nil
	default:
		why = "and there is no text of a user to look for in them: put the question into a user's message"
	}
	return &pipeline.Error{
		Status: 400, Code: "invalid_value", Param: "X-RAG", Fault: pipeline.CallerFault,
		Err: errors.New("X-RAG: required asks for an answer from documents, " + why),
	}
}

// oneText is the prompt of a completion: a string, or the only one of an array.
func oneText(r *chat.Request) (Asked, bool) {
	raw, _ := r.Member("prompt")
	n := 0
	for e := range chat.Array(raw) {
		raw = e
		n++
	}
	return Asked{Key: "prompt", Text: raw}, n < 2 && isString(raw)
}

func isString(raw []byte) bool { return len(raw) > 0 && raw[0] == '"' }

// Question is what a request is about: its only text, or the text of the last user's
// turn, and of the one before it if that is short. It is empty if there is none, or
// if the conversation goes on with the result of a tool.
func Question(ex *pipeline.Exchange) string {
	a, ok := AskedIn(ex)
	if !ok {
		return ""
	}
	var text []byte
	if a.Turns == nil {
		text, _ = chat.AppendText(nil, a.Text)
	} else {
		text = turn(a.Turns)
	}
	return Cut(strings.TrimSpace(string(text)), maxQuery)
}

func turn(m *chat.Messages) []byte {
	if endsInResult(m) {
		return nil
	}
	last := LastUser(m, m.Len())
	if last < 0 {
		return nil
	}
	text := bytes.TrimSpace(m.At(last).AppendText(nil))
	if utf8.RuneCount(text) < shortTurn {
		if before := LastUser(m, last); before >= 0 {
			text = append(text, '\n')
			text = m.At(before).AppendText(text)
		}
	}
	return text
}

// endsInResult reports whether the last message, or item of a response's input, is what
// a tool has returned, or the word of a user on a tool's call.
func endsInResult(m *chat.Messages) bool {
	if m.Len() == 0 {
		return false
	}
	last := m.At(m.Len() - 1)
	switch string(last.Role) {
	case "tool", "function":
		return true
	case "":
		kind, _ := chat.Text(chat.Get(last.Raw, "type"))
		return strings.HasSuffix(kind, "_output") || kind == "mcp_approval_response"
	}
	return false
}

// LastUser is the index of the last message of a user before the i-th, or -1.
func LastUser(m *chat.Messages, i int) int {
	for i--; i >= 0; i-- {
		if string(m.At(i).Role) == "user" {
			return i
		}
	}
	return -1
}
