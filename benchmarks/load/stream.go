package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"time"
)

// Streams lets every client read one stream to its end. The streams begin one
// after another, evenly over spread.
func (p *Pool) Streams(spread time.Duration) Result {
	gap := spread / time.Duration(len(p.clients))
	var n atomic.Int64
	return p.run(func(c *client, t *tally) {
		time.Sleep(gap * time.Duration(n.Add(1)-1))
		begun := time.Now()
		err := c.stream(t, begun)
		if err != nil {
			c.hangUp()
		}
		t.add(err, time.Since(begun))
	})
}

// Hold opens a stream with every client and leaves it after its first event.
// The streams stay open until Close.
func (p *Pool) Hold() Result {
	const atOnce = 64
	free := make(chan struct{}, atOnce)
	return p.run(func(c *client, t *tally) {
		free <- struct{}{}
		defer func() { <-free }()
		begun := time.Now()
		err := c.firstEvent()
		if err == nil {
			err = c.conn.SetDeadline(time.Time{})
		}
		t.add(err, time.Since(begun))
	})
}

func (c *client) firstEvent() error {
	h, err := c.begin()
	if err != nil {
		return err
	}
	if h.status != 200 {
		return c.refused(h)
	}
	_, err = bufio.NewReaderSize(c.body(h), 512).ReadSlice('@')
	return err
}

// stream reads one stream that began at begun.
func (c *client) stream(t *tally, begun time.Time) error {
	h, err := c.begin()
	if err != nil {
		return err
	}
	if h.status != 200 {
		return c.refused(h)
	}
	var done, seen bool
	lines := bufio.NewScanner(deadline{c.body(h), c})
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		now := time.Now()
		if !seen {
			seen = true
			t.firsts = append(t.firsts, micros(now.Sub(begun)))
		}
		if sent, ok := sentAt(data); ok {
			t.held = append(t.held, float64(now.UnixNano()-sent)/1e3)
		}
		done = bytes.HasPrefix(data, []byte("[DONE]"))
	}
	switch {
	case lines.Err() != nil:
		return lines.Err()
	case !done:
		return errors.New("the stream ended without [DONE]")
	}
	if h.closes || !h.chunked && h.length < 0 {
		c.hangUp()
		return nil
	}
	return c.end(h)
}

// sentAt reads the time that the mock upstream writes into each event.
func sentAt(data []byte) (int64, bool) {
	_, rest, ok := bytes.Cut(data, []byte("@"))
	if !ok {
		return 0, false
	}
	digits, _, ok := bytes.Cut(rest, []byte("@"))
	if !ok {
		return 0, false
	}
	ns, err := strconv.ParseInt(string(digits), 10, 64)
	return ns, err == nil
}

// deadline gives every read its own patience.
type deadline struct {
	io.Reader
	c *client
}

func (d deadline) Read(p []byte) (int, error) {
	if err := d.c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return d.Reader.Read(p)
}
