package litellm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// A call is one request to the upstream and, as a stream, its answer. It is pooled,
// and whoever closes the stream puts it back.
type call struct {
	p      *provider
	op     pipeline.Operation
	req    pipeline.Request
	target []byte           // the request line's
	lines  []byte           // the fields of the request, if the transport takes them so
	edits  []chat.Edit      // of the body
	model  []byte           // the model, as the upstream calls it
	stream bool             // the client asks for a stream
	usage  bool             // with the count of tokens
	value  []byte           // the same as JSON
	sent   *pipeline.Buffer // the edited body; nil if it went out as it was
	name   []byte           // scratch

	mode  mode
	body  pipeline.Stream  // the transport's; nil once it is closed
	whole *pipeline.Buffer // an answer read to its end
	given bool             // and handed out
	events
}

// mode is what the answer is.
type mode uint8

const (
	raw    mode = iota // passed on as it comes
	held               // read whole
	framed             // server-sent events
)

// send makes the upstream's request and carries it out. The answer is in ex.Response,
// its body the transport's.
func (c *call) send(ctx context.Context, ex *pipeline.Exchange) error {
	e := c.p.main
	if ex.Op == pipeline.OpRerank {
		e = c.p.ranker
	}
	body := ex.Request.Body
	if ex.Op.HasModel() && ex.Request.Upload == nil {
		r, err := ex.Chat()
		if err != nil {
			return err
		}
		c.choices = choices(ex.Op, r)
		if c.stream = r.Stream(); c.stream {
			options, _ := r.Member("stream_options")
			c.usage = string(chat.Get(options, "include_usage")) == "true"
		}
		body = c.edit(ex, r)
	}
	var err error
	if c.target, err = c.p.appendTarget(c.target[:0], e, ex, c.model); err != nil {
		return err
	}
	c.req.Body, c.req.Upload, c.req.UploadSize = body, ex.Request.Upload, ex.Request.UploadSize
	c.req.Wait = ex.Request.Wait
	if t := ex.Target; t != nil {
		if c.req.Wait.FirstByte <= 0 {
			c.req.Wait.FirstByte = t.FirstByte
		}
		if c.req.Wait.Idle <= 0 {
			c.req.Wait.Idle = t.Idle
		}
	}
	if e.lines != nil && e.transport == pipeline.Transport(e.lines) {
		c.requestLines(&ex.Request.Header, e)
		err = e.lines.RoundTripLines(ctx, &c.req, c.lines, &ex.Response)
	} else {
		c.requestHeader(&ex.Request.Header, e)
		err = e.transport.RoundTrip(ctx, &c.req, &ex.Response)
	}
	if err != nil {
		return err
	}
	c.body, ex.Response.Body = ex.Response.Body, nil
	return nil
}

// edit returns the body as the upstream shall see it, and notes what it calls the model.
func (c *call) edit(ex *pipeline.Exchange, r *chat.Request) []byte {
	c.edits = c.edits[:0]
	asked := r.Model()
	c.model = append(c.model[:0], asked...)
	if t := ex.Target; t != nil && t.Model != "" && (len(asked) > 0 || !strings.Contains(t.Model, "*")) {
		name := t.Model
		if strings.Contains(name, "*") {
			name = t.Upstream(ex.Model, string(asked))
		}
		if string(asked) != name {
			c.model = append(c.model[:0], name...)
			c.value = chat.AppendString(c.value[:0], name)
			c.edits = append(c.edits, chat.Edit{Key: "model", Value: c.value})
		}
	}
	for _, key := range c.p.Strip {
		if _, ok := r.Member(key); ok {
			c.edits = append(c.edits, chat.Edit{Key: key})
		}
	}
	if len(c.edits) == 0 {
		return ex.Request.Body
	}
	c.sent = pipeline.NewBuffer()
	c.sent.B = r.AppendEdit(c.sent.B[:0], c.edits...)
	return c.sent.B
}

// most is how many answers of one stream are told apart.
const most = 1 << 12

// choices is how many answers a request asks for: so many for each of its prompts.
func choices(op pipeline.Operation, r *chat.Request) int {
	raw, _ := r.Member("n")
	n, ok := chat.Int(raw)
	if !ok || n < 1 {
		n = 1
	}
	if op == pipeline.OpCompletions {
		raw, _ := r.Member("prompt")
		n *= int64(prompts(raw))
	}
	return int(min(n, most))
}

// prompts is how many a completion is asked for: a list of numbers is one, in tokens.
func prompts(raw []byte) int {
	n := 0
	for p := range chat.Array(raw) {
		if p[0] != '"' && p[0] != '[' {
			return 1
		}
		n++
	}
	return max(1, n)
}

// receive looks at the header of the answer and reads the body, unless it is to be
// passed on as it comes.
func (c *call) receive(ex *pipeline.Exchange) error {
	resp := &ex.Response
	h := &resp.Header
	status := h.StatusCode()
	if status >= 300 && status < 400 && (status != 304 || c.op.HasModel()) {
		return protocolError("the upstream answered with a redirect, which is not followed")
	}
	if !c.op.HasModel() {
		c.cleanHeader(h)
		if status >= 400 && !ex.Request.Header.IsHead() {
			c.foreignError(ex, status)
			return nil
		}
		if status < 300 && ex.Events() {
			c.begin()
			h.SetContentLength(-1)
		}
		return nil
	}
	if enc := h.ContentEncoding(); len(enc) > 0 && string(enc) != "identity" {
		return protocolError("the upstream compressed its answer although it was not asked to")
	}
	c.cleanHeader(h)
	if status < 300 && isEvents(h.ContentType()) && c.op != pipeline.OpEmbeddings && c.op != pipeline.OpRerank {
		if !c.stream {
			return protocolError("the upstream streams its answer although it was not asked to")
		}
		c.begin()
		h.SetContentLength(-1)
		return nil
	}
	limit := int(c.p.MaxResponse)
	if status >= 400 {
		limit = min(limit, maxProblem)
	}
	if err := c.read(h.ContentLength(), limit); err != nil {
		return err
	}
	return c.judge(ex, status)
}

// judge looks at an answer that has been read.
func (c *call) judge(ex *pipeline.Exchange, status int) error {
	h := &ex.Response.Header
	b := c.whole.B
	if status < 300 {
		// Where the end of the connection is the end of the body, an answer that
		// was cut short can only be told by this.
		if !isContainer(b) || chat.Valid(b) != nil {
			return protocolError("the upstream's answer is not JSON; is its url the right one?")
		}
		if p, ok := leadingError(b); ok {
			status = p.inBand()
			c.refuse(ex, status, p)
			return nil
		}
		if c.stream {
			return c.restream(h)
		}
		if !isJSON(h.ContentType()) {
			h.SetContentType("application/json")
		}
		h.SetContentLength(len(b))
		return nil
	}
	p, ok := readProblem(b)
	if !ok {
		p = textProblem(b, h.ContentType(), status)
	}
	c.refuse(ex, status, p)
	return nil
}

// restream makes an answer in one piece the stream that was asked for.
func (c *call) restream(h *fasthttp.ResponseHeader) error {
	if !streamable(c.op, c.whole.B) {
		return protocolError("the upstream's answer is no stream although one was asked for")
	}
	c.whole.B = appendStream(nil, c.op, c.whole.B, c.usage)
	h.SetContentType("text/event-stream; charset=utf-8")
	h.SetContentLength(-1)
	return nil
}

// foreignError is the error of an interface that the gateway does not know. One that has
// an error object, such as OpenAI's and Anthropic's, keeps its own shape. Of a body that
// cannot be read the status still tells.
func (c *call) foreignError(ex *pipeline.Exchange, status int) {
	h := &ex.Response.Header
	enc := h.ContentEncoding()
	readable := (len(enc) == 0 || string(enc) == "identity") && c.read(h.ContentLength(), maxProblem) == nil
	h.Del("Content-Encoding")
	if !readable {
		if c.whole == nil {
			c.whole = pipeline.NewBuffer()
		}
		c.mode, c.whole.B = held, c.whole.B[:0]
	}
	p, ok := readProblem(c.whole.B)
	if !ok {
		p = textProblem(c.whole.B, h.ContentType(), status)
	}
	if ok && object(object(c.whole.B)["error"]) != nil {
		c.whole.B = mask(c.whole.B, c.p.secrets)
		c.fail(ex, status, p)
		return
	}
	c.refuse(ex, status, p)
}

// refuse makes a problem the answer.
func (c *call) refuse(ex *pipeline.Exchange, status int, p problem) {
	c.whole.B = append(c.whole.B[:0], p.json(status, c.p.secrets)...)
	c.fail(ex, status, p)
}

// fail gives the answer the header of an error, for the body as it is.
func (c *call) fail(ex *pipeline.Exchange, status int, p problem) {
	h := &ex.Response.Header
	h.SetStatusCode(status)
	h.SetContentType("application/json")
	h.SetContentLength(len(c.whole.B))
	retryAfter(h)
	ex.Response.Fault = p.fault(status)
}

// read reads the answer to its end, at most limit bytes of it, and closes the
// transport's body. length is what was declared, or below zero: little memory is
// taken on its word.
func (c *call) read(length, limit int) error {
	if length > limit {
		return tooLarge(limit)
	}
	c.mode, c.whole = held, pipeline.NewBuffer()
	b := c.whole.B
	if n := min(length, 64<<10); n > cap(b) {
		b = make([]byte, 0, n)
	}
	for {
		piece, err := c.body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if len(b)+len(piece) > limit {
			return tooLarge(limit)
		}
		b = append(b, piece...)
	}
	c.whole.B = b
	return c.closeBody()
}

// Next implements pipeline.Stream.
func (c *call) Next() ([]byte, error) {
	switch c.mode {
	case held:
		if c.given || len(c.whole.B) == 0 {
			return nil, io.EOF
		}
		c.given = true
		return c.whole.B, nil
	case framed:
		return c.nextEvents()
	}
	return c.body.Next()
}

func (c *call) closeBody() error {
	b := c.body
	c.body = nil
	if b == nil {
		return nil
	}
	return b.Close()
}

// Close implements pipeline.Stream. The call goes back to the pool. The transport's
// body is closed first: it may still be sending the request.
func (c *call) Close() error {
	err := c.closeBody()
	for _, b := range [...]**pipeline.Buffer{&c.sent, &c.whole} {
		if *b != nil {
			(*b).Free()
			*b = nil
		}
	}
	c.req.Body, c.req.Upload, c.req.UploadSize, c.req.Wait = nil, nil, 0, pipeline.Wait{}
	if cap(c.lines) > 64<<10 {
		c.lines = nil
	}
	clear(c.edits)
	c.model = c.model[:0]
	c.mode, c.given = raw, false
	c.stream, c.usage = false, false
	c.end()
	c.p.calls.Put(c)
	return err
}

// begin makes the answer a stream of events.
func (c *call) begin() {
	c.mode = framed
	c.split.Reset(c.body, int(c.p.MaxEvent))
}

// isContainer reports whether b begins as an object or an array does.
func isContainer(b []byte) bool {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func protocolError(text string) error {
	return &pipeline.Error{Status: 502, Code: "upstream_protocol", Fault: pipeline.UpstreamFault, Err: errors.New(text)}
}

func tooLarge(limit int) error {
	return &pipeline.Error{
		Status: 502, Code: "upstream_too_large", Fault: pipeline.UpstreamFault,
		Err: fmt.Errorf("the upstream's answer is larger than %d bytes", limit),
	}
}

var _ sse.Source = pipeline.Stream(nil)
