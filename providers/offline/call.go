package offline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// A call is one request and, as a stream, its answer. It is pooled.
type call struct {
	p     *provider
	pause pause
	turn  turn
	reply reply
	id    [16]byte // hexadecimal; made from the request
	model []byte   // a JSON string
	out   []byte   // the frame, or all of a whole answer
	body  *pipeline.Buffer

	events events // writes the next events; nil for a whole answer
	state  state
	sent   bool // the whole answer has been handed out
}

// keep is the largest buffer that waits in the pool for another call.
const keep = 64 << 10

// answer fills the response's header and makes c its body.
func (c *call) answer(ctx context.Context, ex *pipeline.Exchange) error {
	if err := c.pause.attach(ctx); err != nil {
		return fmt.Errorf("call the offline model: %w", err)
	}
	n := c.p.requests.Add(1)
	slow, fails := c.p.fate(n)
	latency := c.p.Latency
	if slow {
		latency = c.p.Slow
	}
	if ex.Op == pipeline.OpModels || ex.Op == pipeline.OpOther {
		latency = 0
	}
	if err := c.pause.sleep(latency); err != nil {
		return fmt.Errorf("wait for the offline model: %w", err)
	}
	h := &ex.Response.Header
	h.Reset()
	h.SetStatusCode(200)
	h.SetContentType("application/json")
	ex.Response.Fault = pipeline.NoFault
	c.out = c.out[:0]
	if fails && ex.Op.HasModel() {
		c.refuse(ex, &refusal{500, "The offline model failed, as it was set up to do.", "", "offline_error"})
	} else if bad := c.dispatch(ex); bad != nil {
		c.refuse(ex, bad)
	}
	if c.events != nil {
		h.SetContentType("text/event-stream")
		h.SetContentLength(-1)
		return nil
	}
	h.SetContentLength(len(c.whole()))
	return nil
}

// dispatch answers by operation.
func (c *call) dispatch(ex *pipeline.Exchange) *refusal {
	if ex.Op == pipeline.OpModels {
		return c.models(ex)
	}
	if !ex.Op.HasModel() {
		return unknown(ex)
	}
	if ex.Request.Upload != nil {
		return &refusal{413, "The body is too large.", "", "request_too_large"}
	}
	r, err := ex.Chat()
	if err != nil {
		return &refusal{400, "The body is not a valid JSON object: " + cause(err), "", "invalid_json"}
	}
	c.identify(ex, r)
	c.turn.reset()
	if bad := misshapen(ex.Op, r); bad != nil {
		return bad
	}
	if bad := misspelt(ex.Op, r); bad != nil {
		return bad
	}
	if bad := lacking(ex.Op, r); bad != nil {
		return bad
	}
	switch ex.Op {
	case pipeline.OpChat:
		return c.chat(r)
	case pipeline.OpCompletions:
		return c.completions(r)
	case pipeline.OpEmbeddings:
		return c.embeddings(r)
	case pipeline.OpResponses:
		return c.responses(r)
	}
	return c.rerank(r)
}

// cause is what a scanner's error says, without what it was wrapped in.
func cause(err error) string {
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Err != nil {
		err = e.Err
	}
	return err.Error()
}

// identify sets what is said of the request in every answer: its id, made from its
// bytes, and the model.
func (c *call) identify(ex *pipeline.Exchange, r *chat.Request) {
	body := ex.Request.Body
	sum := uint64(crc32.ChecksumIEEE(body))<<32 | uint64(crc32.Checksum(body, castagnoli))
	for i := range c.id {
		c.id[i] = hexDigits[sum>>(60-4*i)&15]
	}
	if t := ex.Target; t != nil && t.Model != "" {
		c.model = chat.AppendString(c.model[:0], t.Upstream(ex.Model, string(r.Model())))
	} else if raw, _ := r.Member("model"); kind(raw) == '"' {
		c.model = append(c.model[:0], raw...)
	} else {
		c.model = append(c.model[:0], `"offline"`...)
	}
}

const hexDigits = "0123456789abcdef"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// unknown answers for a path that the model does not know.
func unknown(ex *pipeline.Exchange) *refusal {
	h := &ex.Request.Header
	path, _, _ := bytes.Cut(h.RequestURI(), []byte("?"))
	if allow := methods[string(path)]; allow != "" {
		ex.Response.Header.Set(fasthttp.HeaderAllow, allow)
		return &refusal{405, fmt.Sprintf("%s is not allowed on %s; use %s.", h.Method(), path, allow), "", "method_not_allowed"}
	}
	return &refusal{404, fmt.Sprintf("Unknown request URL: %s %.200s. The offline model does not know it.", h.Method(), path), "", "unknown_url"}
}

// methods are those of the paths that the model does know.
var methods = map[string]string{
	"/v1/chat/completions": "POST", "/v1/completions": "POST", "/v1/embeddings": "POST", "/v1/responses": "POST", "/v1/rerank": "POST",
	"/v1/models": "GET, HEAD",
}

// refuse makes the answer an error.
func (c *call) refuse(ex *pipeline.Exchange, bad *refusal) {
	c.events = nil
	c.freeBody()
	kind, param := "invalid_request_error", []byte("null")
	if bad.status >= 500 {
		kind = "server_error"
	}
	if bad.param != "" {
		param = chat.AppendString(nil, []byte(bad.param))
	}
	b := append(c.out[:0], `{"error":{"message":`...)
	b = chat.AppendString(b, bytes.ToValidUTF8([]byte(bad.message), []byte("\uFFFD")))
	b = append(append(append(append(b, `,"type":"`...), kind...), `","param":`...), param...)
	c.out = append(append(append(b, `,"code":"`...), bad.code...), `"}}`...)
	ex.Response.Header.SetStatusCode(bad.status)
	ex.Response.Fault = pipeline.FaultOfStatus(bad.status)
}

// large makes a pooled buffer the body, for answers that can be long. The caller
// appends to its bytes.
func (c *call) large() *pipeline.Buffer {
	c.freeBody()
	c.body = pipeline.NewBuffer()
	return c.body
}

func (c *call) freeBody() {
	if c.body != nil {
		c.body.Free()
		c.body = nil
	}
}

func (c *call) whole() []byte {
	if c.body != nil {
		return c.body.B
	}
	return c.out
}

// Next implements pipeline.Stream.
func (c *call) Next() ([]byte, error) {
	if c.events == nil {
		if c.sent {
			return nil, io.EOF
		}
		c.sent = true
		return c.whole(), nil
	}
	if c.state.step == ended {
		return nil, io.EOF
	}
	c.out = c.out[:0]
	for c.state.step != ended {
		wait, flush := c.events.next(c)
		if wait && c.state.said {
			if err := c.pause.sleep(c.p.WordDelay); err != nil {
				return nil, fmt.Errorf("read the offline model's answer: %w", err)
			}
		}
		c.state.said = c.state.said || wait
		if flush {
			break
		}
	}
	return c.out, nil
}

// Close implements pipeline.Stream. The call goes back to the pool.
func (c *call) Close() error {
	c.pause.detach()
	c.freeBody()
	c.events, c.state, c.sent = nil, state{}, false
	c.turn.reset()
	clear(c.reply.calls)
	if cap(c.out)+cap(c.turn.text)+cap(c.reply.text)+cap(c.reply.args)+cap(c.model) > keep {
		c.out, c.turn.text, c.model, c.reply = nil, nil, nil, reply{}
	}
	c.p.calls.Put(c)
	return nil
}

// appendInt appends key, which ends with a colon, and a number.
func appendInt(b []byte, key string, n int) []byte {
	return strconv.AppendInt(append(b, key...), int64(n), 10)
}
