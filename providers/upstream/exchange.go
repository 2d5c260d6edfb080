package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// errUnsent means that the connection was dead and that the request may be
// sent over another.
var errUnsent = errors.New("not sent")

// exchange sends the request over k.conn and reads the header of the answer.
func (k *call) exchange(req *pipeline.Request, resp *pipeline.Response, toHead bool) error {
	k.r = k.client.reader(k.conn)
	k.heard = false
	up := req.Upload != nil || len(k.large) > maxInline
	if up {
		k.conn.endRead(k.total) // the sender sets one when it is done
	} else {
		k.conn.allowRead(k.started, k.wait.FirstByte, k.total)
	}
	wrote := k.write(up)
	if wrote == errUnsent {
		return wrote
	}
	if wrote != nil {
		k.conn.endRead(k.until(time.Now().Add(grace)))
	} else if up {
		k.sender.start(k, req)
	}
	d, err := k.answer(resp, toHead)
	if err != nil {
		return k.unanswered(err, wrote)
	}
	k.sender.interrupt()
	k.close = d.close || wrote != nil
	if turnsAway(d.status) && (len(req.Body) > 0 || req.Upload != nil) {
		k.close = true
		k.conn.abandon()
	}
	k.body.begin(k.r, d.length)
	return nil
}

// turnsAway reports whether a server may have answered so without having read the body of
// the request. One that then keeps the connection open, against RFC 9112 (9.3), takes the
// body for the next request, which is somebody else's. Overload is not among them: to
// connect anew would add to it.
func turnsAway(status int) bool {
	switch status {
	case 422, 429:
		return false
	case 501, 505:
		return true
	}
	return status >= 400 && status < 500
}

// reader returns a reader of c, which freeReader takes back.
func (c *Client) reader(from *conn) *bufio.Reader {
	if r, ok := c.bufs.Get().(*bufio.Reader); ok {
		r.Reset(from)
		return r
	}
	return bufio.NewReaderSize(from, c.o.MaxHeader)
}

func (c *Client) freeReader(r *bufio.Reader) {
	r.Reset(nil)
	c.bufs.Put(r)
}

// write sends the request header, and the body unless it is large.
func (k *call) write(headerOnly bool) error {
	k.conn.allowWrite(k.started, k.client.o.Write, k.total)
	var n int64
	var err error
	if headerOnly || len(k.large) == 0 {
		var m int
		m, err = k.conn.Write(k.out)
		n = int64(m)
	} else if k.conn.tap == nil {
		k.vector = [2][]byte{k.out, k.large}
		k.bufs = k.vector[:]
		n, err = k.bufs.WriteTo(k.conn.raw)
	} else {
		var m int
		if m, err = k.conn.Write(k.out); err == nil {
			_, err = k.conn.Write(k.large)
		}
		n = int64(m)
	}
	if err != nil && n == 0 && k.conn.reused && !isTimeout(err) && !errors.Is(err, net.ErrClosed) {
		k.freeReader()
		return errUnsent
	}
	return err
}

// answer reads response headers up to the final one.
func (k *call) answer(resp *pipeline.Response, toHead bool) (head, error) {
	for range maxInterim + 1 {
		b, err := readHead(k.r)
		k.heard = k.heard || k.r.Buffered() > 0
		if err != nil {
			return head{}, err
		}
		d, err := parseHead(b, toHead, &resp.Header)
		if err != nil {
			return head{}, err
		}
		if _, err := k.r.Discard(len(b)); err != nil {
			return head{}, err
		}
		if d.status == 101 {
			return head{}, malformed("switch of protocols that nobody asked for")
		}
		if d.status >= 200 {
			return d, nil
		}
	}
	return head{}, malformed("too many interim responses")
}

// unanswered says why there is no answer: err is what reading it met, and wrote
// what sending the request met before.
func (k *call) unanswered(err, wrote error) error {
	silent := !k.heard && (err == io.EOF || isReset(err))
	if silent && k.conn.reused && k.safe && wrote == nil && k.sender.done == nil {
		k.freeReader()
		return errUnsent
	}
	switch {
	case wrote == nil:
	case isTimeout(wrote):
		return timeout("the upstream does not take the request", wrote)
	case isTimeout(err):
		err = wrote
	}
	return k.fault(err, "before it answered", "no answer from the upstream in time")
}

// fault turns what went wrong while an answer was read into what the client
// sees. during and late say when, if it was the connection's end or a timeout.
func (k *call) fault(err error, during, late string) error {
	if m, ok := errors.AsType[malformed](err); ok {
		return failure(502, "upstream_protocol", pipeline.UpstreamFault, "malformed answer: "+string(m), err)
	}
	switch {
	case err == errTooLarge:
		return failure(502, "upstream_too_large", pipeline.UpstreamFault, "the response header is too large", err)
	case isTimeout(err) && !k.total.IsZero() && !time.Now().Before(k.total):
		return timeout("the call took longer than it may", err)
	case isTimeout(err):
		return timeout(late, err)
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return cut("the upstream closed the connection "+during, err)
}

// isReset reports whether the other side tore the connection down.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
