package pipetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// An Answer is one call's part of a provider's script. The zero Answer is an
// empty body with status 200.
type Answer struct {
	// Delay is waited before the call returns, and Pause before each frame.
	// Both end early with the context of the call.
	Delay, Pause time.Duration
	// Until is waited for before the call returns, if it is not nil.
	Until <-chan struct{}
	// Err is returned by the call.
	Err error
	// Status is 200 when zero. From 400 on, the answer is a fault.
	Status int
	// Type is the content type; by default that of Frames or of Body.
	Type string
	// Body is the whole answer.
	Body string
	// Frames are a stream of events instead, one frame each.
	Frames []string
	// Break ends the stream instead of io.EOF.
	Break error
}

// Says returns an answer with a whole body.
func Says(body string) Answer { return Answer{Body: body} }

// Streams returns an answer of one server-sent event per piece of data.
func Streams(data ...string) Answer {
	frames := make([]string, len(data))
	for i, d := range data {
		frames[i] = "data: " + d + "\n\n"
	}
	return Answer{Frames: frames}
}

// Fails returns an answer that is an error.
func Fails(err error) Answer { return Answer{Err: err} }

// A Provider follows a script. It may be called concurrently.
type Provider struct {
	mu        sync.Mutex
	script    []Answer
	calls     int
	cancelled int
	causes    []error
	bodies    []*Body
	seen      []string
	onCall    func(ex *pipeline.Exchange) (Answer, bool)
}

// NewProvider returns a provider whose calls get the answers of the script in
// turn, and the last of them for ever.
func NewProvider(script ...Answer) *Provider { return &Provider{script: script} }

// Call implements pipeline.Provider.
func (p *Provider) Call(ctx context.Context, ex *pipeline.Exchange) error {
	a := p.next(ex)
	if err := p.wait(ctx, a.Delay, a.Until); err != nil {
		return err
	}
	if a.Err != nil {
		return a.Err
	}
	resp := &ex.Response
	resp.Reset()
	resp.Header.SetStatusCode(max(a.Status, 200))
	if a.Status >= 400 {
		resp.Fault = pipeline.FaultOfStatus(a.Status)
	}
	if a.Frames == nil && a.Break == nil {
		resp.Header.SetContentType(or(a.Type, "application/json"))
		resp.SetBody([]byte(a.Body))
		return nil
	}
	b := Stream(a.Frames...)
	if a.Break != nil {
		b.err = a.Break
	}
	b.before = func() error { return p.wait(ctx, a.Pause, nil) }
	p.mu.Lock()
	p.bodies = append(p.bodies, b)
	p.mu.Unlock()
	resp.Header.SetContentType(or(a.Type, "text/event-stream"))
	resp.Header.SetContentLength(-1)
	resp.Body = b
	return nil
}

// next notes a call and takes its part of the script.
func (p *Provider) next(ex *pipeline.Exchange) Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	p.seen = append(p.seen, string(ex.Request.Body))
	if p.onCall != nil {
		if a, ok := p.onCall(ex); ok {
			return a
		}
	}
	if len(p.script) == 0 {
		return Answer{}
	}
	return p.script[min(p.calls, len(p.script))-1]
}

// wait waits as the script says, or until nobody wants the answer any more.
func (p *Provider) wait(ctx context.Context, d time.Duration, until <-chan struct{}) error {
	if d <= 0 && until == nil {
		if ctx.Err() == nil {
			return nil
		}
	} else {
		var timer <-chan time.Time
		if d > 0 {
			t := time.NewTimer(d)
			defer t.Stop()
			timer = t.C
		}
		select {
		case <-timer:
			return nil
		case <-until:
			return nil
		case <-ctx.Done():
		}
	}
	cause := pipeline.Cause(ctx)
	p.mu.Lock()
	p.cancelled++
	p.causes = append(p.causes, cause)
	p.mu.Unlock()
	return cause
}

// Calls is how often the provider was called.
func (p *Provider) Calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

// Requests returns the request body of each call.
func (p *Provider) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// Cancelled is how many calls and reads ended with their context.
func (p *Provider) Cancelled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cancelled
}

// Causes returns why they ended.
func (p *Provider) Causes() []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.causes)
}

// Open is how many streams have been handed out and not been closed.
func (p *Provider) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, b := range p.bodies {
		if b.Closes() == 0 {
			n++
		}
	}
	return n
}

// Err says what was done to the provider's streams that must not be done: left
// open, or used against the rules of pipeline.Stream.
func (p *Provider) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.bodies {
		switch {
		case b.Closes() == 0:
			return errors.New("a stream was not closed")
		case b.Closes() > 1:
			return errors.New("a stream was closed twice")
		case b.Abused():
			return errors.New("a stream was read after it was closed, or by two at once")
		case b.Written():
			return errors.New("a frame was written into")
		}
	}
	return nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
