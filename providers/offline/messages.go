package offline

import (
	"strconv"

	"github.com/headrace/headrace/pipeline/chat"
)

// readMessages reads a conversation: of chat completions, or the items of a
// response's input.
func (t *turn) readMessages(param string, list []byte) *refusal {
	if kind(list) != '[' {
		return invalid(param, "an array of messages")
	}
	var last, user []byte
	count := 0
	for m := range chat.Array(list) {
		if kind(m) != '{' {
			return invalid(param, "an array of objects")
		}
		count++
		var role, content, output []byte
		for k, v := range chat.Object(m) {
			switch string(k) {
			case "role":
				role = v
			case "content":
				content = v
			case "output":
				output = v
			}
		}
		if role == nil && param == "messages" {
			return missing(param + "[" + strconv.Itoa(count-1) + "].role")
		}
		if param == "messages" {
			if bad := misfit(count-1, role, content); bad != nil {
				return bad
			}
		}
		if bad := misfitPart(param, count-1, content); bad != nil {
			return bad
		}
		switch {
		case output != nil: // a tool's result among a response's items
			role, content = roleTool, output
		case len(role) > 2:
			role = role[1 : len(role)-1]
		}
		t.prompt += len(content) + 4
		if last = nil; string(role) == "tool" || string(role) == "function" {
			last = content
		} else if string(role) == "user" {
			user = content
		}
	}
	if count == 0 {
		return &refusal{400, "Invalid '" + param + "': empty array. Expected an array with minimum length 1.", param, "empty_array"}
	}
	if t.fromTool = last != nil; t.fromTool {
		user = last
	}
	t.appendContent(user)
	return nil
}

// misfit is what is wrong with the role or the content of a message.
func misfit(i int, role, content []byte) *refusal {
	switch string(role) {
	case `"system"`, `"developer"`, `"user"`, `"assistant"`, `"tool"`, `"function"`:
	default:
		return invalid("messages["+strconv.Itoa(i)+"].role", "one of system, developer, user, assistant, tool and function")
	}
	if given(content) && kind(content) != '"' && kind(content) != '[' {
		return invalid("messages["+strconv.Itoa(i)+"].content", "a string or an array of parts")
	}
	return nil
}

// misfitPart is what is wrong with a part of a content. Which kinds of parts there are is
// left to the upstream that this model stands for.
func misfitPart(param string, i int, content []byte) *refusal {
	j := -1
	for part := range chat.Array(content) {
		j++
		name := func(member string) string {
			return param + "[" + strconv.Itoa(i) + "].content[" + strconv.Itoa(j) + "]" + member
		}
		if kind(part) != '{' {
			return invalid(name(""), "an object")
		}
		switch what, text := chat.Get(part, "type"), chat.Get(part, "text"); {
		case kind(what) != '"':
			return missing(name(".type"))
		case text != nil && kind(text) != '"':
			return invalid(name(".text"), "a string")
		case text == nil && string(what) == `"text"`:
			return missing(name(".text"))
		}
	}
	return nil
}

var roleTool = []byte("tool")

// maxText bounds what is kept of the last message.
const maxText = 64 << 10

// appendContent adds the text of a message's content: a string, or a list of parts.
func (t *turn) appendContent(content []byte) {
	if len(content) > maxText && kind(content) == '"' {
		// The end of a long message is where the question is.
		content = tail(content, maxText)
	}
	t.text = unquote(t.text, content)
	for part := range chat.Array(content) {
		if text := chat.Get(part, "text"); text != nil && len(t.text)+len(text) <= maxText {
			if len(t.text) > 0 {
				t.text = append(t.text, '\n')
			}
			t.text = unquote(t.text, text)
		}
	}
}

// tail is the end of a long string value, as a string value, cut at a space.
func tail(raw []byte, size int) []byte {
	for i := len(raw) - size; i < len(raw)-1; i++ {
		if raw[i] == ' ' {
			cut := append([]byte{'"'}, raw[i+1:]...)
			return cut
		}
	}
	return raw[:0]
}
