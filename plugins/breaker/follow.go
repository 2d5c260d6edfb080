package breaker

import (
	"bytes"
	"io"
	"sync"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// follower watches an answer that is still coming. The upstream is judged by
// the first valid event, so that a probe does not last as long as a stream
// does, and judged again if the stream breaks.
type follower struct {
	pipeline.Stream
	subject
	model  []byte // memory for its name, which the request may take along
	events bool   // the body is a stream of events
	judged bool   // a success is counted
	over   bool   // nothing more can come of it
	join   []byte // for data of several lines
}

var followers = sync.Pool{New: func() any { return new(follower) }}

func follow(s subject, ex *pipeline.Exchange) *follower {
	f := followers.Get().(*follower)
	f.model = append(f.model[:0], s.name...)
	f.Stream, f.subject = ex.Response.Body, s
	f.name = f.model
	f.events = ex.Events()
	f.judged, f.over = false, false
	if !f.events {
		f.succeed() // an answer is a success, whatever it is
	}
	return f
}

// Next implements pipeline.Stream.
func (f *follower) Next() ([]byte, error) {
	frame, err := f.Stream.Next()
	switch {
	case f.over:
	case err == nil:
		if f.events {
			f.read(frame)
		}
	case err == io.EOF:
		if !f.judged {
			f.end(pipeline.UpstreamFault) // a stream without an event
		}
		f.over = true
	default:
		f.end(pipeline.FaultOfError(err))
	}
	return frame, err
}

// Close implements pipeline.Stream.
func (f *follower) Close() error {
	if !f.over {
		f.end(pipeline.GoneFault)
	}
	err := f.Stream.Close()
	f.Stream, f.subject = nil, subject{}
	followers.Put(f)
	return err
}

// read looks for the first event, and for errors in the place of events.
func (f *follower) read(frame []byte) {
	suspect := bytes.Contains(frame, []byte("error"))
	if f.judged && !suspect {
		return
	}
	for len(frame) > 0 {
		var event []byte
		if event, frame = sse.Cut(frame); len(event) == 0 {
			return
		}
		data, ok := sse.Data(f.join[:0], event)
		if !ok {
			continue // a comment keeps the connection alive and says nothing else
		}
		if suspect {
			if fault := faultOf(event, data); fault != pipeline.NoFault {
				f.end(fault)
				return
			}
		}
		f.succeed()
		if !suspect {
			return
		}
	}
}

// faultOf classifies an event that is an error.
func faultOf(event, data []byte) pipeline.Fault {
	object, ok := chat.ErrorObject(data)
	switch {
	case ok:
	case string(sse.Name(event)) == "error":
		object = data
	default:
		return pipeline.NoFault
	}
	switch {
	case string(chat.Get(object, "type")) == `"invalid_request_error"`:
		return pipeline.CallerFault
	case string(chat.Get(object, "code")) == `"content_filter"`:
		return pipeline.PolicyFault
	}
	return pipeline.UpstreamFault
}

func (f *follower) succeed() {
	if !f.judged {
		f.judged = true
		f.settle(success, 0)
	}
}

// end gives the last verdict.
func (f *follower) end(fault pipeline.Fault) {
	f.over = true
	switch v := ofFault(fault); {
	case !f.judged:
		f.settle(v, 0)
	case v == failure:
		f.revoke()
	}
}
