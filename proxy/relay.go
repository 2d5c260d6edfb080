package proxy

import (
	"errors"
	"io"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/sse"
)

// stream makes the job the body of the answer, beginning with frame. Its
// length is announced if it is known.
func (j *job) stream(frame []byte, length int) bool {
	j.first = frame
	if length < 0 && !j.ctx.Request.Header.IsHTTP11() {
		// HTTP/1.0 knows no chunks: the end of the connection ends the body,
		// and cannot be told from a failure.
		j.fail(refuse(505, "http_1_0_stream", "", errOldStream))
		return false
	}
	j.fixed, j.length = length >= 0, int64(length)
	j.ctx.Response.ImmediateHeaderFlush = j.fixed
	j.firstByte = time.Since(j.began)
	j.ctx.SetBodyStream(j, length)
	return true
}

var errOldStream = errors.New("an answer of unknown length cannot be sent over HTTP/1.0; use HTTP/1.1, or do not ask for a stream")

// isEventStream reports whether the media type is text/event-stream.
func isEventStream(t []byte) bool {
	const want = "text/event-stream"
	return len(t) >= len(want) && equalFold(t[:len(want)], want) && (len(t) == len(want) || t[len(want)] == ';' || t[len(want)] == ' ')
}

// Read implements io.Reader, which fasthttp asks for and never calls.
func (j *job) Read([]byte) (int, error) { panic("BUG: the body is written by WriteTo") }

// SupportsBodyWriteTo implements fasthttp.BodyWriterTo.
func (j *job) SupportsBodyWriteTo() bool { return true }

// WriteTo relays the answer. It runs on the connection's own goroutine, after
// the handler has returned; each write is flushed to the client. An error
// makes fasthttp close the connection without the last chunk, so that a
// truncated answer cannot look whole.
func (j *job) WriteTo(w io.Writer) (n int64, err error) {
	if j.ctx.IsHead() {
		return 0, nil
	}
	for frame := j.first; ; {
		if j.fixed && n+int64(len(frame)) > j.length {
			j.broken(w, errShort)
			return n, errShort
		}
		ended := !j.events || sse.Ends(frame)
		m, werr := w.Write(frame)
		n += int64(m)
		j.sent = n
		if werr != nil {
			j.left(werr)
			return n, werr
		}
		if frame, err = j.next(); err == io.EOF {
			switch {
			case j.fixed && n < j.length:
				err = errShort
			case !ended:
				err = j.mistaken("a stage's stream ended within an event")
			default:
				return n, nil
			}
		}
		if err != nil {
			j.broken(w, err)
			return n, err
		}
	}
}

// left notes that the client could not be written to.
func (j *job) left(err error) {
	j.err, j.code = pipeline.ErrClientGone, "client_closed_request"
	if isTimeout(err) {
		j.code = "client_too_slow"
	}
	j.ex.Scope().Cancel(pipeline.ErrClientGone)
}

// broken ends an answer that failed after it had begun. In a stream of events
// the client is told by one last event; anything else just ends short.
func (j *job) broken(w io.Writer, err error) {
	if cause := pipeline.Cause(j.ex.Context()); cause != nil {
		err = cause
	}
	e := j.explained(err)
	j.err, j.code = err, e.Code
	if !j.events || j.fixed {
		return
	}
	m, _ := w.Write(sse.AppendData(nil, appendError(nil, e)))
	j.sent += int64(m)
}

// Close implements io.Closer; fasthttp calls it once, however writing ended.
func (j *job) Close() error {
	j.finish()
	return nil
}
