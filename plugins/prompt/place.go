package prompt

import (
	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/rag"
)

// gap stands between the block and what it is put in front of, or behind.
const gap = "\n\n"

// place returns the body with the block in its place. at is the last user's turn, if
// there are turns.
func (h *handler) place(op pipeline.Operation, body *chat.Request, asked *rag.Asked, at int, block string) []byte {
	if h.Placement == "system_append" && op == pipeline.OpResponses {
		if raw, _ := body.Member("instructions"); len(raw) > 0 && raw[0] == '"' {
			return body.AppendEdit(nil, chat.Edit{Key: "instructions", Value: join(raw, chat.AppendString(nil, gap+block))})
		}
	}
	if asked.Turns != nil {
		return h.intoTurns(asked.Turns, at, block)
	}
	if op == pipeline.OpResponses {
		switch h.Placement {
		case "developer":
			turns := append(chat.AppendMessage([]byte{'['}, "developer", block), `,{"role":"user","content":`...)
			return body.AppendEdit(nil, chat.Edit{Key: asked.Key, Value: append(append(turns, asked.Text...), "}]"...)})
		case "system_append":
			return body.AppendEdit(nil, chat.Edit{Key: "instructions", Value: chat.AppendString(nil, block)})
		}
	}
	return body.AppendEdit(nil, chat.Edit{Key: asked.Key, Value: join(chat.AppendString(nil, block+gap), asked.Text)})
}

// join returns the JSON string that two of them are together, as they were written.
func join(a, b []byte) []byte {
	return append(append([]byte(nil), a[:len(a)-1]...), b[1:]...)
}

// intoTurns returns the body with the block in the conversation.
func (h *handler) intoTurns(m *chat.Messages, at int, block string) []byte {
	switch h.Placement {
	case "developer":
		return m.WithMessage(nil, at, chat.AppendMessage(nil, "developer", block))
	case "system_append":
		for i := range m.Len() {
			if role := string(m.At(i).Role); role == "system" || role == "developer" {
				return m.WithText(nil, i, []byte(gap+block), true)
			}
		}
		return m.WithMessage(nil, 0, chat.AppendMessage(nil, "system", block))
	}
	return m.WithText(nil, at, []byte(block+gap), false)
}
