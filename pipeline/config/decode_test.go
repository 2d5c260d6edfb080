package config_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// decoded returns the settings of the component kinds, and otherwise the first
// problem without its place.
func decoded(t *testing.T, settings string, env ...string) (kinds, string) {
	t.Helper()
	s, err := config.Load(t.Context(), source(file("[ kinds: { "+settings+" } ]"), env...), registry, nil, nil)
	if err != nil {
		problems, _ := errors.AsType[config.Problems](err)
		p := problems[0]
		return kinds{}, strings.TrimPrefix(p.Path, "routes[0].chain[0].kinds") + ": " + p.Msg
	}
	defer s.Release()
	k := at(s, 0).settings.(kinds)
	if len(k.List) == 1 && k.List[0] == "changed" {
		k.List = nil // Build did that, to its own copy
	}
	delete(k.Map, "y")
	return k, ""
}

func TestDecode(t *testing.T) {
	f := func(settings string, want func(k kinds) bool, env ...string) {
		t.Helper()
		k, problem := decoded(t, settings, env...)
		if problem != "" || !want(k) {
			t.Errorf("%s: %+v %s", settings, k, problem)
		}
	}
	f("", func(k kinds) bool {
		return k.Int == 3 && k.Wait == time.Second && k.Map["x"] == 1 && k.Inner.Weight == 7 && k.Mode == "slow"
	})
	f("int: -5, bool: true, small: -128, count: 65535, float: 1e-3", func(k kinds) bool {
		return k.Int == -5 && k.Bool && k.Small == -128 && k.Count == 65535 && k.Float == 0.001
	})
	f("int: 0", func(k kinds) bool { return k.Int == 0 })
	f("int: null, wait: ~, list: null", func(k kinds) bool { return k.Int == 3 && k.Wait == time.Second })
	f("wait: 1m30s, shift: -5m", func(k kinds) bool { return k.Wait == 90*time.Second && k.Shift == -5*time.Minute })
	f("wait: 0", func(k kinds) bool { return k.Wait == 0 })
	f("size: 64KiB", func(k kinds) bool { return k.Size == 64<<10 })
	f("size: 1.5 kB", func(k kinds) bool { return k.Size == 1500 })
	f("size: 77", func(k kinds) bool { return k.Size == 77 })
	f("ratio: 5%", func(k kinds) bool { return k.Ratio == 0.05 })
	f("ratio: 0.5", func(k kinds) bool { return k.Ratio == 0.5 })
	f("text: yes, secret: 0123", func(k kinds) bool { return k.Text == "yes" && k.Secret == "0123" })
	f("text: ééééé", func(k kinds) bool { return k.Text == "ééééé" })
	f("text: true", func(k kinds) bool { return k.Text == "true" })
	f("color: red", func(k kinds) bool { return k.Color.name == "red" })
	f("durations: [1s, 2s]", func(k kinds) bool { return len(k.Durations) == 2 && k.Durations[1] == 2*time.Second })
	f("map: { a: 5 }", func(k kinds) bool { return len(k.Map) == 1 && k.Map["a"] == 5 })
	f("maybe: 4", func(k kinds) bool { return k.Maybe != nil && *k.Maybe == 4 })
	f("bool: false", func(k kinds) bool { return k.Maybe == nil && k.Optional == nil })
	f("inner: { weight: 1 }", func(k kinds) bool { return k.Inner == inner{"me", 1} })
	f("inners: [ { name: a }, { name: b, weight: 2 } ]", func(k kinds) bool { return len(k.Inners) == 2 && k.Inners[1].Weight == 2 })
	f("by_name: { a: { name: b } }", func(k kinds) bool { return k.ByName["a"].Name == "b" })
	f("optional: { name: b }", func(k kinds) bool { return k.Optional.Name == "b" })
	f("common: here", func(k kinds) bool { return k.Common == "here" })

	// Variables take the type of the setting, in quotes or not.
	f(`int: "${N:-5}"`, func(k kinds) bool { return k.Int == 5 })
	f(`int: "1${N}"`, func(k kinds) bool { return k.Int == 10 }, "N=0")
	f(`bool: "${B}"`, func(k kinds) bool { return k.Bool }, "B=true")
	f(`wait: "${W}", size: "${S}"`, func(k kinds) bool { return k.Wait == time.Minute && k.Size == 1<<20 }, "W=1m", "S=1MiB")
	f(`text: "${T}"`, func(k kinds) bool { return k.Text == "[a]" }, "T=[a]")
	f(`list: [ "${T}" ], maybe: "${N:-}", inner: "${N:-}"`, func(k kinds) bool { return k.Maybe == nil && k.Inner.Name == "me" }, "T=a, b")
	f(`common: "${http_proxy}${aZ09_z}${A}$$5 $ ${_a9:-$}$"`, func(k kinds) bool { return k.Common == "lmu$$5 $ $$" }, "http_proxy=l", "aZ09_z=m", "A=u")
	f(`common: "$${A} ${A:+set} ${U:+not}${U:-or }${A:-no}"`, func(k kinds) bool { return k.Common == "${A} set or x" }, "A=x")
	f(`common: "`+strings.Repeat("${U:-", 8)+"x"+strings.Repeat("}", 8)+`"`, func(k kinds) bool { return k.Common == "x" })
	// An empty one leaves the default, except for text, which may be empty.
	f(`wait: "${W:-}", int: "${W:-}", mode: "slow"`, func(k kinds) bool { return k.Wait == time.Second && k.Int == 3 })
	f(`common: "${W:-}"`, func(k kinds) bool { return k.Common == "" })
}

func TestDecodeProblems(t *testing.T) {
	f := func(settings, want string, env ...string) {
		t.Helper()
		if _, got := decoded(t, settings, env...); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", settings, got, want)
		}
	}
	f("bool: yes", `.bool: "yes" is not true or false; write true`)
	f("bool: off", `.bool: "off" is not true or false; write false`)
	f(`bool: "true"`, `.bool: want true or false; write true without quotes`)
	f("bool: 1", `.bool: "1" is not true or false`)
	f("bool: [true]", `.bool: want a single value, not a list`)
	f("int: many", `.int: "many" is not a whole number`)
	f("int: 1.0", `.int: "1.0" is not a whole number`)
	f("int: 0x10", `.int: "0x10" is not a whole number`)
	f(`int: "5"`, `.int: want a whole number; write 5 without quotes`)
	f("int: 11", `.int: must be at most 10`)
	f("int: -6", `.int: must be at least -5`)
	f("small: 128", `.small: "128" is too large`)
	f("count: -1", `.count: "-1" is not a whole number`)
	f("float: .inf", `.float: ".inf" is not a number`)
	f("float: NaN", `.float: "NaN" is not a number`)
	f("float: 1e999", `.float: "1e999" is too large`)
	f("float: 2", `.float: must be at most 1.5`)
	f("text: a", `.text: must be at least 2 characters long`)
	f("text: aaaaaa", `.text: must be at most 5 characters long`)
	f("text: { a: b }", `.text: want a single value, not a mapping`)
	f("mode: fats", `.mode: "fats" is not allowed; allowed: fast, slow`)
	f("wait: 5", `.wait: "5" has no unit; write 5s or 5ms`)
	f("wait: fast", `.wait: "fast" is not a duration; write 300ms, 10s or 5m`)
	f("wait: -1s", `.wait: must be at least 0s`)
	f("wait: 2h", `.wait: must be at most 1h`)
	f("size: 5 MiBs", `.size: "5 MiBs" is not a size; write 64KiB, 10MB, 1GiB or a number of bytes`)
	f("size: -1", `.size: "-1" is not a size; write 64KiB, 10MB, 1GiB or a number of bytes`)
	f("size: 9000000TiB", `.size: "9000000TiB" is not a size; write 64KiB, 10MB, 1GiB or a number of bytes`)
	f("size: 2MiB", `.size: must be at most 1MiB`)
	f("ratio: 5", `.ratio: 5 is more than the whole; write 5% or 0.05`)
	f("ratio: 51%", `.ratio: must be at most 50%`)
	f("ratio: -5%", `.ratio: "-5%" is not a share; write 5% or 0.05`)
	f("color: green", `.color: "green" is no color; write red or blue`)
	f("list: a", `.list: want a list, as in [ a, b ], not "a"`)
	f("list: [a, b, c, d]", `.list: must be at most 3 long`)
	f("list: [a, null]", `.list[1]: must not be empty`)
	f("durations: [1s, 2]", `.durations[1]: "2" has no unit; write 2s or 2ms`)
	f("map: { a: b }", `.map.a: "b" is not a whole number`)
	f("map: [a]", `.map: want a mapping, as in { key: value }, not a list`)
	f("maybe: 0", `.maybe: must be at least 1`)
	f("inner: 5", `.inner: want settings, as in { key: value }, not "5"`)
	f(`inner: { name: "" }`, `.inner.name: must not be empty`)
	f("inners: [ { weight: 1 } ]", `.inners[0]: missing required setting "name"`)
	f("inners: [ { name: odd, weight: 2 } ]", `.inners[0]: an odd weight is needed`)
	f("by_name: { a: { name: a, nam: b } }", `.by_name.a: unknown setting "nam"; known: name, weight`)
	f("optional: {}", `.optional: missing required setting "name"`)
	f("itn: 5", `: unknown setting "itn"; known: bool, int, small, count, float, text, mode, wait, shift, size, ratio, `+
		`secret, color, list, durations, map, maybe, inner, inners, by_name, optional, common`)

	f(`int: "${N}"`, `.int: variable N is not set; set it, or write ${N:-default}`)
	f(`int: "${N}"`, `.int: "x" is not a whole number`, "N=x")
	f(`int: "${N.x}"`, `.int: ${N. is not understood; write ${N}, ${N:-default} or ${N:+word}`, "N=x")
	f(`int: "${N[x}"`, `.int: ${N[ is not understood; write ${N}, ${N:-default} or ${N:+word}`, "N=x")
	f(`int: "${N"`, `.int: "${" without "}"; write $${ for a literal ${`, "N=x")
	f(`common: "`+strings.Repeat("${U:-", 9)+"x"+strings.Repeat("}", 9)+`"`, `.common: variables are nested too deeply`)
	f("text: é", `.text: must be at least 2 characters long`)
	f(`inner: { name: "${N:-}" }`, `.inner.name: must not be empty`) // its default is not
	f(`list: "${N}"`, `.list: want a list, as in [ a, b ], not "[a, b]"`, "N=[a, b]")
}

// bare has no settings.
type bare struct{}

func (c bare) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &stage{born(env), c}, nil
}

// needy needs what may be zero, and its Validate may panic.
type needy struct {
	// On may be false.
	On bool `yaml:"on" check:"required"`
	// N may be 0.
	N int `yaml:"n" check:"required"`
	// U may be 0.
	U uint `yaml:"u" check:"required"`
	// F may be 0.
	F float64 `yaml:"f" check:"required"`
	// Panics makes Validate panic.
	Panics bool `yaml:"panics"`
}

func (c needy) Validate() error {
	if c.Panics {
		panic("as asked")
	}
	return nil
}

func (c needy) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &stage{born(env), c}, nil
}

func TestRequired(t *testing.T) {
	reg := append(config.Registry{
		config.Define[pipeline.Handler]("bare", bare{}, ""),
		config.Define[pipeline.Handler]("needy", needy{N: 1}, ""),
	}, registry...)
	f := func(chain, want string) {
		t.Helper()
		got := ""
		if ps, ok := errors.AsType[config.Problems](config.Check(source(file(chain)), reg)); ok {
			got = strings.TrimPrefix(ps[0].Path, "routes[0].chain[0]") + ": " + ps[0].Msg
		}
		if got != want {
			t.Errorf("%s: %s, want %s", chain, got, want)
		}
	}
	f("[ bare ]", "")
	f("[ bare: {} ]", "")
	f("[ bare: { x: 1 } ]", `.bare: unknown setting "x"; there are none`)
	f("[ needy: { on: false, n: 0, u: 0, f: 0 } ]", "")
	f("[ needy: { u: 0, f: 0, on: false } ]", "")
	f("[ needy: { on: false, n: 0, u: 0 } ]", `.needy: missing required setting "f"`)
	f("[ needy: { on: false, n: 0, u: 0, f: 0, panics: true } ]", ".needy: panic: as asked")
}

// Defaults are copied, so that neither a file nor a component can change them
// for the next.
func TestDefaultsAreCopied(t *testing.T) {
	before := kindsDefaults
	decoded(t, "map: { z: 1 }, inner: { weight: 0 }")
	decoded(t, "")
	if diff := cmp.Diff([]string{"a", "b"}, kindsDefaults.List); diff != "" {
		t.Error(diff)
	}
	if len(kindsDefaults.Map) != 1 || kindsDefaults.Inner != before.Inner {
		t.Errorf("the defaults became %+v", kindsDefaults)
	}
}
