package litellm

import (
	"strconv"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// Some upstreams answer a request for a stream in one piece, as JSON. A client that waits
// for events would find none in it, and take the answer for an empty one. So it becomes a
// stream: one event with all that it says, perhaps one with the count of tokens, and the
// mark of the end; or the events of a response.

// streamable reports whether an answer in one piece can be made a stream.
func streamable(op pipeline.Operation, body []byte) bool {
	list := "choices"
	if op == pipeline.OpResponses {
		if list = "output"; lastEvent(body) == "" {
			return false
		}
	} else if op != pipeline.OpChat && op != pipeline.OpCompletions {
		return false
	}
	value := chat.Get(body, list)
	return len(value) > 0 && value[0] == '['
}

// appendStream appends a valid answer as a stream. With usage the count of tokens of a
// completion has an event of its own, as clients who ask for it expect.
func appendStream(dst []byte, op pipeline.Operation, body []byte, usage bool) []byte {
	if op == pipeline.OpResponses {
		return appendResponse(dst, body)
	}
	dst = sse.AppendData(dst, appendChunk(nil, body, false))
	if usage && chat.Get(body, "usage") != nil {
		dst = sse.AppendData(dst, appendChunk(nil, body, true))
	}
	return sse.AppendData(dst, sse.Done)
}

// appendChunk appends a completion as a chunk of a stream: with its choices, or with its
// count of tokens in their place.
func appendChunk(dst, body []byte, counted bool) []byte {
	dst = append(dst, '{')
	for key, value := range chat.Object(body) {
		switch string(key) {
		case "usage":
			if !counted {
				continue
			}
		case "object":
			if string(value) == `"chat.completion"` {
				value = []byte(`"chat.completion.chunk"`)
			}
		case "choices":
			dst = append(dst, `"choices":[`...)
			for choice := range chat.Array(value) {
				if !counted {
					dst = append(appendChoice(dst, choice), ',')
				}
			}
			dst = append(end(dst, ']'), ',')
			continue
		}
		dst = appendMember(dst, key, value)
	}
	return end(dst, '}')
}

// appendChoice appends a choice with its message as what is added to nothing.
func appendChoice(dst, choice []byte) []byte {
	dst = append(dst, '{')
	for key, value := range chat.Object(choice) {
		if string(key) == "message" {
			dst = append(appendDelta(append(dst, `"delta":`...), value), ',')
			continue
		}
		dst = appendMember(dst, key, value)
	}
	return end(dst, '}')
}

// appendDelta appends a message. In a stream each call of a tool has a number.
func appendDelta(dst, message []byte) []byte {
	dst = append(dst, '{')
	for key, value := range chat.Object(message) {
		if string(key) != "tool_calls" || len(value) == 0 || value[0] != '[' {
			dst = appendMember(dst, key, value)
			continue
		}
		dst = append(dst, `"tool_calls":[`...)
		n := int64(0)
		for call := range chat.Array(value) {
			dst = append(strconv.AppendInt(append(dst, `{"index":`...), n, 10), ',')
			for key, value := range chat.Object(call) {
				if string(key) != "index" {
					dst = appendMember(dst, key, value)
				}
			}
			dst = append(end(dst, '}'), ',')
			n++
		}
		dst = append(end(dst, ']'), ',')
	}
	return end(dst, '}')
}

// appendMember appends a member and a comma, which end replaces behind the last one.
func appendMember(dst, key, value []byte) []byte {
	return append(append(append(chat.AppendString(dst, key), ':'), value...), ',')
}

func end(dst []byte, bracket byte) []byte {
	if n := len(dst) - 1; dst[n] == ',' {
		dst[n] = bracket
		return dst
	}
	return append(dst, bracket)
}
