package config_test

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed verify_test.go
var verifySource string

// level is written in a way of its own, which the loader does not know.
type level int

func (l *level) UnmarshalYAML(*yaml.Node) error {
	*l = 7
	return nil
}

// part is a piece of settings.
type part struct {
	// N is a number.
	N int `yaml:"n" check:"min=5"`
	// Mode is one of two.
	Mode string `yaml:"mode" check:"enum=a|b"`
}

// layered has defaults far below.
type layered struct {
	// Mode is one of two.
	Mode string `yaml:"mode" check:"enum=a|b"`
	// One is one.
	One part `yaml:"one"`
	// Some may be one.
	Some *part `yaml:"some"`
	// List is several.
	List []part `yaml:"list"`
	// Map is several by name.
	Map map[string]part `yaml:"map"`
}

// custom has a level.
type custom struct {
	// Level is a level.
	Level level `yaml:"level"`
}

// twice has two settings of one name.
type twice struct {
	// X is one.
	X int `yaml:"x"`
	// Y is another.
	Y int `yaml:"x"`
}

// Embedded is exported, so that it would be a setting.
type Embedded struct {
	// A is a text.
	A string `yaml:"a"`
}

// untagged forgets to say inline.
type untagged struct{ Embedded }

// points is inline through a pointer.
type points struct {
	*Embedded `yaml:",inline"`
}

// pointed has Build on a pointer.
type pointed struct{}

func (layered) Build(context.Context, config.Env) (pipeline.Handler, error)  { return nil, nil }
func (custom) Build(context.Context, config.Env) (pipeline.Handler, error)   { return nil, nil }
func (twice) Build(context.Context, config.Env) (pipeline.Handler, error)    { return nil, nil }
func (untagged) Build(context.Context, config.Env) (pipeline.Handler, error) { return nil, nil }
func (points) Build(context.Context, config.Env) (pipeline.Handler, error)   { return nil, nil }
func (*pointed) Build(context.Context, config.Env) (pipeline.Handler, error) { return nil, nil }

func TestVerify(t *testing.T) {
	f := func(c config.Component, want ...string) {
		t.Helper()
		got := ""
		if err := c.Verify(); err != nil {
			got = err.Error()
		}
		if got != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	}
	f(config.Define[pipeline.Handler]("deep", layered{}, verifySource))
	f(config.Define[pipeline.Handler]("deep", layered{Mode: "a", One: part{5, "b"}, Some: &part{}}, verifySource))
	f(config.Define[pipeline.Handler]("deep", layered{
		Mode: "z", One: part{1, "y"}, Some: &part{N: 2}, List: []part{{}, {N: 3}}, Map: map[string]part{"k": {N: 4}},
	}, verifySource),
		`mode: the default "z" is not allowed; allowed: a, b`,
		`one.n: the default must be at least 5`,
		`one.mode: the default "y" is not allowed; allowed: a, b`,
		`some.n: the default must be at least 5`,
		`list[1].n: the default must be at least 5`,
		`map.k.n: the default must be at least 5`)
	f(config.Define[pipeline.Handler]("custom", custom{}, verifySource),
		"level: UnmarshalYAML of config_test.level is never called; settings that are written in a way of their own implement encoding.TextUnmarshaler")
	f(config.Define[pipeline.Handler]("twice", twice{}, verifySource), "x: X and Y have the same yaml name")
	f(config.Define[pipeline.Handler]("untagged", untagged{}, verifySource),
		`config_test.untagged.Embedded has no yaml name; settings of an embedded struct need the tag yaml:",inline"`)
	f(config.Define[pipeline.Handler]("when", layered{}, verifySource), `the name "when" is taken: it switches the component beside which it stands`)
}

// TestDefineRefuses needs what cannot be settings to be told where it is defined.
func TestDefineRefuses(t *testing.T) {
	f := func(want string, define func()) {
		t.Helper()
		defer func() {
			t.Helper()
			if got := fmt.Sprint(recover()); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}()
		define()
	}
	f(`BUG: component "p": its settings are a *config_test.pointed, and have to be a struct; give Build a receiver that is no pointer`,
		func() { config.Define[pipeline.Handler]("p", &pointed{}, "") })
	f("BUG: config_test.points.Embedded: only the settings of a struct can be inline, not those of a *config_test.Embedded",
		func() { config.Define[pipeline.Handler]("p", points{}, "") })
	f(`BUG: config_test.mischecked.N: there is no check "atleast"; there are required, min, max and enum`,
		func() { config.Define[pipeline.Handler]("p", mischecked{}, "") })
}

type mischecked struct {
	N int `yaml:"n" check:"max=5, atleast=3"`
}

func (mischecked) Build(context.Context, config.Env) (pipeline.Handler, error) { return nil, nil }
