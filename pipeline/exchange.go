package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline/chat"
)

// An Operation is what a request asks for, as far as the path tells.
type Operation uint8

// The operations that stages may treat differently.
const (
	OpOther       Operation = iota // a path that the gateway does not know, passed through
	OpChat                         // /v1/chat/completions
	OpCompletions                  // /v1/completions
	OpEmbeddings                   // /v1/embeddings
	OpResponses                    // POST /v1/responses
	OpRerank                       // /v1/rerank
	OpModels                       // /v1/models and /v1/models/{id}
)

// String returns the name used in logs and metrics.
func (o Operation) String() string {
	return [...]string{"other", "chat", "completions", "embeddings", "responses", "rerank", "models"}[o]
}

// HasModel reports whether the request names a model in a JSON body.
func (o Operation) HasModel() bool { return o >= OpChat && o <= OpRerank }

// Answers reports whether what comes back is a text that a model has written, which
// can be made from documents.
func (o Operation) Answers() bool {
	return o == OpChat || o == OpCompletions || o == OpResponses
}

// A Request is what the client sent, as the stages may change it.
type Request struct {
	// Header is the client's, with the request line. Its path is canonical and
	// starts with /v1 for the OpenAI surface, also where the client left /v1
	// out. Hop-by-hop fields and the client's credentials are still in it:
	// providers send on what they choose, never the whole.
	Header fasthttp.RequestHeader
	// Model is the model that the client's path named, as Azure's do; empty
	// where the body is to name it. A JSON body has been changed to name it too.
	Model string
	// Body is the whole body. Stages replace it and never write into it;
	// branches share it.
	Body []byte
	// Upload is a body too large, or of a kind not meant, to be held in
	// memory; nil when Body holds it. It can be read once, so a request that
	// has one is sent to one upstream, once.
	Upload io.Reader
	// UploadSize is the declared length of Upload, or -1.
	UploadSize int64
	// Wait bounds the call that a provider makes of the request. It is not
	// the client's to set.
	Wait Wait
}

// Wait is how long a call to an upstream may take. Zero leaves a bound to the
// transport's own setting.
type Wait struct {
	FirstByte time.Duration // from the start of the call to the response header
	Idle      time.Duration // between two pieces of the body
	Total     time.Duration // for the call as a whole, its body included
}

// A Response is the answer being made. Nothing has answered while its Body is
// nil.
type Response struct {
	// Header carries status and fields. A content length of 0 or more tells
	// the length of Body; a stage that changes Body's length sets it anew, and
	// -1 stands for a length not known.
	Header fasthttp.ResponseHeader
	Body   Stream
	// Fault classifies an answer that is an error, as by its sender; NoFault
	// for any other.
	Fault Fault

	whole whole
}

// SetBody makes b the whole body, without allocating. b is not copied and must
// not change any more.
func (r *Response) SetBody(b []byte) {
	r.CloseBody()
	r.whole = whole{b: b}
	r.Body = &r.whole
	r.Header.SetContentLength(len(b))
}

// Whole returns the body, if SetBody set it and no stage has wrapped it.
func (r *Response) Whole() (b []byte, ok bool) {
	if r.Body != Stream(&r.whole) {
		return nil, false
	}
	return r.whole.b, true
}

// RetryAfter is how long the answer asks its reader to wait before the next request:
// the field of that name holds seconds or a date. It is 0 if the answer does not say,
// and a day at most.
func (r *Response) RetryAfter() time.Duration {
	v := r.Header.Peek(fasthttp.HeaderRetryAfter)
	if len(v) == 0 {
		return 0
	}
	if n, err := strconv.ParseFloat(string(v), 64); err == nil && n >= 0 && n < 1e10 { // more makes no sense
		return time.Duration(min(n, day.Seconds()) * float64(time.Second))
	}
	if t, err := fasthttp.ParseHTTPDate(v); err == nil {
		return max(0, min(time.Until(t), day))
	}
	return 0
}

const day = 24 * time.Hour

// CloseBody closes the body, if there is one, and forgets it.
func (r *Response) CloseBody() {
	if b := r.Body; b != nil {
		r.Body = nil
		_ = b.Close() // an answer nobody reads any more: nobody to tell
	}
}

// Reset closes the body and clears everything else.
func (r *Response) Reset() {
	r.CloseBody()
	r.Header.Reset()
	r.Fault = NoFault
	r.whole = whole{}
}

// An Exchange is one client request and the answer being made for it. The edge
// acquires it, and whoever has it last releases it; both it and what it holds
// are pooled, so nothing of it may be kept.
type Exchange struct {
	Request  Request
	Response Response
	Passages []Passage // found so far; ordered by whoever ranked last
	// Retrieval is set by the first stage of retrieval; nil where there is none.
	Retrieval *Retrieval

	Op     Operation
	Route  string    // name of the matched route
	Tenant string    // whose key the client showed; empty when none is asked for
	Policy *Policy   // what that tenant may do; nil for everything
	Model  *Model    // what the client asked for; nil for operations without a model
	Models *Models   // every model of the file, for an Endpoint to look up; else nil
	Began  time.Time // when the request had arrived

	// Targets can answer, the preferred first. A stage that wants another
	// order replaces the slice and never writes into it.
	Targets []*Target
	// Target is the one that is asked, or has answered.
	Target *Target

	scope    Scope
	attempts atomic.Int32
	adopted  adopted
	parent   *Exchange
	refs     atomic.Int32 // its owner, and every branch not yet recycled

	view   chat.Request
	viewOf []byte // the body that view describes
	viewed bool
	skip   []byte // value of SkipHeader
	owned  *Buffer
}

var exchanges = sync.Pool{New: func() any { return new(Exchange) }}

var live atomic.Int64

// Live reports how many exchanges are in use. Tests assert that it returns to
// where it was.
func Live() int64 { return live.Load() }

// Acquire returns an empty exchange whose context ends when parent does.
func Acquire(parent context.Context) *Exchange {
	ex := exchanges.Get().(*Exchange)
	live.Add(1)
	ex.refs.Store(1)
	ex.scope.Begin(parent)
	return ex
}

// Context is the life of the exchange. It ends when the client has left, the
// server stops waiting, or the branch has lost.
func (ex *Exchange) Context() context.Context { return &ex.scope }

// Scope is Context with its own type, for those who cancel it or attach to it.
func (ex *Exchange) Scope() *Scope { return &ex.scope }

// OwnBody makes the bytes of b the request body and gives b to the exchange,
// which puts it back when the last branch is done.
func (ex *Exchange) OwnBody(b *Buffer) {
	ex.owned = b
	ex.Request.Body = b.B
}

// Chat is the request body as a JSON object, scanned once for each body. The
// error is an *Error that names the rule and the place.
func (ex *Exchange) Chat() (*chat.Request, error) {
	b := ex.Request.Body
	if ex.viewed && len(b) == len(ex.viewOf) && (len(b) == 0 || &b[0] == &ex.viewOf[0]) {
		return &ex.view, nil
	}
	ex.viewed = false
	if err := ex.view.Scan(b); err != nil {
		e := &Error{Status: 400, Code: "invalid_json", Fault: CallerFault, Err: err}
		if at, ok := errors.AsType[*chat.Error](err); ok {
			e.Param = at.Param
		}
		return nil, e
	}
	ex.viewed, ex.viewOf = true, b
	return &ex.view, nil
}

// SkipHeader is the request header with which a client leaves out stages, by
// their names in the file: "X-Headrace-Skip: cache, race".
const SkipHeader = "X-Headrace-Skip"

// SetSkip sets the value of SkipHeader. It must stay unchanged for the life of
// the exchange.
func (ex *Exchange) SetSkip(names []byte) { ex.skip = names }

// Skips reports whether the client asked to leave out the stage called name.
func (ex *Exchange) Skips(name string) bool {
	if len(ex.skip) == 0 {
		return false
	}
	return listed(ex.skip, name)
}

// Events reports whether the body of the answer is server-sent events that a stage can
// read: not what is compressed, and not where the type says what a body would be, as to
// HEAD, or with a status that has none.
func (ex *Exchange) Events() bool {
	h := &ex.Response.Header
	const want = "text/event-stream"
	t := h.ContentType()
	if len(t) < len(want) || !strings.EqualFold(string(t[:len(want)]), want) || len(t) > len(want) && t[len(want)] != ';' && t[len(want)] != ' ' {
		return false
	}
	if e := h.ContentEncoding(); len(e) > 0 && !strings.EqualFold(string(e), "identity") {
		return false
	}
	status := h.StatusCode()
	return status != fasthttp.StatusNoContent && status != fasthttp.StatusNotModified && !ex.Request.Header.IsHead()
}

// Fork returns a branch: the same request with a header of its own over the
// same body bytes, a response of its own, and a context that ends with ctx.
// The branch keeps what it shares with ex alive until it is released.
func (ex *Exchange) Fork(ctx context.Context) *Exchange {
	ex.refs.Add(1)
	b := Acquire(ctx)
	b.parent = ex
	ex.Request.Header.CopyTo(&b.Request.Header)
	b.Request.Model, b.Request.Body = ex.Request.Model, ex.Request.Body
	b.Request.Upload, b.Request.UploadSize = ex.Request.Upload, ex.Request.UploadSize
	b.Request.Wait = ex.Request.Wait
	b.Passages = append(b.Passages[:0], ex.Passages...)
	if ex.Retrieval != nil {
		r := *ex.Retrieval
		b.Retrieval = &r
	}
	b.Op, b.Route, b.Tenant, b.Policy = ex.Op, ex.Route, ex.Tenant, ex.Policy
	b.Model, b.Models, b.Targets, b.Target = ex.Model, ex.Models, ex.Targets, ex.Target
	b.Began, b.skip = ex.Began, ex.skip
	return b
}

// Adopt makes the branch's answer the answer of ex, and gives the branch to
// it: closing the response, or adopting another, releases the branch.
func (ex *Exchange) Adopt(branch *Exchange) {
	ex.Response.CloseBody()
	branch.Response.Header.CopyTo(&ex.Response.Header)
	ex.Response.Fault = branch.Response.Fault
	ex.Target = branch.Target
	if branch.Response.Body == nil {
		branch.Release()
		return
	}
	branch.adopted = adopted{Stream: branch.Response.Body, branch: branch}
	ex.Response.Body = &branch.adopted
}

// adopted is a branch's answer as its parent's: closing it releases the branch.
type adopted struct {
	Stream
	branch *Exchange
}

func (a *adopted) Close() error {
	a.branch.Release()
	return nil
}

// CountAttempt notes one call to a provider, on the exchange that the client
// made, whichever branch made the call.
func (ex *Exchange) CountAttempt() {
	for ex.parent != nil {
		ex = ex.parent
	}
	ex.attempts.Add(1)
}

// Attempts is how many calls to providers the client's request has cost so far.
func (ex *Exchange) Attempts() int { return int(ex.attempts.Load()) }

// Release ends its owner's use: it closes the response, and recycles the
// exchange once no branch forked from it is still running. A stage owns what it has
// forked; the exchange that it was handed belongs to whoever called it.
func (ex *Exchange) Release() {
	defer ex.unref() // also if a stage's stream panics when it is closed
	ex.Response.CloseBody()
}

// unref recycles the exchange with its last reference. Closing the response is
// not left to it: the response may hold a branch, which counts as a reference.
func (ex *Exchange) unref() {
	for ex != nil && ex.refs.Add(-1) == 0 {
		parent := ex.parent
		ex.recycle()
		ex = parent
	}
}

// recycle clears what could keep memory alive or reach the next request.
func (ex *Exchange) recycle() {
	ex.scope.End()
	if ex.owned != nil {
		ex.owned.Free()
	}
	ex.Request.Header.Reset()
	ex.Request.Body, ex.Request.Upload, ex.Request.UploadSize = nil, nil, 0
	ex.Request.Model = ""
	ex.Request.Wait = Wait{}
	ex.Response.Reset()
	clear(ex.Passages)
	ex.Passages, ex.Retrieval = ex.Passages[:0], nil
	ex.Op, ex.Route, ex.Tenant, ex.Policy = OpOther, "", "", nil
	ex.Model, ex.Models, ex.Targets, ex.Target = nil, nil, nil, nil
	ex.Began = time.Time{}
	ex.attempts.Store(0)
	ex.adopted = adopted{}
	ex.parent = nil
	ex.viewed, ex.viewOf, ex.skip, ex.owned = false, nil, nil, nil
	live.Add(-1)
	exchanges.Put(ex)
}

// listed reports whether the comma-separated list holds name, in any case.
func listed(list []byte, name string) bool {
	for len(list) > 0 {
		item, rest, _ := bytes.Cut(list, comma)
		if strings.EqualFold(string(bytes.TrimSpace(item)), name) {
			return true
		}
		list = rest
	}
	return false
}

var comma = []byte{','}
