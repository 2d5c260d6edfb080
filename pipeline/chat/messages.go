package chat

import (
	"bytes"
	"slices"
	"strconv"
)

// Messages is a conversation: the member "messages" of a chat request, or the
// items of a response's "input". What it returns is valid as long as what the
// Request returns.
type Messages struct {
	body   []byte
	list   []Message
	end    int    // index of the closing bracket
	kind   string // type of a part that is text
	key    string
	parsed bool
	err    *Error
}

const (
	maxMessages = 16384
	maxFields   = 32 // of a message
)

// A Message is one message, or an item that is none but stands among them.
type Message struct {
	// Raw is the whole object as written.
	Raw []byte
	// Role is unescaped; nil if there is none.
	Role []byte
	// Content is the content as written: a string, an array of parts, or null;
	// nil if there is none.
	Content []byte

	from, to   int  // Raw, in the body
	content    span // Content, in the body
	memberless bool
}

// Messages returns the member "messages". The error is an *Error: the member is
// missing, is no array of objects, is larger than any conversation (16384
// messages of 32 members each), or a message repeats a key.
func (r *Request) Messages() (*Messages, error) { return r.conversation("messages", "text") }

// Items is Messages for the member "input" of a request to /v1/responses. An
// input that is only a string is an error here.
func (r *Request) Items() (*Messages, error) { return r.conversation("input", "input_text") }

func (r *Request) conversation(key, kind string) (*Messages, error) {
	m := &r.list
	if !m.parsed || m.key != key {
		clear(m.list)
		*m = Messages{body: r.body, list: m.list[:0], key: key, kind: kind, parsed: true}
		if err := m.parse(r); err != nil {
			err.Param = key
			m.err = err.locate(r.body)
		}
	}
	if m.err != nil {
		return nil, m.err
	}
	return m, nil
}

func (m *Messages) parse(r *Request) (err *Error) {
	n := r.find(m.key)
	if n < 0 {
		return fail(r.open, "missing key "+strconv.Quote(m.key))
	}
	v := r.members[n].value
	raw := r.body[v.from:v.to]
	if raw[0] != '[' {
		return fail(v.from, strconv.Quote(m.key)+" must be an array of objects")
	}
	m.end = v.to - 1
	eachElement(raw, func(e span) bool {
		err = m.add(v.from+e.from, v.from+e.to)
		return err == nil
	})
	return err
}

// add reads the message at body[from:to].
func (m *Messages) add(from, to int) (err *Error) {
	raw := m.body[from:to:to]
	if raw[0] != '{' {
		return fail(from, strconv.Quote(m.key)+" must hold objects only")
	}
	if len(m.list) == maxMessages {
		return fail(from, "too many messages: "+strconv.Quote(m.key)+" may hold 16384")
	}
	msg := Message{Raw: raw, from: from, to: to, memberless: true}
	var seen [maxFields][]byte
	keys := seen[:0]
	eachMember(raw, func(k, v span) bool {
		key, value := keyOf(raw[k.from:k.to]), raw[v.from:v.to:v.to]
		if slices.ContainsFunc(keys, func(o []byte) bool { return bytes.Equal(o, key) }) {
			err = fail(from+k.from-1, "duplicate key "+quoteKey(key)+" in a message: send each key once")
			return false
		}
		if len(keys) == cap(keys) {
			err = fail(from+k.from-1, "too many members: a message may have 32")
			return false
		}
		keys = append(keys, key)
		msg.memberless = false
		switch string(key) {
		case "role":
			if text, ok := inside(value); ok {
				if msg.Role = text; bytes.IndexByte(text, '\\') >= 0 {
					msg.Role = appendUnescaped(nil, text, false)
				}
			}
		case "content":
			msg.Content, msg.content = value, span{from + v.from, from + v.to}
		}
		return true
	})
	m.list = append(m.list, msg)
	return err
}

// Len is the number of messages.
func (m *Messages) Len() int { return len(m.list) }

// At returns the i-th message. It must not be written to.
func (m *Messages) At(i int) *Message { return &m.list[i] }

// IsText reports whether the content is a string.
func (m *Message) IsText() bool { return len(m.Content) > 0 && m.Content[0] == '"' }

// IsParts reports whether the content is an array of parts.
func (m *Message) IsParts() bool { return len(m.Content) > 0 && m.Content[0] == '[' }

// AppendText appends the text of the content: the string, or what the parts
// that are text say, joined by line ends.
func (m *Message) AppendText(dst []byte) []byte {
	if m.IsText() {
		dst, _ = AppendText(dst, m.Content)
		return dst
	}
	first := true
	for part := range Array(m.Content) {
		if !IsText(part) {
			continue
		}
		if !first {
			dst = append(dst, '\n')
		}
		dst, _ = AppendText(dst, Get(part, "text"))
		first = false
	}
	return dst
}

// IsText reports whether a part of a content is text.
func IsText(part []byte) bool {
	switch string(Get(part, "type")) {
	case `"text"`, `"input_text"`, `"output_text"`:
		return true
	}
	return false
}

// splice appends the body with body[from:to] replaced, around what put appends.
func (m *Messages) splice(dst []byte, from, to int, put func(dst []byte) []byte) []byte {
	dst = append(slices.Grow(dst, len(m.body)+256), m.body[:from]...)
	return append(put(dst), m.body[to:]...)
}

// WithContent appends the body to dst with the i-th message's content replaced
// by content, one valid JSON value. A message without content gets one.
func (m *Messages) WithContent(dst []byte, i int, content []byte) []byte {
	msg := &m.list[i]
	if msg.Content != nil {
		return m.splice(dst, msg.content.from, msg.content.to, func(dst []byte) []byte { return append(dst, content...) })
	}
	return m.splice(dst, msg.to-1, msg.to-1, func(dst []byte) []byte {
		if !msg.memberless {
			dst = append(dst, ',')
		}
		return append(append(dst, `"content":`...), content...)
	})
}

// WithText appends the body to dst with text added to the i-th message's
// content, in front of what it says or, if last is true, behind it. A content
// of parts gets a part of its own for it; a string gets the text and nothing in
// between.
func (m *Messages) WithText(dst []byte, i int, text []byte, last bool) []byte {
	msg := &m.list[i]
	c := msg.content
	switch {
	case msg.IsText():
		at := c.from + 1
		if last {
			at = c.to - 1
		}
		return m.splice(dst, at, at, func(dst []byte) []byte { return appendEscaped(dst, text) })
	case msg.IsParts():
		empty := blank(m.body, c.from+1) == c.to-1
		at := c.from + 1
		if last {
			at = c.to - 1
		}
		return m.splice(dst, at, at, func(dst []byte) []byte {
			if last && !empty {
				dst = append(dst, ',')
			}
			dst = append(append(append(dst, `{"type":"`...), m.kind...), `","text":`...)
			dst = append(AppendString(dst, text), '}')
			if !last && !empty {
				dst = append(dst, ',')
			}
			return dst
		})
	}
	return m.WithContent(dst, i, AppendString(nil, text))
}

// WithMessage appends the body to dst with message, one valid JSON object, put
// in front of the i-th; behind the last if i is Len.
func (m *Messages) WithMessage(dst []byte, i int, message []byte) []byte {
	at := m.end
	if i < len(m.list) {
		at = m.list[i].from
	}
	return m.splice(dst, at, at, func(dst []byte) []byte {
		if i == len(m.list) && i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, message...)
		if i < len(m.list) {
			dst = append(dst, ',')
		}
		return dst
	})
}

// AppendMessage appends a message that says text.
func AppendMessage[S string | []byte](dst []byte, role string, text S) []byte {
	dst = AppendString(append(dst, `{"role":`...), role)
	return append(AppendString(append(dst, `,"content":`...), text), '}')
}
