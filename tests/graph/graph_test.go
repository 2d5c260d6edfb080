// Package graph holds the test that no package imports what it must not.
package graph

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/tests/harness"
)

const module = "github.com/headrace/headrace/"

// rules say what a package may import. A package follows the first rule whose
// name fits it: the name itself, or a folder with everything below it where it
// ends in a slash. Imports are written the same way; "..." stands for any module
// of others, "/" for any package of this one. What begins with "!" is refused
// whatever else fits.
//
// A plugin imports no plugin and no provider, so that each can be left out of a
// build; what only one package may know (fasthttp's request context, YAML) is
// not known elsewhere.
var rules = []struct {
	of  string
	may []string
	why string // nothing else may be
}{
	{"pipeline/chat", nil, "it is a parser: the standard library is enough"},
	{"pipeline/sse", nil, "it is a parser: the standard library is enough"},
	{"pipeline/lru", []string{"github.com/hashicorp/golang-lru/v2/"}, "it is a container and knows nothing of us"},
	{"pipeline", []string{"pipeline/chat", "pipeline/sse", "github.com/valyala/fasthttp", "github.com/google/uuid"}, "it is the vocabulary of everything"},
	{"pipeline/config", []string{"pipeline", "pipeline/chat", "go.yaml.in/yaml/v3", "github.com/prometheus/"}, "it knows no component"},
	{"pipeline/pipetest", []string{"pipeline", "pipeline/", "..."}, "it knows no component"},
	{"pipeline/ingest", []string{"!pipeline/config", "!pipeline/pipetest", "pipeline", "pipeline/", "golang.org/x/net/html", "golang.org/x/net/html/", "golang.org/x/text/"}, "it reads documents and writes to stores, and knows none"},
	// What several plugins or providers share: engines and vocabularies.
	{"pipeline/", []string{"!pipeline/config", "!pipeline/pipetest", "pipeline", "pipeline/", "github.com/valyala/fasthttp"}, "it is shared by components and knows none, nor their settings"},
	{"plugins/standard", []string{"pipeline/config", "plugins/", "providers/"}, "it is a list and nothing else"},
	{"plugins/", []string{"!pipeline/pipetest", "pipeline", "pipeline/", "..."}, "a plugin knows no other plugin and no provider"},
	{"providers/upstream", []string{"!pipeline/pipetest", "!pipeline/config", "pipeline", "pipeline/", "..."}, "a transport knows no provider"},
	{"providers/", []string{"!pipeline/pipetest", "pipeline", "pipeline/", "providers/upstream", "..."}, "a provider knows no plugin and no other provider"},
	{"proxy", []string{"!pipeline/pipetest", "pipeline", "pipeline/", "..."}, "the edge knows no component"},
	{"cmd", []string{".", "pipeline", "pipeline/config", "pipeline/", "!pipeline/pipetest", "proxy", "..."}, "a build chooses its components, not the command line"},
	{"cmd/headrace", []string{"cmd", "plugins/standard"}, "a build is one call"},
	{"benchmarks", []string{"/", "..."}, ""},
	{"benchmarks/", []string{"/", "..."}, ""},
	{"tests/", []string{"/", "..."}, ""},
	{".", nil, "it holds the shipped configuration"},
}

func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-f", `{{range .Imports}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}`, "./...")
	cmd.Dir = harness.Root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	seen := 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); seen++ {
		from, to, _ := strings.Cut(lines.Text(), " ")
		check(t, short(from), short(to))
	}
	if seen < 50 {
		t.Errorf("go list named %d imports only", seen)
	}
}

// short is a path inside the module, "." for its root; others stay as they are.
func short(path string) string {
	if path == strings.TrimSuffix(module, "/") {
		return "."
	}
	return strings.TrimPrefix(path, module)
}

// The map in CONTRIBUTING.md has every package of the pipeline.
func TestMap(t *testing.T) {
	root := harness.Root(t)
	doc, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, listed, _ := strings.Cut(string(doc), "\npipeline/ ")
	listed, _, _ = strings.Cut(listed, "\nplugins/ ")
	folders, err := os.ReadDir(filepath.Join(root, "pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if f.IsDir() && !regexp.MustCompile(`(?m)^  (\w+, )*`+f.Name()+`(, \w+)*   ?`).MatchString(listed) {
			t.Errorf("CONTRIBUTING.md does not say what pipeline/%s is", f.Name())
		}
	}
}

// Every module that is asked for by name has a line in DESIGN.md, and no other has one.
func TestDependencies(t *testing.T) {
	root := harness.Root(t)
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	_, table, _ := strings.Cut(read("DESIGN.md"), "\n## Dependencies\n")
	var listed []string
	for row := range strings.Lines(table) {
		if cells := strings.Split(row, "|"); len(cells) > 3 && strings.Contains(cells[1], "/") {
			for name := range strings.SplitSeq(cells[1], ",") {
				listed = append(listed, strings.TrimSpace(name))
			}
		}
	}
	var direct []string
	for line := range strings.Lines(read("go.mod")) {
		if m := regexp.MustCompile(`^\t(\S+) v\S+\n$`).FindStringSubmatch(line); m != nil {
			direct = append(direct, strings.TrimPrefix(m[1], "github.com/"))
		}
	}
	// A line may name the package of a module that is used.
	of := func(module, name string) bool { return fits(module, name) || fits(module+"/", name) }
	for _, module := range direct {
		if !slices.ContainsFunc(listed, func(name string) bool { return of(module, name) }) {
			t.Errorf("%s has no line in DESIGN.md that says what it is for", module)
		}
	}
	for _, name := range listed {
		if !slices.ContainsFunc(direct, func(module string) bool { return of(module, name) }) {
			t.Errorf("DESIGN.md has a line for %s, which go.mod does not ask for", name)
		}
	}
	if len(direct) < 15 {
		t.Errorf("go.mod asks for %v only", direct)
	}
}

func check(t *testing.T, from, to string) {
	t.Helper()
	for _, top := range []string{"benchmarks", "tests"} {
		if strings.HasPrefix(to, top+"/") && !strings.HasPrefix(from, "benchmarks") && !strings.HasPrefix(from, "tests/") {
			t.Errorf("%s must not import %s: %s is no part of the gateway", from, to, top)
		}
	}
	if host, _, _ := strings.Cut(to, "/"); !strings.Contains(host, ".") && !inside(to) {
		return // the standard library
	}
	for _, rule := range rules {
		if !fits(rule.of, from) {
			continue
		}
		for _, may := range rule.may {
			not, refused := strings.CutPrefix(may, "!")
			if refused && fits(not, to) {
				break
			}
			if fits(may, to) || may == "..." && !inside(to) || may == "/" && inside(to) {
				return
			}
		}
		t.Errorf("%s must not import %s: %s", from, to, rule.why)
		return
	}
	t.Errorf("no rule for package %s; add one, with a reason", from)
}

// inside reports whether a short path is a package of this module.
func inside(path string) bool {
	switch top, _, _ := strings.Cut(path, "/"); top {
	case ".", "pipeline", "plugins", "providers", "proxy", "cmd", "benchmarks", "tests":
		return true
	}
	return false
}

// fits reports whether the path is name, or below it where name ends in a slash.
func fits(name, path string) bool {
	return path == name || strings.HasSuffix(name, "/") && strings.HasPrefix(path, name)
}
