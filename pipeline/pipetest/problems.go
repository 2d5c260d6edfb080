package pipetest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline/config"
)

var dashes = regexp.MustCompile(`(?m)^-{4,}\n`)

// Problems loads every *.txt file of dir. Each holds a configuration, a line of
// four dashes or more, and exactly the problems that it has, one a line, or
// nothing. Lines that begin with "#env " set variables: "#env NAME=value".
//
// Run with HEADRACE_UPDATE=1 in the environment, it rewrites what is behind the
// dashes instead.
func Problems(t *testing.T, reg config.Registry, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s (%v)", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			at := dashes.FindIndex(text)
			if at == nil {
				t.Fatalf("%s has no line of dashes", file)
			}
			yaml, want := string(text[:at[0]]), strings.TrimSpace(string(text[at[1]:]))
			got := ""
			s, err := config.Load(t.Context(), source(yaml, envOf(yaml)), reg, nil, nil)
			if err != nil {
				got = err.Error()
			} else {
				s.Release()
			}
			switch {
			case got == want:
			case os.Getenv("HEADRACE_UPDATE") != "":
				if err := os.WriteFile(file, append(text[:at[1]:at[1]], (got+"\n")...), 0o600); err != nil { //nolint:gosec // the test's own folder
					t.Fatal(err)
				}
			default:
				t.Errorf("%s has the problems\n%s\nand should have\n%s", file, got, want)
			}
		})
	}
}

// source makes a file that is called gateway.yaml.
func source(yaml string, env []string) config.Source {
	return config.Source{File: "gateway.yaml", Data: []byte(yaml), Getenv: func(name string) (string, bool) {
		for _, e := range env {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}}
}

// envOf returns the variables that a case sets.
func envOf(yaml string) []string {
	var env []string
	for line := range strings.Lines(yaml) {
		if e, ok := strings.CutPrefix(strings.TrimSpace(line), "#env "); ok {
			env = append(env, e)
		}
	}
	return env
}
