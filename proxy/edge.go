package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
)

// A job is one request being served: the exchange, the connection it came on,
// and what will be said of it in log and metrics. It is pooled, and doubles as
// the body of a streamed answer.
type job struct {
	s     *Server
	site  *site
	ctx   *fasthttp.RequestCtx
	ex    *pipeline.Exchange
	conn  *conn
	route *route
	up    upload

	id        []byte // request id
	began     time.Time
	firstByte time.Duration // from began; 0 if no byte was sent
	first     []byte        // frame read ahead of the header
	status    int
	sent      int64
	code      string // of the error, if one was sent
	err       error  // that ended the answer early
	fixed     bool   // the length of the body has been announced
	length    int64  // that was announced
	events    bool   // the body is a stream of server-sent events
}

var jobs = sync.Pool{New: func() any { return new(job) }}

// handle serves one request. It is the fasthttp handler of the data listener.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	if s.preflight(ctx) || s.health(ctx) {
		ctx.Conn().(*conn).unwanted(ctx) //nolint:forcetypeassert // the listener makes no others
		return
	}
	j := jobs.Get().(*job)
	j.s, j.ctx, j.began = s, ctx, time.Now()
	j.site = s.acquire()
	j.conn = ctx.Conn().(*conn) //nolint:forcetypeassert // the listener makes no others
	j.id = requestID(j.id[:0], ctx.Request.Header.Peek("X-Request-Id"))
	s.metrics.inFlight.Inc()
	if err := j.run(); err != nil {
		j.fail(err)
		j.finish()
	} else if !j.respond() {
		j.finish()
	}
}

// run routes the request, makes its exchange, and has the chain answer it.
func (j *job) run() error {
	if s := j.s; s.running.Add(1) > s.maxRunning.Load() {
		return &pipeline.Error{Status: 503, Code: "overloaded", Fault: pipeline.OverloadFault, RetryAfter: time.Second, Err: errBusy}
	}
	if err := j.site.cors.admit(&j.ctx.Request.Header); err != nil {
		return err
	}
	path, err := canonical(j.ctx.Request.Header.RequestURI())
	if err != nil {
		return err
	}
	j.route = j.site.find(j.ctx, &path)
	j.exchange(path)
	j.conn.arm(j.ex.Scope(), j.began)
	if err := j.chain(); err != nil {
		return err
	}
	if resp := &j.ex.Response; resp.Body == nil {
		switch status := resp.Header.StatusCode(); {
		case j.ex.Target == nil:
			return &pipeline.Error{Status: 500, Code: "no_answer", Fault: pipeline.GatewayFault, Err: errNoAnswer}
		case !j.ctx.IsHead() && status != fasthttp.StatusNoContent && status != fasthttp.StatusNotModified:
			// It would look like an answer that is whole and empty.
			return &pipeline.Error{Status: 500, Code: "no_answer", Fault: pipeline.GatewayFault, Err: errSilent}
		}
	}
	return nil
}

var errBusy = errors.New("the server is handling as many requests as it may; try again")

// exchange moves the request out of fasthttp's memory, but for a body still on
// its way.
func (j *job) exchange(path target) {
	ex := pipeline.Acquire(nil)
	j.ex = ex
	h := &j.ctx.Request.Header
	ex.Began, ex.Op, ex.Route = j.began, path.operation(h.Method()), j.route.name
	h.CopyTo(&ex.Request.Header)
	if path.bare {
		ex.Request.Header.SetRequestURIBytes(append(append(ex.Request.Header.RequestURI()[:0], "/v1"...), path.unversioned()...))
	} else if path.absolute || path.moved {
		ex.Request.Model = path.model
		ex.Request.Header.SetRequestURIBytes(path.uri)
	}
	ex.Request.Header.SetBytesV("X-Request-Id", j.id)
	ex.SetSkip(ex.Request.Header.Peek(pipeline.SkipHeader))
	if ex.Request.UploadSize = j.conn.size(); ex.Request.UploadSize == 0 {
		return
	}
	j.up = upload{ctx: j.ctx, conn: j.conn, began: j.began, idle: j.site.bodyIdle, max: j.site.maxUpload, memory: j.s.memory}
	ex.Request.Upload = &j.up
}

// chain runs the stages. A stage that panics costs its own request only.
func (j *job) chain() (err error) {
	defer func() {
		if p := recover(); p != nil {
			j.s.panicked(p, j.id)
			err = errMistaken
		}
	}()
	err = j.route.chain.Handle(j.ex.Context(), j.ex)
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e == nil {
		return j.mistaken("a stage returned a nil *pipeline.Error as its error, which is not a nil error")
	}
	return err
}

// mistaken tells the log what a component did that its port forbids, and returns what
// the client is told.
func (j *job) mistaken(what string) error {
	j.s.log.Error(what, "request_id", string(j.id), "route", j.route.name)
	return errMistaken
}

var errMistaken = &pipeline.Error{Status: 500, Code: "internal_error", Fault: pipeline.GatewayFault, Err: errPanicked}

func (s *Server) panicked(p any, id []byte) {
	s.metrics.panics.Inc()
	s.log.Error("a stage panicked", "panic", fmt.Sprint(p), "request_id", string(id), "stack", string(debug.Stack()))
}

// fail makes err the answer.
func (j *job) fail(err error) {
	if j.ex != nil {
		j.closeBody()
		if cause := pipeline.Cause(j.ex.Context()); cause != nil && pipeline.FaultOfError(err) != pipeline.CallerFault {
			err = cause
		}
	}
	e := j.explained(err)
	j.ctx.Response.Reset()
	if j.ex != nil {
		copyKept(&j.ctx.Response.Header, &j.ex.Response.Header)
	}
	setError(j.ctx, e)
	// Below /v1 errors are OpenAI's, whatever answers there.
	if j.route != nil && j.route.refuse != nil && !bytes.HasPrefix(j.ctx.Request.Header.RequestURI(), []byte("/v1/")) {
		j.reword(e)
	}
	j.status, j.code, j.err = j.ctx.Response.StatusCode(), e.Code, err
	j.own(&j.ctx.Response.Header)
	j.sent = int64(len(j.ctx.Response.Body()))
	j.unread()
}

// reword has the route's endpoint say e in its own words.
func (j *job) reword(e *pipeline.Error) {
	defer j.recovered() // the usual words stay
	status, body := j.route.refuse.Refuse(e)
	if status >= 400 && status <= 599 {
		j.ctx.SetStatusCode(status)
	}
	j.ctx.Response.SetBodyRaw(body)
}

// closeBody closes the answer. A stream that panics then must not keep the job from
// giving back all that it holds.
func (j *job) closeBody() {
	defer j.recovered()
	j.ex.Response.CloseBody()
}

// recovered ends a panic of a component where nothing depends on it any more.
func (j *job) recovered() {
	if p := recover(); p != nil {
		j.s.panicked(p, j.id)
	}
}

// unread closes the connection behind an answer that did not wait for a body
// too large to skip.
func (j *job) unread() {
	switch {
	case j.up.whole.Load():
	case j.up.begun.Load(), j.conn.bad != nil:
		j.conn.end(j.ctx)
	default:
		j.conn.unwanted(j.ctx) // also where nothing was made of the request
	}
}

// respond hands the answer to fasthttp. It reports true if the answer is a
// stream, which will finish the job when it ends.
func (j *job) respond() (streaming bool) {
	resp := &j.ex.Response
	if status := resp.Header.StatusCode(); status < 200 || status > 599 {
		j.fail(j.mistaken("a stage answered with a status out of 200 to 599: " + strconv.Itoa(status)))
		return false
	}
	if b, ok := resp.Whole(); ok {
		j.header()
		j.typed(len(b))
		j.ctx.Response.SetBodyRaw(b)
		j.sent = int64(len(b))
		return false
	}
	if resp.Body == nil {
		j.header()
		j.noBody()
		return false
	}
	frame, err := j.next()
	if err != nil && err != io.EOF {
		j.fail(err)
		return false
	}
	length := resp.Header.ContentLength()
	if err == io.EOF {
		if length > 0 && !j.ctx.IsHead() {
			j.fail(asError(errShort))
			return false
		}
		j.header()
		j.noBody()
		return false
	}
	j.header()
	j.typed(len(frame))
	if length == len(frame) && length <= largeBody {
		// The rest is read before the answer goes out: what looks whole is.
		j.ctx.Response.SetBody(frame)
		if _, err := j.next(); err != io.EOF {
			j.fail(asError(errShort))
			return false
		}
		j.sent = int64(length)
		return false
	}
	return j.stream(frame, length)
}

var errShort = &pipeline.Error{Status: 502, Code: "upstream_cut", Fault: pipeline.UpstreamFault, Err: errors.New("the upstream's answer does not have the length it announced")}

// maxEmpty is how many empty frames in a row are borne with. A stream that has nothing
// to say waits; one that returns instead keeps a processor busy for nothing.
const maxEmpty = 100

// next pulls a frame, and turns a panic of a stage's stream into an error, and what else
// it does that pipeline.Stream forbids where the answer would look whole, or never end.
func (j *job) next() (frame []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			j.s.panicked(p, j.id)
			frame, err = nil, errMistaken
		}
	}()
	for range maxEmpty {
		frame, err = j.ex.Response.Body.Next()
		switch {
		case err == nil && len(frame) > 0:
			return frame, nil
		case err == io.EOF && len(frame) > 0:
			return nil, j.mistaken("a stage's stream returned a frame together with io.EOF, where it would be lost; return io.EOF with the next call")
		case err != nil:
			return nil, err
		}
	}
	return nil, j.mistaken("a stage's stream returned nothing but empty frames")
}

// noBody is an answer without one: to HEAD, or with a status that has none.
func (j *job) noBody() {
	if j.ctx.IsHead() {
		if n := j.ex.Response.Header.ContentLength(); n >= 0 {
			j.ctx.Response.SkipBody = true
			j.ctx.Response.Header.SetContentLength(n)
		}
	}
}

// header copies status and fields of the answer to the client's response.
func (j *job) header() {
	from, to := &j.ex.Response.Header, &j.ctx.Response.Header
	from.CopyTo(to)
	to.SetNoDefaultContentType(true)
	j.status = to.StatusCode()
	if j.status >= 400 {
		j.code = "upstream_status"
	}
	if j.events = isEventStream(to.ContentType()) && len(to.Peek("Content-Encoding")) == 0; j.events {
		to.Set("Cache-Control", "no-cache")
		to.Set("X-Accel-Buffering", "no")
	}
	j.own(to)
	j.unread()
}

// typed names a type for n bytes of a body that came without one, so that no browser
// guesses. What has no body keeps none: a cache would take it over from a 304.
func (j *job) typed(n int) {
	if h := &j.ctx.Response.Header; n > 0 && len(h.ContentType()) == 0 {
		h.SetContentType("application/octet-stream")
	}
}

// own sets the fields that are the gateway's.
func (j *job) own(h *fasthttp.ResponseHeader) {
	// Whoever runs the upstream asks for the id under which it has answered.
	if theirs := h.Peek("X-Request-Id"); len(theirs) > 0 && !bytes.Equal(theirs, j.id) {
		h.SetBytesV("X-Headrace-Upstream-Request-Id", theirs)
	}
	h.SetBytesV("X-Request-Id", j.id)
	j.site.cors.share(j.ctx, h)
	if j.ex == nil {
		return
	}
	if t := j.asked(); t != nil {
		h.Set("X-Headrace-Target", t.Name)
	}
	if n := j.ex.Attempts(); n > 1 {
		h.SetBytesV("X-Headrace-Attempts", fasthttp.AppendUint(nil, n))
	}
}

// asked is the target that has answered, or was asked last. Stages choose one before it
// is asked, and may refuse the request then.
func (j *job) asked() *pipeline.Target {
	if j.ex.Attempts() == 0 {
		return nil
	}
	return j.ex.Target
}

// copyKept keeps, for an error, what the stages had already said about it.
func copyKept(to, from *fasthttp.ResponseHeader) {
	for _, name := range [...]string{"X-Headrace-Cache", "Retry-After", "Allow", "Accept-Encoding"} {
		if v := from.Peek(name); len(v) > 0 {
			to.SetBytesV(name, v)
		}
	}
}

// finish accounts for the request and lets everything go.
func (j *job) finish() {
	s := j.s
	j.conn.disarm()
	s.account(j)
	if j.ex != nil {
		j.closeBody()
		j.ex.Release()
	}
	s.memory.give(j.up.held)
	s.running.Add(-1)
	s.metrics.inFlight.Dec()
	j.site.release()
	*j = job{id: j.id[:0]}
	jobs.Put(j)
}
