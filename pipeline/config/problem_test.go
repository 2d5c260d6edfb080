package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

func TestProblems(t *testing.T) {
	allClosed(t)
	pipetest.Problems(t, registry, "testdata")
}

// Check says what Load says, short of building.
func TestCheck(t *testing.T) {
	f := func(chain string, want int) {
		t.Helper()
		err := config.Check(source(file(chain)), registry)
		var ps config.Problems
		if errors.As(err, &ps); len(ps) != want {
			t.Errorf("%s: %v", chain, err)
		}
	}
	f("[ pass ]", 0)
	f("[ fail: { with: x } ]", 0)
	f("[ fail: { wth: x }, pas ]", 2)
}

// What is meant is guessed where it is two slips away.
func TestNearest(t *testing.T) {
	f := func(section, want string) {
		t.Helper()
		ps, _ := errors.AsType[config.Problems](config.Check(source(section+": {}\n"+file("[ pass ]")), registry))
		if len(ps) != 1 || ps[0].Hint != want || ps[0].Line != 1 {
			t.Errorf("%s: %+v, want the hint %q", section, ps, want)
		}
	}
	f("Routess", "routes")
	f("rotue", "routes")
	f("rotuse", "routes") // swapped twice
	f("orutes", "routes")
	f("routesxx", "routes")
	f("routesxxx", "")
	f("ruotse", "routes")
	f("befor", "before")
	f("x", "")
	f(strings.Repeat("x", 100), "")
}

// One mistake is one problem, however often what it is in is used.
func TestSaidOnce(t *testing.T) {
	text := strings.Replace(file("[ nest: { each: [ chain: own ] }, nest: { each: [ chain: own ] } ]"), "models:", "chains: { own: [ pas ] }\nmodels:", 1)
	if ps, _ := errors.AsType[config.Problems](config.Check(source(text), registry)); len(ps) != 1 {
		t.Errorf("%v", ps)
	}
}

// Where a file stops being YAML.
func TestSyntax(t *testing.T) {
	const bare = "within { } and [ ] a value with a variable must be in quotes, as in \"${VAR}\""
	f := func(text, want string) {
		t.Helper()
		ps, _ := errors.AsType[config.Problems](config.Check(source(text), registry))
		if len(ps) != 1 || ps[0].Error() != "gateway.yaml:"+want {
			t.Errorf("%q: %v, want %s", text, ps, want)
		}
	}
	f("a: { b: \"${X} }\", c: 'it ${X}', d: ${Y} }", "1:36: "+bare)
	f("a: [ ${Y} ]", "1:6: "+bare)
	f("ä: { é: ${Y} }", "1:9: "+bare)
	f("a: 1\r\nb: { c: ${Y} }\r\n", "2:9: "+bare)
	f("a: 1\rb: { c: ${Y} }\r", "2:9: "+bare)
	f("a: { b: c # ${X}\nd: ]", "2:1: this is not YAML: a bracket or a comma is missing here or above")
	f("a: b: c", "1:5: this is not YAML: a \": \" that starts no setting; quote the value, or begin a new line")
	f("é: b: c", "1:5: this is not YAML: a \": \" that starts no setting; quote the value, or begin a new line")
	f("a:\n - 1\n b: 2", "3:2: this is not YAML: expected another \"- \" item; check the indentation")
	f("a: *b", "1:4: this is not YAML: no anchor \"b\" stands above; mark what is meant with &b")
	f("a: \ufffd\nb: *c\n", "2:4: this is not YAML: no anchor \"c\" stands above; mark what is meant with &c")
	f("a: 1\n\tb: 2", "2:1: a tab cannot indent; use spaces")
	f("a:\n  - 1\n\t- 2", "3:1: a tab cannot indent; use spaces")
	f("a: 1\r\n\x01", "2:1: control character U+0001; remove it")
	f("a: 1\r\r b\x1f", "3:3: control character U+001F; remove it")
	f("a: 1\u0085\x01", "1:6: control character U+0001; remove it")
	f("\u0080", "1:1: control character U+0080; remove it")
	f("a: \u009f", "1:4: control character U+009F; remove it")
	f("\x7f", "1:1: control character U+007F; remove it")
	f("\xfe\xff\x00a", "1:1: the file is UTF-16; save it as UTF-8")
	f(strings.ReplaceAll("\nx: 1"+file("[ pass ]"), "\n", "\r"), "2:1: unknown section \"x\"; known: server, before, providers, stores, models, chains, routes, and x-* for anchors")
}

func TestTooMuch(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		err := config.Check(source(text), registry)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 10_000 {
			t.Errorf("got %.2000v, want %s", err, want)
		}
	}
	f(strings.Repeat("#", 1<<20+1), "gateway.yaml:1:1: the file has 1048577 bytes; at most 1MiB are read")
	f("a: \xff", "gateway.yaml:1:4: byte 0xff is not UTF-8")
	f("ä: b\n\"ä\": \x00", "gateway.yaml:2:6: control character U+0000; remove it")
	f("\xff\xfea\x00", "gateway.yaml:1:1: the file is UTF-16; save it as UTF-8")
	f("x-a: "+strings.Repeat("[", 100)+strings.Repeat("]", 100), "nested more than 64 deep")
	f("x-a: "+strings.Repeat("[", 20_000), "gateway.yaml:1:1: this is not YAML: exceeded max depth of 10000")
	bomb := "x-a0: &a0 [ b, b, b, b, b, b, b, b, b, b ]\n"
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		prev := "*a" + string(n[0]-1)
		bomb += "x-a" + n + ": &a" + n + " [ " + strings.Repeat(prev+", ", 9) + prev + " ]\n"
	}
	f(bomb, "too much YAML: with its aliases written out the file has more than 100000 values")
	double := "providers: { one: { answer: {} } }\nmodels: { m: [ { provider: one } ] }\n" +
		"routes: [ { match: { path: / }, chain: [ chain: c0 ] } ]\nchains:\n"
	for c := 'a'; c < 'z'; c++ {
		next := string(c + 1)
		double += "  " + string(c) + ": [ chain: " + next + ", chain: " + next + " ]\n"
	}
	double = strings.Replace(double, "c0", "a", 1) + "  z: [ pass ]\n"
	f(double, "more than 200000 components")
}
