package litellm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// settings are the defaults, with a base address.
func settings(url string) Config {
	return Config{URL: url, Strip: []string{"cache", "rag"}, InvalidEvents: refuse, MaxResponse: 1 << 20, MaxEvent: 64 << 10, MaxConnections: 64}
}

func build(t testing.TB, c Config) *provider {
	t.Helper()
	p, err := c.Build(context.Background(), config.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
	return p.(*provider)
}

// A transport answers from memory and remembers what it was asked.
type transport struct {
	header string // of the answer: status line and fields, without the empty line
	pieces []string
	end    error // of the body; nil for io.EOF

	request fasthttp.RequestHeader
	body    string
	wait    pipeline.Wait
	calls   int
	closed  int // bodies
	stream  pieces
}

func (t *transport) RoundTrip(_ context.Context, req *pipeline.Request, resp *pipeline.Response) error {
	t.calls++
	req.Header.CopyTo(&t.request)
	t.body, t.wait = string(req.Body), req.Wait
	if req.Upload != nil {
		b, err := io.ReadAll(req.Upload)
		if err != nil {
			return err
		}
		t.body = string(b)
	}
	resp.Header.Reset()
	resp.Header.SetNoDefaultContentType(true)
	for i, line := range strings.Split(t.header, "\n") {
		if i == 0 {
			resp.Header.SetStatusCode(number(t.header[:3]))
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		resp.Header.Add(name, value)
	}
	if len(resp.Header.Peek("Content-Length")) == 0 {
		resp.Header.SetContentLength(-1)
	}
	resp.Fault = pipeline.FaultOfStatus(resp.Header.StatusCode())
	t.stream = pieces{t: t, left: t.pieces}
	resp.Body = &t.stream
	return nil
}

// pieces is a body. What it returned before is overwritten, so that nobody keeps it.
type pieces struct {
	t    *transport
	left []string
	last []byte
}

func (p *pieces) Next() ([]byte, error) {
	for i := range p.last {
		p.last[i] = 0xDB
	}
	if len(p.left) == 0 {
		if p.t.end != nil {
			return nil, p.t.end
		}
		return nil, io.EOF
	}
	p.last = append(p.last[:0], p.left[0]...)
	p.left = p.left[1:]
	return p.last, nil
}

func (p *pieces) Close() error {
	p.t.closed++
	return nil
}

// onto makes the transport the provider's.
func (t *transport) onto(p *provider) *provider {
	p.main.transport, p.ranker.transport = t, t
	return p
}

const (
	chatBody   = `{"model":"gpt","messages":[{"role":"user","content":"hi"}]}`
	streamBody = `{"model":"gpt","messages":[{"role":"user","content":"hi"}],"stream":true}`
)

var paths = map[pipeline.Operation]string{
	pipeline.OpChat:        "/v1/chat/completions",
	pipeline.OpCompletions: "/v1/completions",
	pipeline.OpEmbeddings:  "/v1/embeddings",
	pipeline.OpResponses:   "/v1/responses",
	pipeline.OpRerank:      "/v1/rerank",
	pipeline.OpModels:      "/v1/models",
	pipeline.OpOther:       "/v1/files",
}

func exchange(op pipeline.Operation, body string) *pipeline.Exchange {
	ex := pipeline.Acquire(context.Background())
	ex.Op = op
	ex.Request.Header.SetMethod("POST")
	ex.Request.Header.SetRequestURI(paths[op])
	ex.Request.Header.SetContentType("application/json")
	ex.Request.Body = []byte(body)
	return ex
}

// An answer is what a client would have got.
type answer struct {
	status int
	header *fasthttp.ResponseHeader
	fault  pipeline.Fault
	body   string
	frames int
	err    error // of the call, or of the stream
}

// ask makes one call and takes all of the answer. Frames that were handed out before
// are checked to be whole events if the answer is a stream of them.
func ask(t testing.TB, p pipeline.Provider, ex *pipeline.Exchange) answer {
	t.Helper()
	before := pipeline.Live()
	a := answer{header: new(fasthttp.ResponseHeader)}
	if a.err = p.Call(ex.Context(), ex); a.err != nil {
		if ex.Response.Body != nil {
			t.Fatal("a failed call leaves a body")
		}
		for key, value := range ex.Response.Header.All() {
			if string(key) != "Content-Type" { // fasthttp has one by default
				t.Fatalf("a failed call leaves %s: %s", key, value)
			}
		}
		ex.Release()
		return a
	}
	a.status, a.fault = ex.Response.Header.StatusCode(), ex.Response.Fault
	ex.Response.Header.CopyTo(a.header)
	var body bytes.Buffer
	for {
		frame, err := ex.Response.Body.Next()
		if err != nil {
			if err != io.EOF {
				a.err = err
			}
			if _, again := ex.Response.Body.Next(); again != err {
				t.Fatalf("the stream ended with %v, and then with %v", err, again)
			}
			break
		}
		if len(frame) == 0 {
			t.Fatal("an empty frame")
		}
		body.Write(frame)
		a.frames++
	}
	ex.Release()
	a.body = body.String()
	if n := a.header.ContentLength(); a.err == nil && n >= 0 && n != len(a.body) && len(a.body) > 0 {
		t.Fatalf("content length %d, but the body has %d bytes", n, len(a.body))
	}
	if live := pipeline.Live(); live != before-1 {
		t.Fatalf("%d exchanges are live, there were %d", live, before-1)
	}
	return a
}

// problemOf is the error that the client would see of err.
func problemOf(t testing.TB, err error) *pipeline.Error {
	t.Helper()
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok {
		t.Fatalf("%T is not the client's to see: %v", err, err)
	}
	return e
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return n
}
