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
