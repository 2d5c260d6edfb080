package config_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// The components of these tests do nothing but tell how they were built.

type pass struct {
	TTL      time.Duration                   `yaml:"ttl" check:"min=1ms"`
	Store    config.Ref[pipeline.CacheStore] `yaml:"store"`
	Branches []pipeline.Chain                `yaml:"branches"`
	Each     config.Each                     `yaml:"each"`
}

type passed struct {
	pass
	env    config.Env
	closed int
}

func (c pass) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &passed{pass: c, env: env}, nil
}

func (p *passed) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	return next.Handle(ctx, ex)
}

func (p *passed) Close() error { p.closed++; return nil }

type answer struct {
	Text string        `yaml:"text"`
	Key  config.Secret `yaml:"key"`
	Slow time.Duration `yaml:"slow"`
}

type answerer struct {
	answer
	env    config.Env
	closed int
}

func (c answer) Build(_ context.Context, env config.Env) (pipeline.Provider, error) {
	return &answerer{answer: c, env: env}, nil
}

func (a *answerer) Call(_ context.Context, ex *pipeline.Exchange) error {
	ex.Response.SetBody([]byte(a.Text))
	return nil
}

func (a *answerer) Close() error { a.closed++; return nil }

type memory struct {
	Max config.Size `yaml:"max" check:"min=1KiB"`
}

type kept struct{ closed int }

func (memory) Build(context.Context, config.Env) (pipeline.CacheStore, error) { return &kept{}, nil }

func (*kept) Get(context.Context, pipeline.Key) ([]byte, bool, error)        { return nil, false, nil }
func (*kept) Set(context.Context, pipeline.Key, []byte, time.Duration) error { return nil }
func (k *kept) Close() error                                                 { k.closed++; return nil }

var registry = config.Registry{
	config.Define[pipeline.Handler]("pass", pass{TTL: time.Minute}, ""),
	config.Define[pipeline.Handler]("call", pass{}, ""),
	config.Define[pipeline.Provider]("answer", answer{Text: "yes"}, ""),
	config.Define[pipeline.CacheStore]("memory", memory{Max: 1 << 20}, ""),
}

const good = `
providers:
  one: { answer: {} }
  two: { answer: { text: "${TEXT:-two}" } }
stores:
  answers: { memory: { max: 1MiB } }
models:
  "*": [ { provider: one }, { provider: two, model: big } ]
chains:
  inner: [ pass: { ttl: 1s } ]
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain:
      - pass: { store: answers, ttl: 10m, each: [ pass: { ttl: 2s } ], branches: [ [ chain: inner ], [ pass ] ] }
      - call
`

func load(t *testing.T, text string, old *config.Snapshot) *config.Snapshot {
	t.Helper()
	s, err := config.Load(t.Context(), config.Source{File: "gateway.yaml", Data: []byte(text)}, registry, nil, old)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLoad(t *testing.T) {
	s := load(t, good, nil)
	top := s.Routes[0].Chain[0].(*passed)
	t.Log(top.env.Name, top.Store.Name(), len(top.Branches), top.Branches[0][0].(*passed).env.Name, top.Branches[1][0].(*passed).env.Name)
	for _, target := range s.Targets {
		t.Log(target.Name, target.Index, top.Each.For(target)[0].(*passed).env.Name)
	}
	next := load(t, good, s)
	if next.Routes[0].Chain[0] != s.Routes[0].Chain[0] {
		t.Error("not carried over")
	}
	s.Release()
	if top.closed != 0 {
		t.Error("closed too early")
	}
	next.Release()
	if top.closed != 1 || top.Store.Get().(*kept).closed != 1 {
		t.Error("not closed")
	}
	var _ io.Closer = top
}
