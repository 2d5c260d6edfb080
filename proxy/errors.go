package proxy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// asError is err as what the client is told of it. What a stage did not mean
// for the client is not shown: its text may quote addresses or an upstream.
func asError(err error) *pipeline.Error {
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		return e
	}
	if v := violated(err); v != nil {
		return &pipeline.Error{Status: v.status, Code: v.code, Fault: pipeline.CallerFault, Err: v}
	}
	switch {
	case errors.Is(err, pipeline.ErrShutdown):
		return &pipeline.Error{Status: 503, Code: "shutting_down", RetryAfter: time.Second, Err: errShuttingDown}
	case errors.Is(err, context.Canceled):
		return &pipeline.Error{Status: 499, Code: "client_closed_request", Fault: pipeline.GoneFault, Err: pipeline.ErrClientGone}
	case errors.Is(err, context.DeadlineExceeded):
		return &pipeline.Error{Status: 504, Code: "upstream_timeout", Fault: pipeline.TimeoutFault, Err: errTooSlow}
	}
	return &pipeline.Error{Status: 502, Code: "upstream_error", Fault: pipeline.UpstreamFault, Err: errUpstream}
}

var (
	errShuttingDown = errors.New("the server is shutting down; send the request again")
	errTooSlow      = errors.New("the upstream did not answer in time")
	errUpstream     = errors.New("the upstream failed")
	errPanicked     = errors.New("the gateway failed while it handled this request; its log has the details")
	errSilent       = errors.New("what was asked for this request returned neither an answer nor an error")
	errNoAnswer     = errors.New("no stage of this route answers; its chain needs call or race at its end")
)

// explained is asError. The log says what the client is not told: an error that is nothing
// but a text would be seen by nobody.
func (j *job) explained(err error) *pipeline.Error {
	e := asError(err)
	if e.Err == errUpstream {
		route := ""
		if j.route != nil {
			route = j.route.name
		}
		j.s.unsaid.Warn("a request failed with an error that is not for clients", "error", err, "request_id", string(j.id), "route", route)
	}
	return e
}

// appendError appends e as OpenAI's error object.
func appendError(dst []byte, e *pipeline.Error) []byte {
	if e.Body != nil {
		return append(dst, e.Body...)
	}
	message := e.Code
	switch {
	case e.Err != nil:
		message = e.Err.Error()
	case message == "":
		message = fasthttp.StatusMessage(statusOf(e))
	}
	kind := e.Type
	if kind == "" {
		kind = pipeline.TypeOfStatus(statusOf(e))
	}
	dst = append(dst, `{"error":{"message":`...)
	dst = chat.AppendString(dst, message)
	dst = append(dst, `,"type":`...)
	dst = chat.AppendString(dst, kind)
	dst = append(dst, `,"param":`...)
	dst = appendOrNull(dst, e.Param)
	dst = append(dst, `,"code":`...)
	dst = appendOrNull(dst, e.Code)
	return append(dst, `}}`...)
}

func appendOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return chat.AppendString(dst, s)
}

// statusOf is the status that e is sent with: its own, if that is one of an error.
func statusOf(e *pipeline.Error) int {
	if e.Status < 400 || e.Status > 599 {
		return 502
	}
	return e.Status
}

// setError makes e the response of ctx.
func setError(ctx *fasthttp.RequestCtx, e *pipeline.Error) {
	status := statusOf(e)
	ctx.Response.ResetBody()
	h := &ctx.Response.Header
	h.SetStatusCode(status)
	h.SetContentType("application/json")
	if e.RetryAfter > 0 {
		seconds := int64((e.RetryAfter + time.Second - 1) / time.Second)
		h.Set("Retry-After", strconv.FormatInt(seconds, 10))
		h.Set("Retry-After-Ms", strconv.FormatInt(max(1, e.RetryAfter.Milliseconds()), 10))
	}
	if status == 401 {
		h.Set("WWW-Authenticate", `Bearer realm="headrace"`)
	}
	ctx.Response.SetBodyRaw(appendError(nil, e))
}

// refuse is an error of the caller.
func refuse(status int, code, param string, why error) *pipeline.Error {
	return &pipeline.Error{Status: status, Code: code, Param: param, Fault: pipeline.CallerFault, Err: why}
}

// refused answers what never became a request.
func (s *Server) refused(ctx *fasthttp.RequestCtx, err error) {
	e := refusal(ctx, err)
	ctx.Response.Reset()
	setError(ctx, e)
	id := requestID(nil, nil)
	ctx.Response.Header.SetBytesV("X-Request-Id", id)
	if c, ok := ctx.Conn().(*conn); ok {
		c.owed.Store(true)
		ctx.Response.SkipBody = c.bodiless()
	}
	s.note(&job{id: id, status: ctx.Response.StatusCode(), sent: int64(len(ctx.Response.Body())), code: e.Code})
}

// note counts and logs what was answered without being served. Its job has a ctx only
// if the head was read.
func (s *Server) note(j *job) {
	j.began = time.Now()
	s.metrics.requests.WithLabelValues("none", fmt.Sprintf("%dxx", j.status/100)).Inc()
	s.access.write(j, 0)
}

var (
	errSlowHead  = errors.New("the request head did not arrive in time")
	errLargeHead = errors.New("the request head is larger than this server accepts")
	errNotHTTP   = errors.New("the request is not well-formed HTTP/1.1")
)

// refusal classifies an error of fasthttp. The text of those is not shown: it
// may quote the request.
func refusal(ctx *fasthttp.RequestCtx, err error) *pipeline.Error {
	if c, ok := ctx.Conn().(*conn); ok && c.bad != nil {
		err = c.bad
	}
	switch {
	case violated(err) != nil:
		return asError(err)
	case isTimeout(err):
		return refuse(408, "request_timeout", "", errSlowHead)
	case errors.As(err, new(*fasthttp.ErrSmallBuffer)):
		return refuse(431, "request_header_too_large", "", errLargeHead)
	}
	return refuse(400, "malformed_request", "", errNotHTTP)
}

// expect judges a request that asks before it sends its body.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	id := requestID(nil, ctx.Request.Header.Peek("X-Request-Id"))
	ctx.Response.Header.SetBytesV("X-Request-Id", id)
	e := s.unexpected(ctx)
	if e == nil {
		return fasthttp.StatusContinue
	}
	setError(ctx, e)
	status := ctx.Response.StatusCode()
	s.note(&job{ctx: ctx, id: id, status: status, sent: int64(len(ctx.Response.Body())), code: e.Code})
	return status
}

// unexpected is why the body of a request is not wanted; nil if it is.
func (s *Server) unexpected(ctx *fasthttp.RequestCtx) *pipeline.Error {
	limits := &s.site.Load().snap.Server.Limits
	t, err := canonical(ctx.Request.Header.RequestURI())
	if err != nil {
		return asError(err)
	}
	t.complete()
	most := int64(limits.MaxUpload)
	if t.op.HasModel() {
		most = int64(limits.MaxBody)
	}
	if c, ok := ctx.Conn().(*conn); ok && c.size() > most {
		c.owed.Store(true)
		return refuse(413, "request_too_large", "", fmt.Errorf("the request body is larger than %d bytes", most))
	}
	return nil
}
