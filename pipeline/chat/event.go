package chat

import "bytes"

// Useful reports whether the data of a stream's event carries something that
// the user waits for: text, a refusal, reasoning, a call of a tool, sound, or
// the end. It does not for the events that only announce an answer, such as a
// first delta with nothing but a role, or "response.created". Data of a kind
// not known here counts as useful, and so does what is no JSON object.
func Useful(data []byte) bool {
	if len(data) == 0 {
		return false
	}
	known := false
	for k, v := range Object(data) {
		switch string(k) {
		case "choices":
			known = true
			for choice := range Array(v) {
				if usefulChoice(choice) {
					return true
				}
			}
		case "type":
			if !announcement(v) {
				return true
			}
			known = true
		}
	}
	return !known
}

// usefulChoice judges one choice of a chunk.
func usefulChoice(choice []byte) bool {
	known := false
	for k, v := range Object(choice) {
		switch string(k) {
		case "finish_reason", "text":
			known = true
			if !void(v) {
				return true
			}
		case "delta", "message":
			known = true
			for name, part := range Object(v) {
				if string(name) != "role" && !void(part) {
					return true
				}
			}
		}
	}
	return !known
}

// void reports whether a value says nothing.
func void(v []byte) bool {
	switch string(v) {
	case "null", `""`, "[]", "{}":
		return true
	}
	return false
}

// announcement reports whether a typed event only says that something is going
// to come.
func announcement(kind []byte) bool {
	switch string(kind) {
	case `"response.created"`, `"response.queued"`, `"response.in_progress"`,
		`"response.output_item.added"`, `"response.content_part.added"`, `"response.reasoning_summary_part.added"`,
		`"message_start"`, `"content_block_start"`, `"ping"`:
		return true
	}
	return false
}

var errorWord = []byte(`"error"`)

// ErrorObject returns the error that data, a JSON object, reports: its member
// "error", unless that is null; that of a response that has failed; or data
// itself if it is an event of type "error".
func ErrorObject(data []byte) (raw []byte, ok bool) {
	if !bytes.Contains(data, errorWord) {
		return nil, false
	}
	typed := false
	for k, v := range Object(data) {
		switch string(k) {
		case "error":
			if string(v) != "null" {
				return v, true
			}
		case "type":
			typed = string(v) == `"error"`
		case "response":
			if e := Get(v, "error"); e != nil && string(e) != "null" {
				return e, true
			}
		}
	}
	if typed {
		return data, true
	}
	return nil, false
}
