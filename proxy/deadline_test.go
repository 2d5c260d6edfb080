package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
)

// However many requests came before over the connection, it may rest and a head
// may take as long as the settings say, and no longer.
func TestDeadlinesOfKeptConnections(t *testing.T) {
	r := start(t, "timeouts: { header: 300ms, keep_alive: 300ms }", func(_ context.Context, ex *pipeline.Exchange) error {
		return answer(ex, "{}")
	})
	var all sync.WaitGroup
	run := func(c net.Conn, before int, piece string, status int) {
		in := bufio.NewReader(c)
		for range before {
			_, _ = io.WriteString(c, post(plainBody))
			if resp, _, err := readAnswer(in); err != nil || resp.StatusCode != 200 {
				t.Errorf("a request in time got %v, %v", resp, err)
				return
			}
			time.Sleep(15 * time.Millisecond) // in all, longer than a deadline that is never moved
		}
		_, _ = io.WriteString(c, piece)
		began, got := time.Now(), 0
		if resp, _, err := readAnswer(in); err == nil {
			got = resp.StatusCode
		}
		if got != status {
			t.Errorf("after %d requests and %q: status %d, want %d", before, piece, got, status)
		}
		if took := time.Since(began); took < 200*time.Millisecond || took > 5*time.Second {
			t.Errorf("after %d requests and %q the connection ended after %v", before, piece, took)
		}
	}
	f := func(before int, piece string, status int) {
		c := r.dial()
		all.Go(func() { run(c, before, piece, status) })
	}
	const piece = "GET /v1/o"
	f(0, piece, 408)
	f(1, piece, 408)
	f(30, piece, 408)
	f(0, "", 0)
	f(1, "", 0)
	f(30, "", 0)
	all.Wait()
}

// An upload that is closed just before its reader moves the deadline is not waited for.
func TestClosedUploadWaitsForNothing(t *testing.T) {
	var ctx fasthttp.RequestCtx
	line := &deadlines{}
	ctx.Init2(line, nil, false)
	u := &upload{ctx: &ctx, began: time.Now(), idle: time.Minute}
	_ = u.Close()
	u.arm()
	if !line.read.Equal(past) {
		t.Errorf("the deadline is %v", line.read)
	}
}

// deadlines notes the deadline for reading.
type deadlines struct {
	net.Conn
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = t
	return nil
}
