package offline

import "github.com/headrace/headrace/pipeline/chat"

// kind is the first byte of a JSON value: '{', '[', '"', 't', 'f', 'n', a digit or a
// minus; 0 for no value.
func kind(raw []byte) byte {
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

// given reports whether a member is there and not null.
func given(raw []byte) bool { return len(raw) > 0 && raw[0] != 'n' }

// unquote appends the text of a string value to dst, and nothing for any other value.
func unquote(dst, raw []byte) []byte {
	dst, _ = chat.AppendText(dst, raw)
	return dst
}
