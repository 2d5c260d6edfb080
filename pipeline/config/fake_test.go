package config_test

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed fake_test.go
var fakeSource string

// registry is what the files of these tests are made of. None of it does
// anything but tell how it was built.
var registry = config.Registry{
	config.Define[pipeline.Handler]("pass", pass{TTL: time.Minute}, fakeSource),
	config.Define[pipeline.Handler]("nest", nest{}, fakeSource),
	config.Define[pipeline.Handler]("kinds", kindsDefaults, fakeSource),
	config.Define[pipeline.Handler]("fail", fail{}, fakeSource),
	config.Define[pipeline.Handler]("guard", guard{Closed: true}, fakeSource),
	config.Define[pipeline.Handler]("call", call{}, fakeSource),
	config.Define[pipeline.Handler]("look", look{}, fakeSource),
	config.Define[pipeline.Provider]("answer", answer{Text: "yes"}, fakeSource),
	config.Define[pipeline.CacheStore]("memory", memory{Max: 1 << 20}, fakeSource),
	config.Define[*index]("index", indexed{}, fakeSource),
}

// A life is what every fake component has: how it was built, and whether it was
// closed.
type life struct {
	env    config.Env
	closed atomic.Int32
}

func born(env config.Env) *life {
	l := &life{env: env}
	env.Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "fake_built_total", Help: "Built."}, func() float64 { return 1 }))
	open.Add(1)
	return l
}

// open counts the fake components that are built and not closed.
var open atomic.Int64

func (l *life) Close() error {
	open.Add(-1)
	if l.closed.Add(1) > 1 {
		panic("closed twice: " + l.env.Name)
	}
	return nil
}

// A stage is a fake plugin once built.
type stage struct {
	*life
	settings any
}

func (*stage) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	return next.Handle(ctx, ex)
}

// pass does nothing.
type pass struct {
	// TTL is a duration.
	TTL time.Duration `yaml:"ttl" check:"min=1ms"`
	// Store is a store.
	Store config.Ref[pipeline.CacheStore] `yaml:"store"`
	// Note is text.
	Note string `yaml:"note"`
	// File is read.
	File string `yaml:"file"`
}

func (c pass) Files() []string { return []string{c.File} }

func (c pass) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &stage{born(env), c}, nil
}

// nest holds chains.
type nest struct {
	// Each is a chain per target.
	Each config.Each `yaml:"each"`
	// Branches are chains.
	Branches []pipeline.Chain `yaml:"branches"`
	// Then is a chain.
	Then pipeline.Chain `yaml:"then"`
}

func (c nest) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &stage{born(env), c}, nil
}

// fail does not build.
type fail struct {
	// With is the error.
	With config.Secret `yaml:"with"`
	// Panics makes it panic.
	Panics bool `yaml:"panics"`
}

func (c fail) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	if c.Panics {
		panic("as asked")
	}
	if c.With == "" {
		return &stage{born(env), c}, nil
	}
	return nil, fmt.Errorf("connect with %s: %w", string(c.With), errors.New("refused"))
}

// guard refuses everybody, or claims to.
type guard struct {
	// Closed makes it refuse.
	Closed bool `yaml:"closed"`
}

type guarding struct {
	stage
	closed bool
}

func (g *guarding) Guards() bool { return g.closed }

func (c guard) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &guarding{stage{born(env), c}, c.Closed}, nil
}

// call asks a provider.
type call struct {
	// Provider is asked.
	Provider config.Ref[pipeline.Provider] `yaml:"provider"`
}

// Targeted implements config.Targeted.
func (c call) Targeted() bool { return c.Provider.IsZero() }

func (c call) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &stage{born(env), c}, nil
}

// answer answers.
type answer struct {
	// Text is what it says.
	Text string `yaml:"text"`
	// Key is secret.
	Key config.Secret `yaml:"key"`
	// Backup is another one.
	Backup config.Ref[pipeline.Provider] `yaml:"backup"`
}

type answerer struct {
	*life
	answer
	// Providers need not be comparable.
	_ []int
}

func (c answer) Build(_ context.Context, env config.Env) (pipeline.Provider, error) {
	return answerer{born(env), c, nil}, nil
}

func (a answerer) Call(_ context.Context, ex *pipeline.Exchange) error {
	if a.closed.Load() > 0 {
		return errors.New("called after it was closed")
	}
	ex.Response.SetBody([]byte(a.Text))
	return nil
}

// memory keeps things.
type memory struct {
	// Max is a size.
	Max config.Size `yaml:"max" check:"min=1KiB"`
}

type kept struct{ *life }

func (memory) Build(_ context.Context, env config.Env) (pipeline.CacheStore, error) {
	return &kept{born(env)}, nil
}

func (*kept) Get(context.Context, pipeline.Key) ([]byte, bool, error)        { return nil, false, nil }
func (*kept) Set(context.Context, pipeline.Key, []byte, time.Duration) error { return nil }

// indexed is a store of a kind that no port has.
type indexed struct {
	// Embed computes vectors.
	Embed config.Ref[pipeline.Provider] `yaml:"embed" check:"required"`
	// Then is a chain.
	Then pipeline.Chain `yaml:"then"`
}

type index struct{ *life }

func (indexed) Build(_ context.Context, env config.Env) (*index, error) {
	return &index{born(env)}, nil
}

// look uses an index.
type look struct {
	// In is the index.
	In config.Ref[*index] `yaml:"in"`
}

func (c look) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &stage{born(env), c}, nil
}

// A color is a scalar of its own.
type color struct{ name string }

func (c *color) UnmarshalText(text []byte) error {
	if string(text) != "red" && string(text) != "blue" {
		return fmt.Errorf("%q is no color", text)
	}
	c.name = string(text)
	return nil
}

func (color) SchemaText() string { return "red or blue" }

// kinds has a setting of every type.
type kinds struct {
	// Bool is true or false.
	Bool bool `yaml:"bool"`
	// Int is a whole number.
	Int int `yaml:"int" check:"min=-5,max=10"`
	// Small is a small one.
	Small int8 `yaml:"small"`
	// Count is not negative.
	Count uint16 `yaml:"count"`
	// Float is a number.
	Float float64 `yaml:"float" check:"max=1.5"`
	// Text is text.
	Text string `yaml:"text" check:"min=2,max=5"`
	// Mode is one of few.
	Mode string `yaml:"mode" check:"enum=fast|slow"`
	// Wait is a duration.
	Wait time.Duration `yaml:"wait" check:"min=0s,max=1h"`
	// Shift may be negative.
	Shift time.Duration `yaml:"shift" check:"min=-1h"`
	// Size is a size.
	Size config.Size `yaml:"size" check:"max=1MiB"`
	// Ratio is a share.
	Ratio config.Ratio `yaml:"ratio" check:"max=50%"`
	// Secret is secret.
	Secret config.Secret `yaml:"secret"`
	// Color is a scalar of its own.
	Color color `yaml:"color"`
	// List is a list.
	List []string `yaml:"list" check:"max=3"`
	// Durations is a list.
	Durations []time.Duration `yaml:"durations"`
	// Map is a mapping.
	Map map[string]int `yaml:"map"`
	// Maybe is a number or nothing.
	Maybe *int `yaml:"maybe" check:"min=1"`
	// Inner is nested.
	Inner inner `yaml:"inner"`
	// Inners are nested.
	Inners []inner `yaml:"inners"`
	// ByName is nested.
	ByName map[string]inner `yaml:"by_name"`
	// Optional is nested, or nothing.
	Optional *inner `yaml:"optional"`
	shared   `yaml:",inline"`
}

// inner is nested.
type inner struct {
	// Name is text.
	Name string `yaml:"name" check:"required"`
	// Weight is a number.
	Weight int `yaml:"weight"`
}

// Validate implements the check across settings.
func (i inner) Validate() error {
	if i.Name == "odd" && i.Weight%2 == 0 {
		return errors.New("an odd weight is needed")
	}
	return nil
}

// shared is inlined.
type shared struct {
	// Common is inlined.
	Common string `yaml:"common"`
}

var kindsDefaults = kinds{
	Wait: time.Second, List: []string{"a", "b"}, Map: map[string]int{"x": 1},
	Inner: inner{Name: "me", Weight: 7}, Mode: "slow", Int: 3,
}

func (c kinds) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	c.List, c.Map["y"] = append(c.List[:0], "changed"), 2 // harms nobody else
	return &stage{born(env), c}, nil
}

// file returns a configuration with one route, whose chain is as given.
func file(chain string) string {
	return strings.Replace(frame, "CHAIN", chain, 1)
}

const frame = `
providers:
  one: { answer: {} }
  two: { answer: { text: two } }
stores:
  answers: { memory: {} }
models:
  "*": [ { provider: one }, { provider: two, model: big } ]
routes:
  - { name: chat, match: { path: /v1/* }, chain: CHAIN }
`

func source(text string, env ...string) config.Source {
	return config.Source{File: "gateway.yaml", Data: []byte(text), Getenv: func(name string) (string, bool) {
		for _, e := range env {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}}
}

// load builds a file; the test fails if it has a problem.
func load(t testing.TB, old *config.Snapshot, text string, env ...string) *config.Snapshot {
	t.Helper()
	s, err := config.Load(t.Context(), source(text, env...), registry, nil, old)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return s
}

// allClosed fails the test if at its end something is open.
func allClosed(t testing.TB) {
	t.Helper()
	before := open.Load()
	t.Cleanup(func() {
		if n := open.Load() - before; n != 0 {
			t.Errorf("%d components were left open", n)
		}
	})
}

// at returns a stage of the first route.
func at(s *config.Snapshot, i int) *stage { return s.Routes[0].Chain[i].(*stage) }
