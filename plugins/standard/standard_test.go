package standard

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline/config"
)

//go:generate env HEADRACE_UPDATE=1 go test -count=1 -run TestReadmes .

// readmes are the components' pages, by path.
func readmes(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../p*/*/README.md") // plugins and providers
	if err != nil || len(files) == 0 {
		t.Fatalf("no README.md beside the components (%v)", err)
	}
	return files
}

var settings = regexp.MustCompile(`(?s)(<!-- settings -->\n).*?(<!-- end -->)`)

// Each component's page holds the reference of its settings, between two
// comments. With HEADRACE_UPDATE=1 in the environment it is written there.
func TestReadmes(t *testing.T) {
	for _, file := range readmes(t) {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !settings.Match(page) {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(string(page), "# "), "\n")
		want := settings.ReplaceAll(page, fmt.Appendf(nil, "${1}%s${2}", strings.ReplaceAll(table(t, name), "$", "$$")))
		switch {
		case bytes.Equal(page, want):
		case os.Getenv("HEADRACE_UPDATE") != "":
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s: the settings have changed; run make generate", file)
		}
	}
}

// table is what the reference says about a component's settings.
func table(t *testing.T, name string) string {
	t.Helper()
	docs := config.Docs(Components(), name)
	if docs == "" {
		t.Fatalf("no component is called %q", name)
	}
	_, rows, found := strings.Cut(docs, "\n| setting")
	if !found {
		return "It has no settings.\n"
	}
	return "| setting" + rows
}

var example = regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```")

// Every example is a file that the gateway takes.
func TestExamples(t *testing.T) {
	for _, file := range readmes(t) {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range example.FindAllSubmatch(page, -1) {
			if err := config.Check(config.Source{File: file, Data: m[1]}, Components()); err != nil {
				t.Errorf("%v\nin\n%s", err, m[1])
			}
		}
	}
}

func TestDefinitions(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Components() {
		if err := c.Verify(); err != nil {
			t.Error(err)
		}
		if key := c.Section() + " " + c.Name(); seen[key] {
			t.Errorf("%s stands in the list twice", c)
		} else {
			seen[key] = true
		}
	}
}
