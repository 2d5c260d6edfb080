package attempt

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/headrace/headrace/pipeline"
)

// maxKept bounds what is held back of a stream until its first useful event. A
// stream with a longer introduction has won.
const maxKept = 64 << 10

// maxEmpty is how many empty frames are borne with, which streams must not return.
const maxEmpty = 100

// errStream is what a stream does against the rules of pipeline.Stream.
var errStream = &pipeline.Error{Status: 500, Code: "internal_error", Fault: pipeline.GatewayFault, Err: errPanic}

var errEmpty = errors.New("the upstream ended the stream before its first event")

// A head is an answer that has been read up to its first useful event: first
// what was held back, then that event, then the rest. For the first attempt it
// is also the scope that the answer lives in.
type head struct {
	pipeline.Stream                  // the rest
	scope           pipeline.Scope   // in use while scoped
	scoped          bool             // t.ex is the caller's
	kept            *pipeline.Buffer // copies of what was held back
	replay          bool             // kept is yet to be handed out
	frame           []byte           // the useful event; borrowed from Stream
	ended           bool             // Stream has said io.EOF
}

var heads = sync.Pool{New: func() any { return new(head) }}

func newHead() *head { return heads.Get().(*head) }

// Next implements pipeline.Stream.
func (h *head) Next() ([]byte, error) {
	if h.replay {
		h.replay = false
		return h.kept.B, nil
	}
	if frame := h.frame; frame != nil {
		h.frame = nil
		return frame, nil
	}
	if h.ended {
		return nil, io.EOF
	}
	return h.Stream.Next()
}

// Close implements pipeline.Stream.
func (h *head) Close() error {
	defer h.free() // also if that panics
	return h.Stream.Close()
}

// begin makes h the scope of the first attempt.
func (h *head) begin(ctx context.Context) {
	h.scope.Begin(ctx)
	h.scoped = true
}

// free gives h back.
func (h *head) free() {
	if h.scoped {
		h.scope.End()
	}
	if h.kept != nil {
		h.kept.Free()
	}
	h.Stream, h.scoped, h.kept, h.replay, h.frame, h.ended = nil, false, nil, false, nil, false
	heads.Put(h)
}

// wrap puts h before the body that it has read from. It frees h where the body
// needs neither what was read nor the scope.
func (h *head) wrap(resp *pipeline.Response) {
	_, whole := resp.Whole()
	if resp.Body == nil || whole || !h.scoped && !h.replay && h.frame == nil && !h.ended {
		h.free()
		return
	}
	h.Stream = resp.Body
	resp.Body = h
}

// await reads a stream of events up to the first useful one. Any other body is
// left alone: it has been read whole, or is only passed through.
func (h *head) await(ex *pipeline.Exchange) error {
	resp := &ex.Response
	if resp.Fault != pipeline.NoFault || !ex.Events() {
		return nil
	}
	if _, whole := resp.Whole(); whole {
		return nil
	}
	for empty := 0; ; {
		frame, err := resp.Body.Next()
		switch {
		case err == io.EOF && len(frame) > 0, err == nil && len(frame) == 0 && empty == maxEmpty:
			return errStream
		case err == io.EOF && h.kept == nil:
			return &pipeline.Error{Status: 502, Code: "upstream_error", Fault: pipeline.UpstreamFault, Err: errEmpty}
		case err == io.EOF:
			h.ended, h.replay = true, true // nothing said, but said in full
			return nil
		case err != nil:
			return err
		}
		if len(frame) == 0 {
			empty++
			continue
		}
		if useful(frame) {
			h.frame, h.replay = frame, h.kept != nil
			return nil
		}
		if h.kept == nil {
			h.kept = pipeline.NewBuffer()
		}
		h.kept.B = append(h.kept.B, frame...)
		if len(h.kept.B) > maxKept {
			h.replay = true
			return nil
		}
	}
}
