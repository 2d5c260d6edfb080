package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Tools is the folder that tests/setup.sh installs into: HEADRACE_TOOLS, or a
// folder in the user's cache.
func Tools(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("HEADRACE_TOOLS"); dir != "" {
		return dir
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "headrace-test")
}

// Tool returns the path of an installed tool. Where it is missing the test is
// skipped, unless HEADRACE_SUITES is "all", which makes that a failure.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Tools(t), name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	missing(t, "%s is not installed; run tests/setup.sh", path)
	return ""
}

// Program returns the path of a program of the machine, with the same rule.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "there is no %s on this machine", name)
	}
	return path
}

// Suite skips the test where suites in other languages are not wanted: they
// run where HEADRACE_SUITES is set, as `make suites` does.
func Suite(t testing.TB) {
	t.Helper()
	if os.Getenv("HEADRACE_SUITES") == "" {
		t.Skip("HEADRACE_SUITES is not set; `make suites` runs this")
	}
}

func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("HEADRACE_SUITES") == "all" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
