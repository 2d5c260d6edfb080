package attempt_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/attempt"
)

// A candidate is a scripted upstream.
type candidate struct {
	wait   time.Duration // until the header, or the failure
	err    error
	status int     // of the answer; 0 stands for 200
	retry  string  // its Retry-After
	whole  string  // the answer, unless events are given
	events []event // the stream's
	coding string  // of the stream
	ends   error   // after the last event; nil for io.EOF
	panics bool
	deaf   bool                   // to the end of its context
	next   func() ([]byte, error) // of its stream, in place of the events
	jams   bool                   // its stream panics when it is closed

	calls, closed atomic.Int32
	cause         atomic.Value // why it was cancelled
}

type event struct {
	wait time.Duration
	data string
}

const (
	role    = `{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`
	content = `{"choices":[{"index":0,"delta":{"content":"x"}}]}`
)

func (c *candidate) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	c.calls.Add(1)
	// What a stage does to the request must not reach another attempt.
	ex.Request.Header.Set("X-Attempt", "seen")
	if err := c.sleep(ctx, c.wait); err != nil {
		return err
	}
	if c.panics {
		panic("as told")
	}
	if c.err != nil {
		return c.err
	}
	if c.status != 0 {
		ex.Response.Header.SetStatusCode(c.status)
		ex.Response.Fault = pipeline.FaultOfStatus(c.status)
	}
	if c.retry != "" {
		ex.Response.Header.Set("Retry-After", c.retry)
	}
	if c.events == nil {
		ex.Response.SetBody([]byte(c.whole))
		return nil
	}
	ex.Response.Header.SetContentType("text/event-stream")
	ex.Response.Header.SetContentEncoding(c.coding)
	ex.Response.Body = &stream{ctx: ctx, c: c, left: c.events}
	return nil
}

func (c *candidate) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if c.deaf {
		time.Sleep(d)
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		cause := pipeline.Cause(ctx)
		c.cause.Store(cause)
		return cause
	}
}

// stream destroys each frame when the next one is asked for.
type stream struct {
	ctx   context.Context
	c     *candidate
	left  []event
	frame []byte
	done  bool
}

func (s *stream) Next() ([]byte, error) {
	for i := range s.frame {
		s.frame[i] = 0xDB
	}
	if s.c.next != nil {
		return s.c.next()
	}
	if len(s.left) == 0 {
		if s.c.ends != nil {
			return nil, s.c.ends
		}
		return nil, io.EOF
	}
	e := s.left[0]
	s.left = s.left[1:]
	if err := s.c.sleep(s.ctx, e.wait); err != nil {
		return nil, err
	}
	s.frame = []byte("data: " + e.data + "\n\n")
	return s.frame, nil
}

func (s *stream) Close() error {
	if s.done {
		panic("BUG: closed twice")
	}
	s.done = true
	s.c.closed.Add(1)
	if s.c.jams {
		panic("as told")
	}
	return nil
}

// policy tries the candidates in their order and notes what it is told.
type policy struct {
	candidates []*candidate
	refuse     bool
	pause      time.Duration
	upload     io.Reader // the body of the request, if it is with the client

	mu       sync.Mutex
	asks     []attempt.Ask
	outcomes []attempt.Outcome
	dirty    bool // an attempt saw what another had done to its request
}

func (p *policy) Chain(ex *pipeline.Exchange, _ pipeline.Chain, i int) pipeline.Chain {
	if len(ex.Request.Header.Peek("X-Attempt")) > 0 {
		p.mu.Lock()
		p.dirty = true
		p.mu.Unlock()
	}
	return pipeline.Chain{p.candidates[i]}
}

func (p *policy) Allow(a attempt.Ask) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks = append(p.asks, a)
	return p.pause, !p.refuse
}

func (p *policy) Ended(o attempt.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outcomes = append(p.outcomes, o)
}

var errDown = &pipeline.Error{Status: 502, Code: "upstream_cut", Fault: pipeline.UpstreamFault, Err: errors.New("down")}

// result is what the client of one run saw.
type result struct {
	body   string
	status int
	err    error // of Run, or of the body
	took   time.Duration
}

// run runs one exchange to the end of its answer. It must be called in a
// synctest bubble, and checks that nothing is left over.
func run(ctx context.Context, t *testing.T, p *policy, plan attempt.Plan) (r result) {
	t.Helper()
	before := pipeline.Live()
	began := time.Now()
	engine := attempt.New(p, slog.New(slog.DiscardHandler))
	if plan.Attempts == 0 {
		plan.Attempts = len(p.candidates)
	}
	ex := pipeline.Acquire(ctx)
	ex.Op = pipeline.OpEmbeddings
	ex.Request.Upload = p.upload
	r.err = engine.Run(ex.Context(), ex, nil, plan)
	r.took = time.Since(began)
	if r.err == nil {
		r.status = ex.Response.Header.StatusCode()
		for ex.Response.Body != nil {
			frame, err := ex.Response.Body.Next()
			if err != nil {
				if err != io.EOF {
					r.err = err
				}
				break
			}
			r.body += string(frame)
		}
	}
	ex.Release()
	if err := engine.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if n := pipeline.Live(); n != before {
		t.Errorf("%d exchanges left", n-before)
	}
	opened := 0
	for i, c := range p.candidates {
		if c.events != nil && c.err == nil && c.closed.Load() > c.calls.Load() {
			t.Errorf("candidate %d: %d calls, %d bodies closed", i, c.calls.Load(), c.closed.Load())
		}
		opened += int(c.calls.Load())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dirty {
		t.Error("an attempt saw another's changes to the request")
	}
	if plan.Attempts > 1 && len(p.outcomes) != opened {
		t.Errorf("%d attempts, %d outcomes: %+v", opened, len(p.outcomes), p.outcomes)
	}
	return r
}
