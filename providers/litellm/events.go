package litellm

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// events is what a call knows of the stream that it passes on.
type events struct {
	split    sse.Splitter
	joined   []byte  // data of an event that has several lines of it
	choices  int     // answers asked for
	finished int     // answers that have said why they ended
	ended    []int64 // which these are, where there are several
	begun    bool    // an event with data has been seen
	told     bool    // an event of a response has told of an error
	over     bool    // nothing more may follow
	failed   error   // what the next call of Next returns
}

// end forgets the stream.
func (e *events) end() {
	e.split.Reset(nil, 0)
	e.ended = e.ended[:0]
	e.choices, e.finished, e.begun, e.told, e.over, e.failed = 0, 0, false, false, false, nil
}

// nextEvents is Next for a stream of events. It returns nothing before the first
// event with data: whether there is an answer at all is not known until then.
func (c *call) nextEvents() ([]byte, error) {
	for {
		switch {
		case c.failed != nil:
			return nil, c.failed
		case c.over:
			return nil, io.EOF
		}
		frame, err := c.split.Next()
		if err != nil {
			return c.conclude(err)
		}
		if good := c.inspect(frame); len(good) > 0 {
			return good, nil
		}
	}
}

// inspect looks at every event of a frame and returns those that may be passed on. If
// there is one that must not be, it has set failed.
func (c *call) inspect(frame []byte) []byte {
	from, to := 0, 0
	for to < len(frame) && !c.over {
		event, _ := sse.Cut(frame[to:])
		if len(event) == 0 {
			panic("BUG: a frame that ends within an event")
		}
		if !c.event(event) {
			break
		}
		if to += len(event); !c.begun {
			from = to
		}
	}
	return frame[from:to]
}

// event looks at one event and reports whether it may be passed on.
func (c *call) event(event []byte) bool {
	data, ok := sse.Data(c.joined[:0], event)
	if data = bytes.TrimSpace(data); !ok || len(data) == 0 {
		return true // a comment, or a sign of life
	}
	if !c.op.HasModel() {
		return c.foreign(event, data)
	}
	if string(data) == string(sse.Done) {
		if c.over = true; !c.begun {
			c.failed = emptyStream()
		}
		return c.begun
	}
	if chat.Valid(data) != nil {
		if c.p.InvalidEvents == pass {
			c.begun = true
			return true
		}
		c.failed = protocolError("the upstream sent an event that is not JSON")
		return false
	}
	if p, ok := c.inBandError(event, data); ok {
		if c.told = c.begun && c.tells(data); c.told {
			return true
		}
		c.failed = p.err(c.p.secrets)
		return false
	}
	c.begun = true
	switch c.op {
	case pipeline.OpResponses:
		if c.over = c.terminal(event, data); c.over {
			c.hide(event) // it may have failed with what the upstream says of the key
		}
	default:
		switch n := finishes(data); {
		case n > 0 && c.choices > 1:
			c.finish(data)
		default:
			c.finished += n
		}
	}
	return true
}

// finish notes which answers a chunk ends. Some upstreams say so more than once, with
// the count of tokens too.
func (c *call) finish(data []byte) {
	for choice := range chat.Array(chat.Get(data, "choices")) {
		if reason := chat.Get(choice, "finish_reason"); len(reason) == 0 || reason[0] != '"' {
			continue
		}
		index, _ := chat.Int(chat.Get(choice, "index"))
		if c.finished < c.choices && !slices.Contains(c.ended, index) {
			c.ended = append(c.ended, index)
			c.finished++
		}
	}
}

// foreign looks at an event of an interface that the gateway does not know. Only what
// looks like an error, and comes before anything else, is held back.
func (c *call) foreign(event, data []byte) bool {
	if string(sse.Name(event)) == "error" {
		if p, ok := readProblem(data); ok && !c.begun {
			c.failed = p.err(c.p.secrets)
			return false
		}
		c.hide(event)
	}
	c.begun = true
	return true
}

// hide writes over the gateway's secrets in an event that tells of an error. Its memory
// is the transport's, and nobody else reads it.
func (c *call) hide(event []byte) {
	for _, secret := range c.p.secrets {
		for rest := event; ; {
			at := bytes.Index(rest, secret)
			if at < 0 {
				break
			}
			for i := range secret {
				rest[at+i] = '*'
			}
			rest = rest[at+len(secret):]
		}
	}
}

// inBandError returns the error that an event holds in place of a piece of the answer.
// The error of a response that has failed is a piece of the answer.
func (c *call) inBandError(event, data []byte) (problem, bool) {
	if string(sse.Name(event)) != "error" {
		raw, ok := chat.ErrorObject(data)
		if !ok || void(raw) || c.op == pipeline.OpResponses && chat.Get(data, "response") != nil {
			return problem{}, false
		}
	}
	p, ok := readProblem(data)
	if !ok {
		p = problem{message: "the upstream reported an error"}
	}
	return p, true
}

// tells reports whether an error is an event of streamed responses, which clients know
// as such, and holds no secret of the gateway's. A last event may follow it.
func (c *call) tells(data []byte) bool {
	return c.op == pipeline.OpResponses && string(chat.Get(data, "type")) == `"error"` &&
		!slices.ContainsFunc(c.p.secrets, func(secret []byte) bool { return bytes.Contains(data, secret) })
}

// void reports whether the value of an error member says that there is none.
func void(raw []byte) bool {
	return string(raw) == "false" || string(raw) == `""` || string(raw) == "{}"
}

// terminal reports whether an event ends a streamed response.
func (c *call) terminal(event, data []byte) bool {
	kind := sse.Name(event)
	if len(kind) == 0 {
		kind = bytes.Trim(chat.Get(data, "type"), `"`)
	}
	switch string(kind) {
	case "response.completed", "response.failed", "response.incomplete", "response.cancelled":
		return true
	}
	return false
}

// finishes counts the answers that a chunk ends: those with a finish_reason that is not
// null.
func finishes(data []byte) (n int) {
	for {
		at := bytes.Index(data, finishWord)
		if at < 0 {
			return n
		}
		data = data[at+len(finishWord):]
		i := 0
		for i < len(data) && (isSpace(data[i]) || data[i] == ':') {
			i++
		}
		if i > 0 && i < len(data) && data[i] == '"' {
			n++
		}
	}
}

var finishWord = []byte(`"finish_reason"`)

// conclude judges the end of the stream.
func (c *call) conclude(err error) ([]byte, error) {
	switch {
	case errors.Is(err, sse.ErrEventTooLarge):
		err = tooLarge(int(c.p.MaxEvent))
	case err == io.ErrUnexpectedEOF:
		err = cutStream()
	case err != io.EOF:
	case !c.op.HasModel(), c.told:
	case !c.begun:
		err = emptyStream()
	case c.op != pipeline.OpResponses && c.finished >= max(1, c.choices):
		// Some upstreams leave the mark out. Clients wait for it.
		c.over = true
		return doneFrame, nil
	default:
		err = cutStream()
	}
	if err == io.EOF {
		c.over = true
		return nil, err
	}
	c.failed = err
	return nil, err
}

var doneFrame = sse.AppendData(nil, sse.Done)

func cutStream() error {
	return &pipeline.Error{Status: 502, Code: "upstream_cut", Fault: pipeline.UpstreamFault, Err: errors.New("the upstream ended the stream before its answer was complete")}
}

func emptyStream() error {
	return &pipeline.Error{Status: 502, Code: "upstream_error", Fault: pipeline.UpstreamFault, Err: errors.New("the upstream's stream was empty")}
}
