package pipetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// Conform checks that a component keeps to what all components have to. yaml is
// its settings, without its name; empty stands for its defaults. They may refer
// to the providers "upstream" and "backup" and to the cache store "answers",
// which are there, and to each of more, which is declared under its own name
// without settings.
//
// Of every component it checks that each setting has a YAML name, a comment, a
// type that can be decoded and a default within its bounds; that it builds,
// twice side by side; and that nothing is left when it is closed.
//
// Of a stage it also checks that it
//
//   - serves 100 exchanges at once, streamed and whole,
//   - hands on an error of the stages behind it,
//   - comes back when its context ends, before the call and within it,
//   - closes each stream exactly once, and reads none that is closed,
//   - keeps no frame: those of Conform are overwritten by the next,
//   - writes into nothing that others hold: the body of the request, the model's list of
//     targets, frames, a whole answer,
//   - returns frames as pipeline.Stream has them: none that is empty, is half an event, or
//     comes together with an error,
//   - leaves no exchange and no goroutine behind.
//
// Of a provider, that its calls end with their context and that it can be
// called concurrently; it may be one that cannot reach its upstream. Of a cache
// store, that it returns what it was given.
//
// Run it with the race detector.
func Conform(t *testing.T, component config.Component, yaml string, more ...config.Component) {
	t.Helper()
	t.Run("definition", func(t *testing.T) {
		if err := component.Verify(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{component: component, yaml: yaml, more: more}
	t.Run("build", func(t *testing.T) {
		NoLeaks(t)
		Load(t, b.registry(), b.file())
		Load(t, b.registry(), b.file())
	})
	if t.Failed() {
		return
	}
	switch component.Section() {
	case "chains":
		b.stage(t)
	case "providers":
		b.provider(t)
	default:
		b.store(t)
	}
}

// A bench is the file around a component under test. What it makes a stage ask
// follows its mode.
type bench struct {
	component config.Component
	yaml      string
	more      []config.Component

	mode  atomic.Int32
	calls atomic.Int32 // of what stands behind the stage

	mu     sync.Mutex
	bodies []*Body // guarded by mu
	lent   []lent  // guarded by mu
}

// lent is memory that a stage may read and not write into.
type lent struct {
	what string
	b    []byte
	was  string
}

// lend returns s as bytes that streams looks at again.
func (b *bench) lend(what, s string) []byte {
	l := lent{what, []byte(s), s}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lent = append(b.lent, l)
	return l.b
}

// What stands behind the stage does one of these.
const (
	answers int32 = iota // answers, streaming if it was asked to
	fails                // returns errBehind
	breaks               // answers with a stream that breaks
	hangs                // waits for the end of its context
)

var (
	errBehind = &pipeline.Error{Status: 418, Code: "conform", Fault: pipeline.CallerFault, Err: errors.New("an error made by the test")}
	errBroken = errors.New("a break made by the test")
)

// Handle implements pipeline.Handler.
func (b *bench) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	return b.Call(ctx, ex)
}

// Call implements pipeline.Provider.
func (b *bench) Call(ctx context.Context, ex *pipeline.Exchange) error {
	b.calls.Add(1)
	mode := b.mode.Load()
	switch mode {
	case fails:
		return errBehind
	case hangs:
		<-ctx.Done()
		return pipeline.Cause(ctx)
	}
	if ctx.Err() != nil {
		return pipeline.Cause(ctx)
	}
	resp := &ex.Response
	resp.Reset()
	resp.Header.SetStatusCode(200)
	if !strings.Contains(string(ex.Request.Body), `"stream":true`) {
		resp.Header.SetContentType("application/json")
		resp.SetBody(b.lend("the whole answer of the stages behind it", wholeAnswer))
		return nil
	}
	s := Stream(streamedAnswer...)
	if mode == breaks {
		s = Broken(errBroken, streamedAnswer[0])
	}
	s.before = func() error { return pipeline.Cause(ctx) }
	b.mu.Lock()
	b.bodies = append(b.bodies, s)
	b.mu.Unlock()
	resp.Header.SetContentType("text/event-stream")
	resp.Header.SetContentLength(-1)
	resp.Body = s
	return nil
}

const wholeAnswer = `{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,` +
	`"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`

var streamedAnswer = []string{
	`data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"y"}}]}` + "\n\n",
	`data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"es"},"finish_reason":"stop"}]}` + "\n\n",
	"data: [DONE]\n\n",
}

// streams checks what was done to the streams handed out so far.
func (b *bench) streams(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	bodies, lent := b.bodies, b.lent
	b.bodies, b.lent = nil, nil
	b.mu.Unlock()
	unwritten(t, lent)
	deadline := time.Now().Add(patience)
	for i, s := range bodies {
		for s.Closes() == 0 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if s.Closes() != 1 {
			t.Errorf("stream %d of %d was closed %d times; close it once", i+1, len(bodies), s.Closes())
		}
		if s.Written() {
			t.Errorf("a frame of stream %d of %d was written into; it may be everybody's, so make a new one", i+1, len(bodies))
		}
		if s.Abused() {
			t.Errorf("stream %d of %d was read or closed after it was closed, or while a read was running", i+1, len(bodies))
		}
	}
}

// unwritten checks what was lent.
func unwritten(t *testing.T, all []lent) {
	t.Helper()
	for _, l := range all {
		if string(l.b) != l.was {
			t.Errorf("%s was written into; others hold it too, so replace it: %q", l.what, l.b)
			return
		}
	}
}

func (b *bench) registry() config.Registry {
	return config.Registry{
		Fixed[pipeline.Handler]("conform_answer", b),
		Fixed[pipeline.Provider]("conform_provider", b),
		Fixed[pipeline.CacheStore]("conform_store", &memory{}),
	}.With(b.more...).With(b.component)
}

// file returns a configuration with the component in its place.
func (b *bench) file() string {
	sections := map[string]*strings.Builder{"providers": {}, "stores": {}}
	sections["providers"].WriteString("  upstream: { conform_provider: {} }\n  backup: { conform_provider: {} }\n")
	sections["stores"].WriteString("  answers: { conform_store: {} }\n")
	for _, c := range b.more {
		if s := sections[c.Section()]; s != nil {
			fmt.Fprintf(s, "  %s: { %s: {} }\n", c.Name(), c.Name())
		}
	}
	stage := ""
	if s := sections[b.component.Section()]; s != nil {
		fmt.Fprintf(s, "  under_test:\n    %s:\n%s", b.component.Name(), indent(b.yaml, 6))
	} else {
		stage = fmt.Sprintf("      - %s:\n%s", b.component.Name(), indent(b.yaml, 10))
	}
	return "providers:\n" + sections["providers"].String() +
		"stores:\n" + sections["stores"].String() +
		"models:\n  \"*\": [ { provider: upstream }, { provider: backup } ]\n" +
		"routes:\n  - name: test\n    match: { path: /v1/chat/completions }\n    chain:\n" +
		stage + "      - conform_answer\n"
}

func indent(yaml string, by int) string {
	var out strings.Builder
	for line := range strings.Lines(yaml) {
		out.WriteString(strings.Repeat(" ", by) + strings.TrimRight(line, "\n") + "\n")
	}
	return out.String()
}
