package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/tests/harness"
)

// pages are the project's documents, by their path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	root := harness.Root(t)
	cmd := exec.Command("git", "ls-files", "*.md", "gateway.yaml", "examples/*.yaml", "Dockerfile")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("this is no checkout: %v", err)
	}
	all := map[string]string{}
	for name := range strings.FieldsSeq(string(out)) {
		if name == "CHANGELOG.md" || strings.HasPrefix(name, "examples/corpus/") {
			continue // it tells of what was; and is data
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(text)
	}
	if len(all) < 30 {
		t.Fatalf("there are only %d documents", len(all))
	}
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Links between documents lead somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	root := harness.Root(t)
	all := pages(t)
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to, anchor, _ := strings.Cut(m[1], "#")
			path := page
			if to != "" {
				path = filepath.Join(filepath.Dir(page), to)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, m[1])
			}
			if anchor != "" && !slices.Contains(anchors(all[path]), anchor) {
				t.Errorf("%s: %s has no heading of the link %s", page, path, m[1])
			}
		}
	}
}

// anchors are those of a page's headings, as they are made where it is shown.
func anchors(text string) (out []string) {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, strings.ReplaceAll(plain, " ", "-"))
	}
	return out
}

var (
	called = regexp.MustCompile("(?m)\\bheadrace (run|ingest|eval|check|docs|schema|version)\\b([^`\\n#|]*)")
	flag   = regexp.MustCompile(`(?:^|\s)(--[a-z-]+)`)
	made   = regexp.MustCompile("(?m)(?:`|^)make ([a-z-]+)(?:`| [A-Z]+=| +#|$)")
	target = regexp.MustCompile(`(?m)^([a-z-]+):`)
)

// What documents tell to type is there: the program's flags, and make's targets.
func TestCommands(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(harness.Root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, m := range target.FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, m[1])
	}
	help, seen := map[string]string{}, 0
	for page, text := range pages(t) {
		for _, m := range called.FindAllStringSubmatch(text, -1) {
			if help[m[1]] == "" {
				help[m[1]], _ = command(t, nil, m[1], "--help")
			}
			for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
				if seen++; !regexp.MustCompile(regexp.QuoteMeta(f[1]) + `\b`).MatchString(help[m[1]]) {
					t.Errorf("%s: headrace %s has no %s", page, m[1], f[1])
				}
			}
		}
		for _, m := range made.FindAllStringSubmatch(text, -1) {
			if seen++; !slices.Contains(targets, m[1]) {
				t.Errorf("%s: make has no target %s", page, m[1])
			}
		}
	}
	if seen < 15 {
		t.Errorf("documents tell to type %d things only", seen)
	}
}
