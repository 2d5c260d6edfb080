package attempt

import (
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// useful reports whether one of a frame's events is what the client waits for.
func useful(frame []byte) bool {
	for len(frame) > 0 {
		var event []byte
		event, frame = sse.Cut(frame)
		if data, ok := sse.Data(nil, event); ok && chat.Useful(data) {
			return true
		}
	}
	return false
}
