package e2e

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/headrace/headrace/tests/harness"
)

// example is a request of docs/api.md, and the answer that it shows.
var example = regexp.MustCompile("(?s)```http\n([A-Z]+) (\\S+)\n(.*?)```\n\n```json\n(.*?)```")

// The examples of docs/api.md get answers with the fields that they show, of the same
// types, and no others. Null in an example is anything.
func TestAPIExamples(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := example.FindAllSubmatch(doc, -1)
	if n := strings.Count(string(doc), "```http\n"); len(all) != n || n < 10 {
		t.Fatalf("%d of %d examples can be read", len(all), n)
	}
	const admin = "admin-key"
	g := harness.Start(t, "gateway.yaml", "HEADRACE_ADMIN_KEY="+admin, "HEADRACE_KEYS=default=a-key")
	for _, m := range all {
		method, path, body := string(m[1]), string(m[2]), string(m[3])
		req, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(g.Root, "/")+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer a-key")
		if strings.HasPrefix(path, "/admin/") {
			req.Header.Set("Authorization", "Bearer "+admin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // read to its end
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if err := json.Unmarshal(m[4], &want); err != nil {
			t.Fatalf("%s %s: the answer shown is no JSON: %v", method, path, err)
		}
		if err := json.Unmarshal(said, &got); err != nil || resp.StatusCode/100 != 2 {
			t.Errorf("%s %s: %s\n%s", method, path, resp.Status, said)
			continue
		}
		for _, d := range differences("", want, got) {
			t.Errorf("%s %s: %s\n%s", method, path, d, said)
		}
	}
}

// differences says in which fields and types got is not as want. Of a list the first
// elements count.
func differences(at string, want, got any) (out []string) {
	switch w := want.(type) {
	case nil:
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T, and no object", at, got)}
		}
		for k := range w {
			if _, ok := g[k]; !ok {
				out = append(out, at+"."+k+" is missing")
				continue
			}
			out = append(out, differences(at+"."+k, w[k], g[k])...)
		}
		for k := range g {
			if _, ok := w[k]; !ok {
				out = append(out, at+"."+k+" is not shown")
			}
		}
	case []any:
		g, ok := got.([]any)
		switch {
		case !ok:
			return []string{fmt.Sprintf("%s is %T, and no list", at, got)}
		case len(w) > 0 && len(g) == 0:
			return []string{at + " is empty"}
		case len(w) > 0:
			return differences(at+"[0]", w[0], g[0])
		}
	default:
		if got != nil && fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			out = append(out, fmt.Sprintf("%s is %T, and not %T", at, got, want))
		}
	}
	slices.Sort(out)
	return out
}

// Below /v1 a retrieval's errors are OpenAI's; everywhere else they are those of the
// service that had it first.
func TestRetrieveErrors(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, "")
	f := func(url, body string, status int, want string) {
		t.Helper()
		a := send(t, url, body)
		if a.StatusCode != status || !strings.Contains(a.body, want) {
			t.Errorf("%s %s: want %d with %s, got %v", url, body, status, want, a)
		}
	}
	f(g.Root+"/v1/retrieve", `{"query":"gate"}`, 200, `"hits":[]`)
	f(g.Root+"/v1/retrieve", `{"query":5}`, 400, `{"error":{"message":"query: Input should be a valid string","type":"invalid_request_error","param":"query","code":"invalid_request"}}`)
	f(g.Root+"/v1/retrieve", `{"query":`, 400, `"code":"invalid_json"`)
	f(g.Root+"/v1/retrieve", `{"query":" "}`, 400, `{"error":{"message":"query must be non-empty","type":"invalid_request_error","param":"query","code":"missing_field"}}`)
	f(g.Root+"/v1/retrieve", `{"query":"gate","collection":""}`, 400, `"param":"collection","code":"invalid_value"`)
	f(g.Root+"/retrieve", `{"query":5}`, 422, `{"detail":[{"type":"string_type","loc":["body","query"]`)
	f(g.Root+"/retrieve", `{"query":" "}`, 400, `{"detail":"query must be non-empty"}`)
	// Nor are they an upstream's, for a method that it might know.
	f(g.Root+"/v1/retrieve", "", 405, `"code":"method_not_allowed"`)
	f(g.Root+"/retrieve", "", 405, `{"detail":"Method Not Allowed"}`)
	f(g.Root+"/v1/rag/contexts/x", `{}`, 405, "POST is not allowed on a context; use GET")
}

// docs/api.md lists the codes of errors that the sources have, and no others.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	root := harness.Root(t)
	doc, err := os.ReadFile(filepath.Join(root, "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(doc), "\n## Codes of errors\n")
	if !ok {
		t.Fatal("docs/api.md has no section of codes")
	}
	listed := map[string]bool{}
	for row := range strings.Lines(table) {
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(cells[2], -1) {
				listed[m[1]] = true
			}
		}
	}
	used := codes(t, root)
	if len(used) < 50 {
		t.Fatalf("only %d codes were found in the sources", len(used))
	}
	for code, at := range used {
		if !listed[code] {
			t.Errorf("%s: the code %s is not listed in docs/api.md", at, code)
		}
	}
	for code := range listed {
		if used[code] == "" {
			t.Errorf("docs/api.md lists the code %s, which nothing has", code)
		}
	}
}

// codes are the codes of errors in the sources, each with a place where it stands: the
// members Code, and what is given to functions that make such errors.
func codes(t *testing.T, root string) map[string]string {
	t.Helper()
	makers := []string{"Fail", "FailField", "refuse", "failure", "invalid", "failed", "gone"}
	code := regexp.MustCompile(`^(overloaded|[a-z][a-z0-9]*(_[a-z0-9]+)+)$`)
	out, files := map[string]string{}, token.NewFileSet()
	note := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && code.MatchString(s) {
				out[s] = files.Position(lit.Pos()).String()
			}
		}
	}
	called := func(e ast.Expr) string {
		switch f := e.(type) {
		case *ast.Ident:
			return f.Name
		case *ast.SelectorExpr:
			return f.Sel.Name
		}
		return ""
	}
	visit := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if called(n.Key) == "Code" {
				note(n.Value)
			}
		case *ast.AssignStmt:
			for i, to := range n.Lhs {
				if called(to) == "Code" && len(n.Rhs) == len(n.Lhs) {
					note(n.Rhs[i])
				}
			}
		case *ast.CompositeLit:
			if n.Type != nil && called(n.Type) == "violation" && len(n.Elts) > 1 {
				note(n.Elts[1])
			}
		case *ast.CallExpr:
			if slices.Contains(makers, called(n.Fun)) {
				for _, arg := range n.Args[:min(len(n.Args), 2)] {
					note(arg)
				}
			}
		}
		return true
	}
	// Those of the test kits and of the offline model, which is an upstream, are not the gateway's.
	others := []string{"pipetest", "storetest", "ragtest", "offline", "testdata"}
	for _, dir := range []string{"pipeline", "plugins", "providers", "proxy"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains(others, d.Name()):
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, visit)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}
