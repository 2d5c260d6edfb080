package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"time"

	"github.com/headrace/headrace/benchmarks/payload"
)

// A client is one connection, and the request that it sends over it.
type client struct {
	pool    *Pool
	addr    string
	message []byte // this client's own copy
	ref     int    // where the reference in it begins, or -1

	conn net.Conn // nil until needed
	r    *bufio.Reader
	// reused is set while the connection has not been used since the load
	// before, so that the server may have closed it in between.
	reused bool
}

// hangUp closes the connection.
func (c *client) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing to lose
		c.conn = nil
	}
}

// send writes the request, over a new connection if there is none, and
// returns its reference.
func (c *client) send() (uint64, error) {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.addr, patience)
		if err != nil {
			return 0, err
		}
		c.conn, c.reused = conn, false
		if c.r == nil {
			c.r = bufio.NewReaderSize(nil, 8<<10)
		}
		c.r.Reset(conn)
	}
	var ref uint64
	if c.ref >= 0 {
		ref = c.pool.next.Add(1)
		payload.PutReference(c.message[c.ref:], ref)
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	_, err := c.conn.Write(c.message)
	return ref, err
}

// do sends the request and reads the answer.
func (c *client) do() error {
	h, err := c.begin()
	if err != nil {
		c.hangUp()
		return err
	}
	if h.status != 200 {
		return c.refused(h)
	}
	n, err := c.discard(h)
	if err != nil || h.closes {
		c.hangUp()
	}
	switch {
	case err != nil:
		return err
	case n == 0:
		return errors.New("status 200 with an empty body")
	}
	return nil
}

// refused returns an answer other than 200 as an error.
func (c *client) refused(h head) error {
	b, err := io.ReadAll(io.LimitReader(c.body(h), 200))
	c.hangUp() // the rest does not matter
	if err != nil {
		return fmt.Errorf("status %d: %w", h.status, err)
	}
	return fmt.Errorf("status %d: %s", h.status, b)
}

// begin sends the request and reads the head of the answer. A connection that
// the server has closed while nothing was going on is replaced: that is no
// error of the server's.
func (c *client) begin() (head, error) {
	for {
		again := c.reused
		_, err := c.send()
		var h head
		if err == nil {
			h, err = c.readHead()
		}
		if err == nil || !again || errors.As(err, new(*malformed)) {
			c.reused = false
			return h, err
		}
		c.hangUp()
	}
}

// A head is what must be known of the head of an answer.
type head struct {
	status  int
	length  int64 // -1 if not declared
	chunked bool
	closes  bool
}

type malformed struct{ line string }

func (m *malformed) Error() string { return fmt.Sprintf("malformed answer: %.60q", m.line) }

func (c *client) readHead() (head, error) {
	h := head{length: -1}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return h, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return h, &malformed{string(line)}
	}
	h.status, _ = strconv.Atoi(string(line[9:12]))
	for {
		line, err = c.r.ReadSlice('\n')
		if err != nil {
			return h, err
		}
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		switch {
		case len(name) == 0:
			return h, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			h.length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
			if err != nil {
				return h, &malformed{string(line)}
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.chunked = true
		case bytes.EqualFold(name, []byte("Connection")):
			h.closes = bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
		}
	}
}

// body returns what follows the head. When it has been read to its end, end
// must be called.
func (c *client) body(h head) io.Reader {
	switch {
	case h.chunked:
		return httputil.NewChunkedReader(c.r)
	case h.length >= 0:
		return io.LimitReader(c.r, h.length)
	}
	return c.r
}

// end reads what stands between a body and the next answer.
func (c *client) end(h head) error {
	if !h.chunked {
		return nil
	}
	for { // trailers, then an empty line
		line, err := c.r.ReadSlice('\n')
		if err != nil || len(bytes.TrimSpace(line)) == 0 {
			return err
		}
	}
}

// discard reads the body to its end and returns its length.
func (c *client) discard(h head) (int64, error) {
	if h.length >= 0 && !h.chunked {
		n, err := c.r.Discard(int(h.length))
		return int64(n), err
	}
	n, err := io.Copy(io.Discard, c.body(h))
	if err != nil {
		return n, err
	}
	return n, c.end(h)
}
