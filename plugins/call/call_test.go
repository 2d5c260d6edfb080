package call

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// echo answers with its own name and that of the target it is asked for.
type echo struct {
	Says string `yaml:"says"`
}

func (e echo) Build(context.Context, config.Env) (pipeline.Provider, error) { return e, nil }

func (e echo) Call(_ context.Context, ex *pipeline.Exchange) error {
	name := "no target"
	if ex.Target != nil {
		name = ex.Target.Name
	}
	ex.Response.Header.SetStatusCode(200)
	ex.Response.SetBody([]byte(e.Says + " for " + name))
	return nil
}

const file = `
providers:
  a: { echo: { says: a } }
  b: { echo: { says: b } }
models:
  m: [ { provider: a, model: x }, { provider: b } ]
routes:
  - name: any
    match: { path: /v1/any }
    chain: [ call: {} ]
  - name: one
    match: { path: /v1/one }
    chain: [ call: { provider: b } ]
`

func load(t *testing.T) *config.Snapshot {
	t.Helper()
	reg := config.Registry{Plugin, config.Define[pipeline.Provider]("echo", echo{}, "package p")}
	s, err := config.Load(t.Context(), config.Source{File: "test.yaml", Data: []byte(file)}, reg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s
}

func TestCall(t *testing.T) {
	s := load(t)
	model := s.Models.Find([]byte("m"))
	f := func(route int, targets []*pipeline.Target, want string) {
		t.Helper()
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		ex.Model, ex.Targets = model, targets
		if err := s.Routes[route].Chain.Handle(ex.Context(), ex); err != nil {
			t.Fatal(err)
		}
		got, _ := ex.Response.Whole()
		if string(got) != want || ex.Attempts() != 1 {
			t.Errorf("got %q after %d attempts; want %q after one", got, ex.Attempts(), want)
		}
	}
	f(0, model.Targets, "a for a/x")
	f(0, model.Targets[1:], "b for b") // as another stage has ordered them
	f(1, model.Targets, "b for no target")
	f(1, nil, "b for no target")
}

func TestNothingToAsk(t *testing.T) {
	s := load(t)
	f := func(op pipeline.Operation, body, want string) {
		t.Helper()
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		ex.Op, ex.Request.Body = op, []byte(body)
		err := s.Routes[0].Chain.Handle(ex.Context(), ex)
		e, ok := errors.AsType[*pipeline.Error](err)
		if !ok || e.Status != 404 || e.Code != "model_not_found" || e.Param != "model" || e.Fault != pipeline.CallerFault || e.Err.Error() != want {
			t.Errorf("got %v; want 404 with %q", err, want)
		}
		if ex.Attempts() != 0 {
			t.Errorf("%d attempts", ex.Attempts())
		}
	}
	f(pipeline.OpChat, `{"model":"gpt-7"}`, `no upstream serves the model "gpt-7"`)
	f(pipeline.OpOther, "", `no upstream serves other requests without a model`)
}

func TestCallAllocatesNothing(t *testing.T) {
	if raced() {
		t.Skip("the race detector makes pools forget")
	}
	s := load(t)
	model := s.Models.Find([]byte("m"))
	quiet := pipeline.Target{Name: "quiet", Provider: provider(func(context.Context, *pipeline.Exchange) error { return nil })}
	targets := append([]*pipeline.Target{&quiet}, model.Targets...)
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() {
		ex := pipeline.Acquire(ctx)
		ex.Targets = targets
		if err := s.Routes[0].Chain.Handle(ctx, ex); err != nil {
			t.Fatal(err)
		}
		ex.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type provider func(context.Context, *pipeline.Exchange) error

func (p provider) Call(ctx context.Context, ex *pipeline.Exchange) error { return p(ctx, ex) }

// raced reports whether the race detector is on. Pools then drop what they are
// given now and then, so that allocations cannot be counted.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
