package proxy

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// TestLongest: an answer that goes on and on is ended by timeouts.stream,
// whether it is stuck or busy, and its client is told.
func TestLongest(t *testing.T) {
	r := start(t, "timeouts: { stream: 150ms }", func(ctx context.Context, ex *pipeline.Exchange) error {
		switch body := string(ex.Request.Body); {
		case strings.Contains(body, "stuck"):
			<-ctx.Done()
			return pipeline.Cause(ctx)
		case strings.Contains(body, "quick"):
			return answer(ex, `{"ok":true}`)
		}
		return events(ex, &feed{next: func() ([]byte, error) {
			select {
			case <-ctx.Done():
				return nil, pipeline.Cause(ctx)
			case <-time.After(time.Millisecond):
				return []byte(": busy\n\n"), nil
			}
		}})
	})
	r.wantError(post(`{"model":"stuck"}`), 504, "upstream_timeout")
	c := r.dial()
	if _, err := io.WriteString(c, post(`{"model":"busy","stream":true}`)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c) // the end of the connection, as no whole body
	if got := string(b); err != nil || !strings.Contains(got, `"code":"upstream_timeout"`) || strings.HasSuffix(got, "0\r\n\r\n") {
		t.Errorf("%v, %.500q", err, got[max(0, len(got)-500):])
	}
	// A connection that has been open for long is not a request that takes long.
	c = r.dial()
	for range 3 {
		time.Sleep(100 * time.Millisecond)
		if _, err := io.WriteString(c, strings.ReplaceAll(post(`{"model":"quick"}`), "Connection: close\r\n", "")); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(make([]byte, 4096))
		if err != nil || n == 0 {
			t.Fatal(err)
		}
	}
}
