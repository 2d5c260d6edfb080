package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
)

// prepare is the stage between the stages that run before every route and the
// route's own: it reads the body where the route needs one, and finds the model
// and its targets. It stands behind authentication, so that strangers cost a
// header and no more.
type prepare struct {
	endpoint  bool // of a route that begins with a pipeline.Endpoint
	models    *pipeline.Models
	maxBody   int64
	maxUpload int64
}

func newPrepare(snap *config.Snapshot) *prepare {
	return &prepare{models: snap.Models, maxBody: int64(snap.Server.Limits.MaxBody), maxUpload: int64(snap.Server.Limits.MaxUpload)}
}

// Handle implements pipeline.Handler.
func (p *prepare) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	if p.endpoint {
		ex.Models = p.models
		if ex.Request.Upload != nil {
			if err := p.read(ex); err != nil {
				return err
			}
		}
		return next.Handle(ctx, ex)
	}
	if !ex.Op.HasModel() {
		if ex.Request.UploadSize > p.maxUpload {
			return tooLarge(p.maxUpload)
		}
		if any := p.models.Any(); any != nil {
			ex.Model, ex.Targets = any, any.Targets
		}
		return next.Handle(ctx, ex)
	}
	if err := p.read(ex); err != nil {
		return err
	}
	m, err := p.model(ex)
	if err != nil {
		return err
	}
	ex.Model, ex.Targets = m, m.Targets
	if m.Chain != nil {
		return m.Chain.Handle(ctx, ex)
	}
	return next.Handle(ctx, ex)
}

var (
	errNoModel    = errors.New(`the field "model" is missing; name one of the models that GET /v1/models lists`)
	errModelType  = errors.New(`the field "model" must be a non-empty string`)
	errStreamType = errors.New(`the field "stream" must be true, false or null`)
	// Some upstreams would call such an address, and show it their own key.
	errUpstreamAsked = errors.New("where a request goes is configured, and cannot be asked for")
	errNoBody        = errors.New("the request has no body; send a JSON object")
	errEncoding      = errors.New("a compressed request body is not supported; send it without Content-Encoding")
)

// model finds the model that the body names.
func (p *prepare) model(ex *pipeline.Exchange) (*pipeline.Model, error) {
	view, err := ex.Chat()
	if err != nil {
		return nil, err
	}
	if name := ex.Request.Model; name != "" && string(view.Model()) != name {
		ex.Request.Body = view.AppendEdit(nil, chat.Edit{Key: "model", Value: chat.AppendString(nil, name)})
		if view, err = ex.Chat(); err != nil {
			return nil, err
		}
	}
	raw, named := view.Member("model")
	named = named && string(raw) != "null"
	name := view.Model()
	if named && len(name) == 0 {
		return nil, refuse(400, "invalid_type", "model", errModelType)
	}
	if raw, ok := view.Member("stream"); ok && string(raw) != "true" && string(raw) != "false" && string(raw) != "null" {
		return nil, refuse(400, "invalid_type", "stream", errStreamType)
	}
	for _, key := range [...]string{"api_base", "base_url"} {
		if _, ok := view.Member(key); ok {
			return nil, refuse(400, "forbidden_field", key, errUpstreamAsked)
		}
	}
	if !named {
		// A server may have one reranker only, and a stored prompt names its model.
		if any := p.models.Any(); any != nil && (ex.Op == pipeline.OpRerank || ex.Op == pipeline.OpResponses) {
			return any, nil
		}
		return nil, refuse(400, "missing_field", "model", errNoModel)
	}
	m := p.models.Find(name)
	if m == nil {
		return nil, noModel(name)
	}
	return m, nil
}

func noModel(name []byte) error {
	const most = 200
	return &pipeline.Error{
		Status: 404, Code: "model_not_found", Param: "model", Fault: pipeline.CallerFault,
		Err: fmt.Errorf("the model %q does not exist here; GET /v1/models lists those that do", name[:min(len(name), most)]),
	}
}

// read takes the whole body into memory, as it comes: what was declared
// allocates nothing.
func (p *prepare) read(ex *pipeline.Exchange) error {
	up := ex.Request.Upload
	if up == nil {
		return refuse(400, "missing_body", "", errNoBody)
	}
	if enc := ex.Request.Header.Peek("Content-Encoding"); len(enc) > 0 && !equalFold(enc, "identity") {
		ex.Response.Header.Set("Accept-Encoding", "identity")
		return refuse(415, "unsupported_content_encoding", "", errEncoding)
	}
	size := ex.Request.UploadSize
	if size > p.maxBody {
		return tooLarge(p.maxBody)
	}
	b := pipeline.NewBuffer()
	if err := p.fill(b, up, size); err != nil {
		b.Free()
		return err
	}
	ex.Request.Upload, ex.Request.UploadSize = nil, 0
	ex.OwnBody(b)
	return nil
}

// fill reads up into b, which grows with what has arrived.
func (p *prepare) fill(b *pipeline.Buffer, up io.Reader, size int64) error {
	holder, _ := up.(interface{ hold(int64) bool })
	for {
		if len(b.B) == cap(b.B) {
			grow := max(4<<10, 2*cap(b.B))
			if size >= 0 {
				// One byte more lets the end be seen without growing again.
				grow = min(grow, int(size)+1)
			}
			grow = max(grow, cap(b.B)+1)
			if grow > largeBody && holder != nil && !holder.hold(int64(grow)) {
				return &pipeline.Error{Status: 503, Code: "overloaded", Fault: pipeline.OverloadFault, RetryAfter: time.Second, Err: errMemory}
			}
			b.B = append(make([]byte, 0, grow), b.B...)
		}
		n, err := up.Read(b.B[len(b.B):cap(b.B)])
		b.B = b.B[:len(b.B)+n]
		if int64(len(b.B)) > p.maxBody {
			return tooLarge(p.maxBody)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// largeBody is the size up to which bodies are not counted against the memory
// budget: less than what a connection costs anyway.
const largeBody = 64 << 10

var errMemory = errors.New("too many large request bodies are being received; try again")

func tooLarge(most int64) error {
	return refuse(413, "request_too_large", "", fmt.Errorf("the request body is larger than %d bytes", most))
}

// A budget bounds the memory that the bodies of all requests take.
type budget struct{ left atomic.Int64 }

func newBudget(size int64) *budget {
	b := new(budget)
	b.left.Store(size)
	return b
}

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) {
	if n != 0 {
		b.left.Add(n)
	}
}
