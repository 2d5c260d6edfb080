package cache

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/sse"
)

// record sees to it that the answer is kept once it is whole, if it is worth
// keeping.
func (h *handler) record(ex *pipeline.Exchange, key pipeline.Key, ttl time.Duration) {
	res := &ex.Response
	kind := kindOf(&res.Header)
	if ttl <= 0 || res.Body == nil || res.Header.StatusCode() != fasthttp.StatusOK || res.Fault != pipeline.NoFault ||
		kind == opaque || res.Header.ContentLength() > h.max || degraded(ex) {
		h.counts.unfit.Inc()
		return
	}
	r := recorders.Get().(*recorder)
	r.h, r.key, r.ttl, r.kind = h, key, ttl, kind
	r.texts, r.documents = 0, 0
	switch ex.Op {
	case pipeline.OpEmbeddings:
		r.texts, r.packed = texts(ex.Request.Body)
	case pipeline.OpRerank:
		r.documents, r.best = documents(ex.Request.Body)
	}
	r.buf = pipeline.NewBuffer()
	r.buf.B = appendEntry(r.buf.B, time.Now(), &res.Header)
	r.body = len(r.buf.B)
	r.whole = res.Header.ContentLength()
	if b, ok := res.Whole(); ok {
		// Whole already: keep it now, so that it can leave as it is.
		r.whole = len(b)
		r.add(b)
		r.keep()
		r.free()
		return
	}
	r.Stream = res.Body
	res.Body = r
}

// lifetime is how long the answer may be kept: the client's wish, within limits.
func (h *handler) lifetime(c control) time.Duration {
	if c.ttl < 0 {
		return h.ttl
	}
	return min(c.ttl, h.maxTTL)
}

// recorder copies an answer as it streams past and keeps it once it is whole.
type recorder struct {
	pipeline.Stream
	h    *handler
	key  pipeline.Key
	ttl  time.Duration
	kind kind
	buf  *pipeline.Buffer // the entry so far; nil once it is kept or given up
	body int              // where in the entry the body begins
	join []byte           // for data of several lines

	texts     int  // how many vectors there are to be; 0 for any other answer
	packed    bool // they may be strings
	documents int  // how many documents are ranked; 0 for any other answer
	best      int  // how many of them there are to be

	whole int    // how long the body is to be; below zero if that is not known
	entry []byte // the entry, in memory of its own, if the body came in one piece
}

var recorders = sync.Pool{New: func() any { return new(recorder) }}

// Next implements pipeline.Stream.
func (r *recorder) Next() ([]byte, error) {
	frame, err := r.Stream.Next()
	switch err {
	case nil:
		r.add(frame)
	case io.EOF:
		// Now rather than in Close: whoever has seen the end of the answer
		// can ask again and get it.
		r.keep()
	}
	return frame, err
}

// Close implements pipeline.Stream.
func (r *recorder) Close() error {
	err := r.Stream.Close()
	r.free()
	return err
}

// add copies a frame, or gives up on an answer grown too large.
func (r *recorder) add(frame []byte) {
	switch {
	case r.buf == nil:
	case len(r.buf.B)-r.body+len(frame) > r.h.max, r.entry != nil: // or more than was announced
		r.h.counts.unfit.Inc()
		r.drop()
	case len(frame) == r.whole && len(r.buf.B) == r.body:
		// All of it at once: the one copy is the one that is kept.
		r.entry = append(make([]byte, 0, r.body+len(frame)), r.buf.B...)
		r.entry = append(r.entry, frame...)
	default:
		r.buf.B = append(r.buf.B, frame...)
	}
}

// keep puts the entry into the store, if the body is a good answer.
func (r *recorder) keep() {
	if r.buf == nil {
		return
	}
	defer r.drop()
	entry := r.entry
	if entry == nil {
		entry = r.buf.B
	}
	if !r.good(entry[r.body:]) {
		r.h.counts.unfit.Inc()
		return
	}
	if r.entry == nil {
		entry = bytes.Clone(entry)
	}
	// The client's context has no say: the answer is there, whoever waits.
	if err := r.h.store.Set(context.Background(), r.key, entry, r.ttl); err != nil {
		r.h.counts.failed.Inc()
		r.h.log.Warn("write to the cache", "error", err)
		return
	}
	r.h.counts.stored.Inc()
}

func (r *recorder) drop() {
	r.entry = nil
	if r.buf != nil {
		r.buf.Free()
		r.buf = nil
	}
}

func (r *recorder) free() {
	r.drop()
	r.Stream, r.h = nil, nil
	recorders.Put(r)
}

// kind is what the body of an answer consists of.
type kind uint8

const (
	opaque kind = iota // nothing we could vouch for
	object             // one JSON object
	events             // server-sent events
)

func kindOf(h *fasthttp.ResponseHeader) kind {
	if e := h.ContentEncoding(); len(e) > 0 && string(e) != "identity" {
		return opaque
	}
	mime, _, _ := bytes.Cut(h.ContentType(), []byte{';'})
	switch mime = bytes.TrimSpace(mime); {
	case bytes.EqualFold(mime, []byte("application/json")):
		return object
	case bytes.EqualFold(mime, []byte("text/event-stream")):
		return events
	}
	return opaque
}

// degraded reports whether the answer was made without all it should have
// been made from, so that the next may be better.
func degraded(ex *pipeline.Exchange) bool {
	return ex.Retrieval != nil && len(ex.Retrieval.Degraded) > 0 ||
		string(ex.Response.Header.Peek("X-Rag-Status")) == "degraded"
}

// good reports whether the body is an answer, and not an error dressed as one.
func (r *recorder) good(body []byte) bool {
	if r.kind == object {
		return fine(body) && (r.texts == 0 || r.vectors(body)) && (r.documents == 0 || r.scores(body))
	}
	ended := false
	for len(body) > 0 {
		var event []byte
		if event, body = sse.Cut(body); len(event) == 0 {
			return false // ends within an event
		}
		data, ok := sse.Data(r.join[:0], event)
		if !ok {
			continue
		}
		if ended || string(sse.Name(event)) == "error" {
			return false
		}
		if ended = bytes.Equal(data, sse.Done); !ended && !fine(data) {
			return false
		}
	}
	return ended
}

// vectors reports whether body has a vector for each text. Another may be what an upstream
// says for a moment only.
func (r *recorder) vectors(body []byte) bool {
	_, _, err := ask.Vectors(body, r.texts, r.packed)
	return err == nil
}

// scores reports whether body has a score for each document that is to be in it.
func (r *recorder) scores(body []byte) bool {
	_, err := ask.Scores(body, r.documents, r.best)
	return err == nil
}

// documents is how many a request has ranked, and how many of them it asks for.
func documents(request []byte) (n, best int) {
	for range chat.Array(chat.Get(request, "documents")) {
		n++
	}
	best = n
	if top, ok := chat.Int(chat.Get(request, "top_n")); ok && top > 0 {
		best = int(min(top, int64(n)))
	}
	return n, best
}

// texts is how many vectors a request asks for, and whether they may be packed. An array of
// numbers is one text, in tokens.
func texts(request []byte) (n int, packed bool) {
	for e := range chat.Array(chat.Get(request, "input")) {
		if e[0] != '"' && e[0] != '[' {
			n = 1
			break
		}
		n++
	}
	encoding, _ := chat.Text(chat.Get(request, "encoding_format"))
	return max(n, 1), encoding == "base64"
}

// fine reports whether b is a JSON object without an error in it.
func fine(b []byte) bool {
	if b = bytes.TrimLeft(b, " \t\r\n"); len(b) == 0 || b[0] != '{' || chat.Valid(b) != nil {
		return false
	}
	_, failed := chat.ErrorObject(b)
	return !failed
}
