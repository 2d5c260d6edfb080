package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// wideCall is one exchange over net/http, and the stream of its answer's body.
type wideCall struct {
	outer   context.Context // the caller's
	ctx     context.Context // ends with outer, and when a limit is passed
	cancel  context.CancelCauseFunc
	wait    pipeline.Wait
	started time.Time
	total   time.Time // when the call is to be over; zero for never
	source  *source   // the request's body; nil if there is none
	conn    net.Conn
	body    io.ReadCloser
	open    bool // the body ends with the connection
	buffer  *pipeline.Buffer

	mu       sync.Mutex
	timer    *time.Timer // guarded by mu
	answered bool        // guarded by mu
}

// late is a limit that was passed, as the cause of a context's end.
type late string

func (l late) Error() string { return string(l) }

// limit ends the call after d, or at its total limit, saying why. It takes the
// place of the limit set before.
func (k *wideCall) limit(d time.Duration, why late) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.set(d, why)
}

// set is limit while k.mu is held.
func (k *wideCall) set(d time.Duration, why late) {
	if !k.total.IsZero() && time.Until(k.total) < d {
		d, why = time.Until(k.total), "the call took longer than it may"
	}
	if k.timer != nil {
		k.timer.Stop()
	}
	k.timer = time.AfterFunc(d, func() { k.cancel(why) })
}

// sent begins the wait for the header of the answer, unless that is here. The
// body of the request calls it when it has been read to its end.
func (k *wideCall) sent() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.answered {
		k.set(k.wait.FirstByte, noAnswer)
	}
}

// unlimit takes the limit away, until another is set.
func (k *wideCall) unlimit() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answered = true
	if k.timer != nil {
		k.timer.Stop()
	}
}

// send makes the body of req that of r, and starts the wait for the header.
func (k *wideCall) send(ctx context.Context, r *http.Request, req *pipeline.Request) {
	n := int64(len(req.Body))
	if req.Upload != nil {
		n = req.UploadSize
	}
	if n == 0 {
		r.Body = http.NoBody
	} else {
		k.source = &source{body: req.Body, upload: req.Upload, left: n, size: n}
		r.Body, r.ContentLength = k.source, n
	}
	if req.Upload == nil || n == 0 {
		k.limit(k.wait.FirstByte, noAnswer)
		return
	}
	k.source.sent = k.sent
	// net/http waits for a Read before it returns from a call that has ended.
	context.AfterFunc(ctx, func() { _ = k.source.Close() })
	if k.wait.Total > 0 {
		k.limit(k.wait.Total, noAnswer)
	}
}

// rewind makes the body of r, which was read in vain, the same once more.
func (k *wideCall) rewind(r *http.Request, req *pipeline.Request) {
	k.source.stop()
	if n := int64(len(req.Body)); n > 0 {
		k.source = &source{body: req.Body, left: n, size: n}
		r.Body = k.source
	}
}

const noAnswer late = "no answer from the upstream in time"

// abort frees everything after a failure and returns what the caller is told.
func (k *wideCall) abort(ctx context.Context, err error) error {
	err = k.fault(ctx, err, "before it answered")
	if k.body != nil {
		_ = k.body.Close() // the answer was of no use
	}
	k.end()
	return err
}

// end stops everything that runs for the call.
func (k *wideCall) end() {
	k.cancel(context.Canceled)
	k.source.stop()
	k.unlimit()
	if k.buffer != nil {
		k.buffer.Free()
		k.buffer = nil
	}
}

func (k *wideCall) fault(ctx context.Context, err error, during string) error {
	if cause := pipeline.Cause(k.outer); cause != nil {
		return abandoned(cause)
	}
	if own := k.source.failed(); own != nil {
		return own
	}
	if why, ok := errors.AsType[late](context.Cause(ctx)); ok {
		return timeout(string(why), err)
	}
	return wideFault(err, during)
}

// Next implements pipeline.Stream.
func (k *wideCall) Next() ([]byte, error) {
	if k.buffer == nil {
		k.buffer = pipeline.NewBuffer()
		if cap(k.buffer.B) < uploadPiece {
			k.buffer.B = make([]byte, uploadPiece)
		}
		k.buffer.B = k.buffer.B[:cap(k.buffer.B)]
	}
	k.limit(k.wait.Idle, "no more of the answer in time")
	defer k.unlimit()
	for {
		n, err := k.body.Read(k.buffer.B)
		switch {
		case n > 0:
			return k.buffer.B[:n], nil // the error, if there is one, comes again
		case err == io.EOF && !(k.open && cutTLS(k.conn)):
			return nil, io.EOF
		case err != nil:
			return nil, k.fault(k.ctx, err, "before its answer was complete")
		}
	}
}

// Close implements pipeline.Stream.
func (k *wideCall) Close() error {
	_ = k.body.Close() // an answer nobody reads any more
	k.end()
	return nil
}

// cutTLS reports whether c is a TLS connection that ended without a farewell.
func cutTLS(c net.Conn) bool {
	secure, ok := c.(*tls.Conn)
	if !ok {
		return false
	}
	t, ok := secure.NetConn().(*tap)
	return ok && t.eof
}
