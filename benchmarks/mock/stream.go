package mock

import (
	"errors"
	"io"
	"net"
	"strconv"
	"time"
)

// longPause is the pause from which on a stream notices that its reader has
// gone before it writes the next event.
const longPause = time.Second

// A stream writes the events from the goroutine of its connection: every
// Write is one chunk on the wire.
type stream struct {
	server *Server
	conn   net.Conn
	chunks int
	pace   time.Duration
}

const (
	head = `data: {"id":"chatcmpl-mock0001","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini","system_fingerprint":"fp_mock","choices":[{"index":0,"delta":{`
	tail = `},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	last = head + `},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":180,"completion_tokens":120,"total_tokens":300}}` + "\n\ndata: [DONE]\n\n"
)

// SupportsBodyWriteTo tells fasthttp to call WriteTo.
func (*stream) SupportsBodyWriteTo() bool { return true }

// Read implements io.Reader, as every body stream must. It is never called.
func (*stream) Read([]byte) (int, error) { return 0, errors.New("BUG: a stream is written, not read") }

// WriteTo writes all events, each at its time: a late one does not make those
// after it late.
func (s *stream) WriteTo(w io.Writer) (int64, error) {
	var n int64
	var buf []byte
	due := time.Now()
	for i := range s.chunks {
		if i > 0 {
			due = due.Add(s.pace)
			if !s.wait(time.Until(due)) {
				return n, net.ErrClosed
			}
		}
		buf = append(append(buf[:0], head...), `"content":"@`...)
		buf = strconv.AppendInt(buf, time.Now().UnixNano(), 10)
		buf = append(append(buf, `@ section"`...), tail...)
		m, err := w.Write(buf)
		n += int64(m)
		if err != nil {
			return n, err
		}
		s.server.chunks.Add(1)
	}
	m, err := io.WriteString(w, last)
	return n + int64(m), err
}

func (s *stream) wait(d time.Duration) bool {
	if d >= longPause {
		return !hungUp(s.conn, d)
	}
	time.Sleep(d)
	return true
}
