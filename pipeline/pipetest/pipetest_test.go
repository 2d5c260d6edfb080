package pipetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// do returns a component that handles exchanges with f.
func do(f pipeline.HandlerFunc) config.Component {
	return pipetest.Fixed[pipeline.Handler]("under_test", f)
}

// frames returns a component that hands on streams with what change makes of them.
func frames(change func(frame []byte, err error) ([]byte, error)) config.Component {
	return do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		err := next.Handle(ctx, ex)
		if body := ex.Response.Body; err == nil && ex.Events() {
			ex.Response.Body = streamFunc{body, func() ([]byte, error) { return change(body.Next()) }}
		}
		return err
	})
}

type streamFunc struct {
	pipeline.Stream
	next func() ([]byte, error)
}

func (s streamFunc) Next() ([]byte, error) { return s.next() }

// components are what Conform accepts, and what it refuses with the words that
// it says.
var components = map[string]struct {
	component config.Component
	says      string
}{
	"good": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		return next.Handle(ctx, ex)
	}), ""},
	"refuses": {do(func(context.Context, *pipeline.Exchange, pipeline.Chain) error {
		return pipeline.Fail(403, "refused", errors.New("refused"))
	}), ""},
	"swallows": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		if next.Handle(ctx, ex) != nil {
			ex.Response.SetBody([]byte("{}"))
		}
		return nil
	}), "which it did not hand on"},
	"keeps": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		err := next.Handle(ctx, ex)
		if body := ex.Response.Body; err == nil {
			if _, whole := ex.Response.Whole(); !whole {
				var last []byte
				ex.Response.Body = streamFunc{body, func() ([]byte, error) {
					kept := last
					frame, err := body.Next()
					last = frame
					if kept == nil {
						kept = []byte(":\n\n")
					}
					return kept, err
				}}
			}
		}
		return err
	}), "holds a frame that was no longer valid"},
	"hides": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		err := next.Handle(ctx, ex)
		if body := ex.Response.Body; body != nil {
			ex.Response.Body = streamFunc{body, func() ([]byte, error) {
				frame, err := body.Next()
				if err != nil {
					err = io.EOF
				}
				return frame, err
			}}
		}
		return err
	}), "let it look whole"},
	"closes twice": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		err := next.Handle(ctx, ex)
		if body := ex.Response.Body; body != nil {
			ex.Response.Body = streamFunc{body, func() ([]byte, error) {
				frame, err := body.Next()
				if err != nil {
					_ = body.Close()
				}
				return frame, err
			}}
		}
		return err
	}), "was closed 2 times"},
	"never closes": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		err := next.Handle(ctx, ex)
		if _, whole := ex.Response.Whole(); !whole {
			ex.Response.Body = nil
		}
		return err
	}), "was closed 0 times"},
	"leaks an exchange": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		ex.Fork(ctx)
		return next.Handle(ctx, ex)
	}), "exchanges were not released"},
	"leaks a goroutine": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		go func() { select {} }()
		return next.Handle(ctx, ex)
	}), "found unexpected goroutines"},
	"does not stop": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		return next.Handle(context.Background(), ex)
	}), "Handle has not returned"},
	"panics": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		if ctx.Err() != nil {
			panic("oh")
		}
		return next.Handle(ctx, ex)
	}), "panic: oh"},
	"writes into the request": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		ex.Request.Body[1] = 'X'
		return next.Handle(ctx, ex)
	}), "the body of the request was written into"},
	"writes into the answer": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		err := next.Handle(ctx, ex)
		if b, whole := ex.Response.Whole(); whole && len(b) > 0 {
			b[0] = '['
		}
		return err
	}), "the whole answer of the stages behind it was written into"},
	"writes into frames": {frames(func(frame []byte, err error) ([]byte, error) {
		if len(frame) > 0 {
			frame[6] = '['
		}
		return frame, err
	}), "a frame of stream 1 of"},
	"writes into the targets": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		ex.Targets[0] = ex.Targets[1]
		return next.Handle(ctx, ex)
	}), "list of targets was written into"},
	"halves events": {frames(func(frame []byte, err error) ([]byte, error) {
		return frame[:len(frame)/2], err
	}), "ends within an event"},
	"adds to the end": {frames(func(frame []byte, err error) ([]byte, error) {
		if err == io.EOF {
			return []byte(": bye\n\n"), err
		}
		return frame, err
	}), "returned a frame together with an error"},
	"has nothing to say": {frames(func(frame []byte, err error) ([]byte, error) {
		return frame[len(frame):], err
	}), "returned an empty frame"},
	"lets go of the exchange": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		defer ex.Release()
		return next.Handle(ctx, ex)
	}), "nothing has answered"},
	"rewrites": {do(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		ex.Request.Body = append([]byte(nil), ex.Request.Body...)
		ex.Targets = []*pipeline.Target{ex.Targets[1], ex.Targets[0]}
		return next.Handle(ctx, ex)
	}), ""},
	"plain error": {do(func(context.Context, *pipeline.Exchange, pipeline.Chain) error {
		return errors.New("plain")
	}), "a refusal is a *pipeline.Error"},
	"undocumented":  {config.Define[pipeline.Handler]("under_test", undocumented{Max: 5}, "package p\n"), "has no comment"},
	"bad default":   {config.Define[pipeline.Handler]("under_test", undocumented{Max: 5}, "package p\n"), "the default must be at most 3"},
	"no yaml name":  {config.Define[pipeline.Handler]("under_test", undocumented{Max: 5}, "package p\n"), "Other has no yaml name"},
	"bad type":      {config.Define[pipeline.Handler]("under_test", undocumented{Max: 5}, "package p\n"), "cannot have the type chan int"},
	"good provider": {pipetest.Fixed[pipeline.Provider]("under_test", pipetest.NewProvider(pipetest.Says("{}"))), ""},
	"deaf provider": {pipetest.Fixed[pipeline.Provider]("under_test", provider(func(ex *pipeline.Exchange) error {
		ex.Response.SetBody([]byte("{}"))
		return nil
	})), "Call answered although its context had ended"},
	"silent provider": {pipetest.Fixed[pipeline.Provider]("under_test", provider(func(ex *pipeline.Exchange) error {
		return ex.Context().Err()
	})), "nothing has answered"},
	"forgetful store": {pipetest.Fixed[pipeline.CacheStore]("under_test", forgetful{}), "Get after Set"},
}

type undocumented struct {
	Max   int `yaml:"max" check:"max=3"`
	Other int
	Chan  chan int `yaml:"chan"`
}

func (undocumented) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return nil }), nil
}

type provider func(ex *pipeline.Exchange) error

func (p provider) Call(_ context.Context, ex *pipeline.Exchange) error { return p(ex) }

type forgetful struct{}

func (forgetful) Get(context.Context, pipeline.Key) ([]byte, bool, error)        { return nil, false, nil }
func (forgetful) Set(context.Context, pipeline.Key, []byte, time.Duration) error { return nil }

// TestConformOne is what TestConform runs, in processes of their own, since what
// it runs fails.
func TestConformOne(t *testing.T) {
	name := os.Getenv("PIPETEST_COMPONENT")
	if name == "" {
		t.Skip("run by TestConform")
	}
	pipetest.Impatient()
	pipetest.Conform(t, components[name].component, "")
}

// What is as it should be passes here too, and not only in a process of its own.
func TestConformSound(t *testing.T) {
	t.Run("provider", func(t *testing.T) {
		pipetest.Conform(t, pipetest.Fixed[pipeline.Provider]("under_test", pipetest.NewProvider(pipetest.Says("{}"))), "")
	})
	t.Run("store", func(t *testing.T) {
		pipetest.Conform(t, config.Define[pipeline.CacheStore]("under_test", keeps{}, "package p\n\n// keeps keeps.\ntype keeps struct{}\n"), "")
	})
}

// keeps is a cache store of which each snapshot gets its own.
type keeps struct{}

func (keeps) Build(context.Context, config.Env) (pipeline.CacheStore, error) {
	return &keeper{values: map[pipeline.Key][]byte{}}, nil
}

type keeper struct {
	mu     sync.Mutex
	values map[pipeline.Key][]byte
}

func (k *keeper) Get(_ context.Context, key pipeline.Key) ([]byte, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.values[key]
	return v, ok, nil
}

func (k *keeper) Set(_ context.Context, key pipeline.Key, value []byte, _ time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values[key] = value
	return nil
}

// A file is compared with the problems below its dashes, or gets them there.
func TestProblems(t *testing.T) {
	const file = "#env WHO=someone\nroutes:\n  - { name: \"${WHO}\", match: { path: /v1/x }, chain: [ nobody ] }\n----\n"
	dir := t.TempDir()
	name := filepath.Join(dir, "unknown.txt")
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("written", func(t *testing.T) {
		t.Setenv("HEADRACE_UPDATE", "1")
		pipetest.Problems(t, config.Registry{}, dir)
	})
	text, err := os.ReadFile(name)
	if err != nil || !strings.HasPrefix(string(text), file) || !strings.Contains(string(text[len(file):]), `3:`) || !strings.Contains(string(text), "nobody") {
		t.Fatalf("%v\n%s", err, text)
	}
	t.Run("compared", func(t *testing.T) { pipetest.Problems(t, config.Registry{}, dir) })
}

func TestConform(t *testing.T) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for name, want := range components {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestConformOne$")
			cmd.Env = append(os.Environ(), "PIPETEST_COMPONENT="+name)
			out, err := cmd.CombinedOutput()
			switch {
			case want.says == "" && err != nil:
				t.Errorf("%s is refused:\n%s", name, out)
			case want.says != "" && (err == nil || !strings.Contains(string(out), want.says)):
				t.Errorf("%s: want %q in:\n%s", name, want.says, out)
			}
		})
	}
	wg.Wait()
}

func TestStream(t *testing.T) {
	s := pipetest.Stream("one", "two")
	first, err := s.Next()
	if string(first) != "one" || err != nil || cap(first) != 3 {
		t.Errorf("%q %v", first, err)
	}
	second, _ := s.Next()
	if string(first) != "\xdb\xdb\xdb" || string(second) != "two" {
		t.Errorf("after the second frame the first is %q, the second %q", first, second)
	}
	if _, err := s.Next(); err != io.EOF {
		t.Error(err)
	}
	if s.Abused() || s.Reads() != 2 {
		t.Errorf("abused %v after %d reads", s.Abused(), s.Reads())
	}
	_ = s.Close()
	if _, err := s.Next(); err == nil || !s.Abused() || s.Closes() != 1 {
		t.Error("a read after Close went unnoticed")
	}
	broken := pipetest.Broken(io.ErrUnexpectedEOF, "one")
	_, _ = broken.Next()
	if _, err := broken.Next(); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}

func TestProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := pipetest.NewProvider(
			pipetest.Says("one"),
			pipetest.Answer{Status: 429, Body: "two", Delay: time.Second},
			pipetest.Streams("three", "four"),
			pipetest.Fails(io.ErrNoProgress),
			pipetest.Answer{Frames: []string{"five"}, Break: io.ErrUnexpectedEOF, Pause: time.Minute},
			pipetest.Answer{Delay: time.Hour},
		)
		f := func(want, wantErr string, took time.Duration) {
			t.Helper()
			ex := pipetest.Exchange(t, "{}", p)
			defer ex.Release()
			stop := time.AfterFunc(10*time.Minute, func() { ex.Scope().Cancel(pipeline.ErrLost) })
			defer stop.Stop()
			at := time.Now()
			got, err := "", p.Call(ex.Context(), ex)
			if err == nil {
				got, err = fmt.Sprint(ex.Response.Fault, " "), nil
				for {
					frame, e := ex.Response.Body.Next()
					got += string(frame)
					if e != nil {
						if e != io.EOF {
							err = e
						}
						break
					}
				}
			}
			if got != want || fmt.Sprint(err) != wantErr || time.Since(at) != took {
				t.Errorf("got %q, %v after %v; want %q, %s after %v", got, err, time.Since(at), want, wantErr, took)
			}
		}
		f("none one", "<nil>", 0)
		f("overload two", "<nil>", time.Second)
		f("none data: three\n\ndata: four\n\n", "<nil>", 0)
		f("", io.ErrNoProgress.Error(), 0)
		f("none five", io.ErrUnexpectedEOF.Error(), 2*time.Minute)
		f("", pipeline.ErrLost.Error(), 10*time.Minute)
		f("", pipeline.ErrLost.Error(), 10*time.Minute)
		if p.Calls() != 7 || p.Cancelled() != 2 || p.Open() != 0 || p.Err() != nil || p.Causes()[0] != pipeline.ErrLost || p.Requests()[6] != "{}" {
			t.Errorf("%d calls, %d cancelled, %d open, %v", p.Calls(), p.Cancelled(), p.Open(), p.Err())
		}
		if time.Since(began) < time.Minute {
			t.Error("no time passed")
		}
	})
}

func TestLoadAndAsk(t *testing.T) {
	pipetest.NoLeaks(t)
	p := pipetest.NewProvider(pipetest.Streams("hello"))
	call := pipetest.Fixed[pipeline.Handler]("call", pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		return ex.Targets[0].Provider.Call(ctx, ex)
	}))
	s := pipetest.Load(t, config.Registry{call}, "routes: [ { name: \"${NAME}\", match: { path: / }, chain: [ call ] } ]", "NAME=x")
	if s.Routes[0].Name != "x" {
		t.Errorf("route %q", s.Routes[0].Name)
	}
	if got := pipetest.Ask(t, s.Routes[0].Chain, `{"stream":true}`, p); got != "data: hello\n\n" {
		t.Errorf("got %q", got)
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
}
