// Package upstream carries HTTP to one upstream server. It is the Transport
// that providers are built on.
//
// A Client keeps a pool of HTTP/1.1 connections and speaks over them strictly:
// a response is refused when two readers could disagree about where it ends,
// a body that was cut short never looks complete, and a connection that
// carried anything unexpected is never used again. A call ends within
// milliseconds of its context, in whatever phase it is. With Options.HTTP2 the
// calls go through net/http instead, under the same rules and limits as far
// as that package lets them.
//
// A Client does not follow redirects, does not look at proxy settings, does not
// decompress, and sends no request twice (but see RoundTrip).
package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// Options says where an upstream is and what calls to it may cost. The zero
// value of every field but Address stands for a default.
type Options struct {
	// Address is the host and port to dial. Nothing in a request or in an
	// answer changes it.
	Address string
	// TLS is the client's TLS setup; nil means plain HTTP. The server name
	// is taken from Address when it holds none.
	TLS *tls.Config
	// HTTP2 makes calls through net/http, which speaks HTTP/2 where the
	// upstream offers it during the TLS handshake. Where it does not, they are made as
	// without. A plain connection, over which nobody offers it, is net/http's too: that is
	// less strict, writes to the standard log what an upstream sends unasked, and is for
	// tests to compare with.
	HTTP2 bool

	// Connect bounds dialing, the TLS handshake included; 5 seconds.
	Connect time.Duration
	// FirstByte bounds the wait from the start of a call to the end of the
	// response header; 60 seconds. While a large body is being sent it does
	// not run: it starts anew once all is sent.
	FirstByte time.Duration
	// Idle bounds the wait for each next piece of a body; 60 seconds.
	Idle time.Duration
	// Write bounds how long the upstream may take no more of the request;
	// 30 seconds, and up to a quarter late.
	Write time.Duration
	// Total bounds a call, its body included; none. Request.Wait.Total can
	// shorten it and not extend it.
	Total time.Duration

	// MaxConns is how many connections may be open; 4096. A call that needs
	// one more fails at once.
	MaxConns int
	// MaxIdle is how many connections are kept between calls; 1024.
	MaxIdle int
	// IdleTimeout is how long a connection is kept unused; 60 seconds.
	IdleTimeout time.Duration
	// MaxHeader is the size limit of a response header in bytes; 16 KiB, at
	// least 1 KiB.
	MaxHeader int

	// Unreached is told why a connection could not be made, each time, unless its call was
	// given up. The reason names addresses and certificates: it is for whoever runs the
	// gateway, and no caller of RoundTrip is shown it.
	Unreached func(reason error)
}

// withDefaults returns o with every zero replaced.
func (o Options) withDefaults() Options {
	duration := func(d *time.Duration, or time.Duration) {
		if *d == 0 {
			*d = or
		}
	}
	number := func(n *int, or int) {
		if *n == 0 {
			*n = or
		}
	}
	duration(&o.Connect, 5*time.Second)
	duration(&o.FirstByte, time.Minute)
	duration(&o.Idle, time.Minute)
	duration(&o.Write, 30*time.Second)
	duration(&o.IdleTimeout, time.Minute)
	number(&o.MaxConns, 4096)
	number(&o.MaxIdle, 1024)
	number(&o.MaxHeader, 16<<10)
	return o
}

func (o Options) validate() error {
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil {
		return fmt.Errorf("upstream address %q: %w", o.Address, err)
	}
	if host == "" || port == "" {
		return fmt.Errorf("upstream address %q: want host:port", o.Address)
	}
	for _, d := range []time.Duration{o.Connect, o.FirstByte, o.Idle, o.Write, o.Total, o.IdleTimeout} {
		if d < 0 {
			return fmt.Errorf("upstream %q: negative duration %v", o.Address, d)
		}
	}
	if o.MaxConns < 1 || o.MaxIdle < 0 {
		return fmt.Errorf("upstream %q: at most %d connections, %d of them idle", o.Address, o.MaxConns, o.MaxIdle)
	}
	if o.MaxHeader < 1<<10 {
		return fmt.Errorf("upstream %q: header limit of %d bytes, want at least 1024", o.Address, o.MaxHeader)
	}
	return nil
}

// A Client calls one upstream. It is safe for concurrent use.
type Client struct {
	o     Options
	wide  *wide // makes the calls instead, if set
	pool  pool
	calls sync.Pool // of *call
	bufs  sync.Pool // of *bufio.Reader, each o.MaxHeader large
}

var _ pipeline.Transport = (*Client)(nil)

// New returns a client for the upstream at o.Address. It does not connect.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.TLS != nil {
		o.TLS = o.TLS.Clone()
		if o.TLS.ServerName == "" {
			o.TLS.ServerName, _, _ = net.SplitHostPort(o.Address) // validated above
		}
		o.TLS.NextProtos = []string{"http/1.1"}
		if o.TLS.ClientSessionCache == nil {
			o.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(64)
		}
		// Growing records from 1 KiB would cost a system call each, which a
		// long prompt pays for many times.
		o.TLS.DynamicRecordSizingDisabled = true
	}
	c := &Client{o: o}
	if o.HTTP2 {
		c.wide = newWide(&c.o)
	}
	c.pool.conclude = c.conclude
	c.pool.maxOpen, c.pool.maxIdle, c.pool.keep = o.MaxConns, o.MaxIdle, o.IdleTimeout
	return c, nil
}

// RoundTrip implements pipeline.Transport.
//
// The request goes out as req.Header has it: method, URI, Host, and the fields
// in their order. Only the fields that frame the body or concern the
// connection are the client's own. A header that cannot be sent as it is, for
// a line break in it, is an error.
//
// The answer's fields are in resp.Header, but for those that concern the
// connection, and Date; a length that is not known is -1. resp.Body is the body
// in pieces as they arrive; the answer to HEAD has the length of a body and none.
// resp.Fault is what the status alone says.
//
// Failures are *pipeline.Error. If ctx ended first, the error wraps
// pipeline.Cause(ctx) instead. An error of req.Upload is returned as it is.
//
// A request is sent again, once, on a new connection, only if a connection
// that was kept from an earlier call turns out dead and nothing of the request
// can have been acted on: not a byte of it was sent, or its method is safe
// and not a byte came back.
//
// The upload may go on after RoundTrip has returned and stops with the
// body's Close, which waits for the last Read of req.Upload. If req.Upload is an
// io.Closer, it is closed to interrupt a Read that nobody wants any more;
// otherwise whoever made it must see to it that Read does not block for ever.
func (c *Client) RoundTrip(ctx context.Context, req *pipeline.Request, resp *pipeline.Response) error {
	return c.roundTrip(ctx, req, nil, resp)
}

// RoundTripLines is RoundTrip for a header whose fields are written out: each is
// its name, a colon and its value, and ends with CRLF. Of req.Header only method, URI
// and Host count. It cannot be used with Options.HTTP2.
func (c *Client) RoundTripLines(ctx context.Context, req *pipeline.Request, lines []byte, resp *pipeline.Response) error {
	if c.wide != nil {
		panic("BUG: lines for HTTP/2")
	}
	return c.roundTrip(ctx, req, lines, resp)
}

// roundTrip takes the fields from lines, unless there are none.
func (c *Client) roundTrip(ctx context.Context, req *pipeline.Request, lines []byte, resp *pipeline.Response) error {
	resp.CloseBody()
	wide, err := c.wide.speaks(ctx, req)
	if err != nil {
		return err
	}
	if wide {
		if err := c.wide.roundTrip(ctx, req, resp); err != nil {
			resp.Header.Reset()
			return err
		}
	} else {
		k := c.acquire()
		if err := k.do(ctx, req, lines, resp); err != nil {
			k.release()
			resp.Header.Reset() // it may hold half an answer
			return err
		}
		resp.Body = k
	}
	resp.Fault = pipeline.FaultOfStatus(resp.Header.StatusCode())
	return nil
}

// Close closes the connections that are not in use. Calls that are running
// finish, and their connections are closed then.
func (c *Client) Close() error {
	if c.wide != nil {
		c.wide.http.CloseIdleConnections()
	}
	c.pool.close()
	return nil
}

// Counts reports how many connections are open, and how many of them are idle.
// Of those for HTTP/2 the latter is not known, and 0.
func (c *Client) Counts() (open, idle int) {
	open, idle = c.pool.counts()
	if c.wide != nil {
		open += int(c.wide.open.Load())
	}
	return open, idle
}
