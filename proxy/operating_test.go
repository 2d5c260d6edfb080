package proxy

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline/config"
)

// docs/operating.md has every metric of the edge, every member of a line of the access
// log, and every setting that takes a restart.
func TestOperatingDoc(t *testing.T) {
	t.Parallel()
	read := func(file string) string {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	doc := read("../docs/operating.md")
	f := func(what, name string) {
		t.Helper()
		if !regexp.MustCompile("`" + regexp.QuoteMeta(name) + "[`{]").MatchString(doc) {
			t.Errorf("the %s %s is not in docs/operating.md", what, name)
		}
	}
	found := func(file, pattern string, least int) (names []string) {
		t.Helper()
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(file), -1) {
			names = append(names, m[1])
		}
		if len(names) < least {
			t.Fatalf("%s: only %d match %s", file, len(names), pattern)
		}
		return names
	}
	for _, name := range found("metrics.go", `"(headrace_[a-z_]+)"`, 9) {
		f("metric", name)
	}
	for _, name := range found("access.go", `"([a-z_]+)":`, 16) {
		f("member", name)
	}
	start := config.DefaultServer()
	start.TLS = &config.TLS{}
	for _, name := range kept(&start, &config.Server{}) {
		f("setting", name)
	}
	if !strings.Contains(read("../README.md"), "(docs/operating.md)") {
		t.Error("the README does not lead to docs/operating.md")
	}
}
