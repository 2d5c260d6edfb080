package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/headrace/headrace/pipeline/config"
)

// Whatever the file, the loader does not panic, and says of each problem where
// in the file it is.
func FuzzLoad(f *testing.F) {
	cases, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(cases) == 0 {
		f.Fatalf("no seeds (%v)", err)
	}
	for _, file := range append(cases, "../../gateway.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		yaml, _, _ := strings.Cut(string(text), "\n-----")
		f.Add(yaml)
	}
	f.Add(builtFile)
	f.Add(file("[ kinds: { list: [a], maybe: 5, inner: { name: a }, by_name: { a: { name: b } }, wait: \"${A:-${B:+x}}\" } ]"))
	f.Add("a: &a\n  b: *a\n")
	f.Add("a:\n- b\n - c\n")
	f.Add("? a\n: b\n? [c]\n")
	f.Add("routes:\n- \"\\x00")
	f.Add("%YAML 1.1\n---\n--- {}\n...\n")
	f.Add("a: |\n  ${X}\nb: >-\n  x\r\n\tb")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 64<<10 {
			t.Skip("no more to be learnt from larger files")
		}
		s, err := config.Load(t.Context(), source(text, "A=a", "EMPTY="), registry, nil, nil)
		if err == nil {
			s.Release()
			return
		}
		var ps config.Problems
		if !errors.As(err, &ps) || len(ps) == 0 {
			t.Fatalf("not Problems: %v", err)
		}
		lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
		for _, p := range ps {
			if p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > utf8.RuneCountInString(lines[p.Line-1])+1 {
				t.Errorf("outside of the file's %d lines: %v", len(lines), p)
			}
			if p.Msg == "" || strings.ContainsAny(p.Error(), "\n\r") {
				t.Errorf("not one line: %q", p.Error())
			}
		}
	})
}
