package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// wide carries calls over net/http, for the sake of HTTP/2. Its limits are those
// of the own transport; what it lets pass of malformed HTTP/1.1 is net/http's, for which
// reason an upstream over TLS that does not speak HTTP/2 is called by the own one.
type wide struct {
	o      *Options
	tls    *tls.Config // nil for plain connections, which only tests have here
	http   http.Transport
	open   atomic.Int64 // connections
	spoken atomic.Int32 // what the upstream has said in the last handshake
	asked  atomic.Int64 // when that was HTTP/1.1, or was asked again; Unix time in ns
}

// askAgain is after how long an upstream that spoke HTTP/1.1 is asked whether it still does:
// it may have been replaced, as by a deployment. Its calls meanwhile are HTTP/1.1's.
const askAgain = 5 * time.Minute

// What an upstream speaks.
const (
	unknown int32 = iota
	overHTTP1
	overHTTP2
)

func newWide(o *Options) *wide {
	w := &wide{o: o}
	w.http = http.Transport{
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           o.MaxIdle,
		MaxIdleConnsPerHost:    o.MaxIdle,
		IdleConnTimeout:        o.IdleTimeout,
		MaxResponseHeaderBytes: int64(o.MaxHeader),
		WriteBufferSize:        32 << 10,
		// A connection that has died silently would take its calls with
		// it, one after the other.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
	if o.TLS != nil {
		w.tls = o.TLS.Clone()
		w.tls.NextProtos = []string{"h2", "http/1.1"}
		w.http.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dialHTTP2(ctx) }
	}
	w.http.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dial(ctx, nil) }
	return w
}

// dial connects to the upstream, whatever net/http thinks its address is.
func (w *wide) dial(ctx context.Context, config *tls.Config) (net.Conn, error) {
	if w.open.Add(1) > int64(w.o.MaxConns) {
		w.open.Add(-1)
		return nil, overloaded(w.o.MaxConns)
	}
	ctx, stop := context.WithTimeout(ctx, w.o.Connect)
	defer stop()
	c, err := dial(ctx, w.o.Address, config, func(c net.Conn) net.Conn { return &counted{Conn: c, w: w} })
	if err != nil {
		if config == nil || !errors.As(err, new(*handshakeError)) {
			w.open.Add(-1) // there was no connection to count itself out
		}
		return nil, w.o.dialFault(ctx, err)
	}
	return c.Conn, nil
}

var errNoHTTP2 = errors.New("the upstream speaks HTTP/1.1")

// dialHTTP2 connects to an upstream that speaks HTTP/2, or fails.
func (w *wide) dialHTTP2(ctx context.Context) (net.Conn, error) {
	c, err := w.dial(ctx, w.tls)
	if err != nil {
		return nil, err
	}
	if secure, ok := c.(*tls.Conn); ok && secure.ConnectionState().NegotiatedProtocol == "h2" {
		w.spoken.Store(overHTTP2)
		return c, nil
	}
	w.asked.Store(time.Now().UnixNano())
	w.spoken.Store(overHTTP1)
	_ = c.Close() // nothing is owed to the other side
	return nil, unreachable(errNoHTTP2)
}

// due reports to one call at a time whether the upstream is to be asked again.
func (w *wide) due() bool {
	last, now := w.asked.Load(), time.Now().UnixNano()
	return w.spoken.Load() == overHTTP1 && now-last > int64(askAgain) && w.asked.CompareAndSwap(last, now)
}

// speaks reports whether a call is to go over wide. What the upstream speaks only a
// handshake says, so the first call makes a connection to find out. An upstream that
// does not any more fails one call, which it has not seen.
func (w *wide) speaks(ctx context.Context, req *pipeline.Request) (bool, error) {
	if w == nil || w.tls == nil || w.spoken.Load() != unknown && !w.due() {
		return w != nil && w.spoken.Load() != overHTTP1, nil
	}
	if err := pipeline.Cause(ctx); err != nil {
		return false, abandoned(err)
	}
	wait := limits(req.Wait, w.o)
	if wait.Total > 0 {
		wait.FirstByte = min(wait.FirstByte, wait.Total)
	}
	within, stop := context.WithTimeout(ctx, wait.FirstByte)
	defer stop()
	c, err := w.dialHTTP2(within)
	switch {
	case err == nil:
		_ = c.Close() // nothing is owed to the other side
		return true, nil
	case errors.Is(err, errNoHTTP2):
		return false, nil
	case pipeline.Cause(ctx) != nil:
		return false, abandoned(pipeline.Cause(ctx))
	case w.spoken.Load() == overHTTP1: // asked again: there may be connections that work
		return false, nil
	}
	return false, err
}

// counted is a TCP connection that limits its writes and tells of its end.
type counted struct {
	net.Conn
	w    *wide
	gone atomic.Bool
}

func (c *counted) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.w.o.Write)) // a dead connection tells the write
	return c.Conn.Write(p)
}

func (c *counted) Close() error {
	if !c.gone.Swap(true) {
		c.w.open.Add(-1)
	}
	return c.Conn.Close()
}

// resent is how often a request is sent again that no upstream has looked at.
const resent = 2

// unprocessed reports whether nothing was done with the request: the upstream has said
// so, as one does that is about to close the connection (RFC 9113, 8.7), or the connection
// could not be used any more. net/http would repeat a request for other reasons too, and is
// not let: an answer may cost money.
func unprocessed(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "graceful shutdown GOAWAY") || strings.Contains(text, "REFUSED_STREAM") ||
		strings.Contains(text, "cannot rewind body") // for want of a connection
}

// roundTrip is Client.RoundTrip.
func (w *wide) roundTrip(ctx context.Context, req *pipeline.Request, resp *pipeline.Response) error {
	r, err := w.request(req)
	if err != nil {
		return err
	}
	if err := pipeline.Cause(ctx); err != nil {
		return abandoned(err)
	}
	k := &wideCall{outer: ctx, wait: limits(req.Wait, w.o), started: time.Now()}
	if k.wait.Total > 0 {
		k.total = k.started.Add(k.wait.Total)
	}
	ctx, k.cancel = context.WithCancelCause(ctx)
	trace := &httptrace.ClientTrace{GotConn: func(g httptrace.GotConnInfo) { k.conn = g.Conn }}
	k.send(ctx, r, req)
	r = r.WithContext(httptrace.WithClientTrace(ctx, trace))
	answer, err := w.http.RoundTrip(r) //nolint:bodyclose // the call's, which closes it
	for again := 0; again < resent && req.Upload == nil && unprocessed(err); again++ {
		k.rewind(r, req)
		answer, err = w.http.RoundTrip(r) //nolint:bodyclose // the call's, too
	}
	if err != nil {
		return k.abort(ctx, err)
	}
	k.ctx, k.body = ctx, answer.Body
	if err := k.head(answer, r.Method == http.MethodHead, resp); err != nil {
		return k.abort(ctx, err)
	}
	k.unlimit()
	resp.Body = k
	return nil
}

// request is req as net/http wants it, without its body.
func (w *wide) request(req *pipeline.Request) (*http.Request, error) {
	h := &req.Header
	if err := sendable(h); err != nil {
		return nil, err
	}
	r := &http.Request{
		Method: string(h.Method()),
		// Opaque goes out as it is.
		URL:    &url.URL{Scheme: "http", Host: w.o.Address, Opaque: string(h.RequestURI())},
		Host:   string(h.Host()),
		Header: http.Header{"User-Agent": {""}}, // net/http adds none of its own then
	}
	if w.o.TLS != nil {
		r.URL.Scheme = "https"
	}
	for key, value := range h.All() {
		if hopByHop(key) || ours(key) {
			continue
		}
		if !sendableField(key, value) {
			return nil, unsendable("header field")
		}
		if is(key, "user-agent") {
			r.Header.Set("User-Agent", string(value))
			continue
		}
		r.Header[string(key)] = append(r.Header[string(key)], string(value))
	}
	return r, nil
}

// head puts status and fields of the answer into resp.
func (k *wideCall) head(answer *http.Response, toHead bool, resp *pipeline.Response) error {
	h := &resp.Header
	h.Reset()
	h.SetNoDefaultContentType(true)
	if answer.StatusCode < 200 || answer.StatusCode > 599 {
		return malformed("status out of range")
	}
	h.SetStatusCode(answer.StatusCode)
	f := fields{length: untilClose}
	for _, key := range slices.Sorted(maps.Keys(answer.Header)) {
		if !isToken([]byte(key)) {
			return malformed("bad header field name") // net/http minds no blanks
		}
		for _, value := range answer.Header[key] {
			if err := f.add([]byte(key), []byte(value), h); err != nil {
				return err
			}
		}
	}
	d, err := f.conclude(answer.StatusCode, false, toHead, h)
	k.open = d.length == untilClose && len(answer.TransferEncoding) == 0 && answer.ProtoMajor == 1
	return err
}

// wideFault classifies an error of net/http's, most of which have no types.
func wideFault(err error, during string) error {
	if _, ok := errors.AsType[*pipeline.Error](err); ok {
		return err
	}
	if m, ok := errors.AsType[malformed](err); ok {
		return failure(502, "upstream_protocol", pipeline.UpstreamFault, "malformed answer: "+string(m), err)
	}
	switch text := err.Error(); {
	case strings.Contains(text, "headers exceeded"), strings.Contains(text, "header list larger"):
		return failure(502, "upstream_too_large", pipeline.UpstreamFault, "the response header is too large", err)
	case isTimeout(err):
		return timeout("the upstream does not take the request", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(text, "server closed idle connection"),
		strings.Contains(text, "client connection lost"),
		strings.Contains(text, "stream error"), strings.Contains(text, "GOAWAY"):
		return cut("the upstream closed the connection "+during, io.ErrUnexpectedEOF)
	}
	return failure(502, "upstream_protocol", pipeline.UpstreamFault, "malformed answer", err)
}
