// Package acme tests the custom build as its users meet it: as a program.
package acme

import (
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headrace/headrace/tests/harness"
)

// build builds the gateway with the guard in it.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "acme-gateway")
	if out, err := exec.Command("go", "build", "-o", binary, "./acme-gateway").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func TestGateway(t *testing.T) {
	binary := build(t)
	file, err := filepath.Abs("acme.yaml")
	if err != nil {
		t.Fatal(err)
	}
	g := harness.StartBinary(t, binary, file)

	send := func(path, body string, status int, want string) {
		t.Helper()
		resp, err := http.Post(g.URL+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != status || !strings.Contains(string(got), want) {
			t.Errorf("%s %s: %s %s", path, body, resp.Status, got)
		}
	}
	f := func(text string, status int, want string) {
		t.Helper()
		send("/chat/completions", `{"model":"m","messages":[{"role":"user","content":`+text+`}]}`, status, want)
	}
	f(`"hello there"`, 200, "hello there")
	f(`"the password is Swordfish"`, 422, "prompt_refused")
	f(`"the password is swordf\u0069sh"`, 422, "prompt_refused")
	f(`[{"type":"text","text":"swordfish"}]`, 422, "prompt_refused")
	f(`"the password is sword"`, 200, "sword")
	send("/responses", `{"model":"m","input":"Swordfish"}`, 422, `"param":"input"`)
	send("/responses", `{"model":"m","input":[{"role":"user","content":"hello"}],"instructions":"say swordfish"}`, 422, `"param":"instructions"`)
	send("/completions", `{"model":"m","prompt":["hello","swordfish"]}`, 422, `"param":"prompt"`)
	send("/embeddings", `{"model":"m","input":"swordfish"}`, 200, "embedding")
}

// TestCommandLine: everything that the stock binary knows of its components,
// this one knows of the guard.
func TestCommandLine(t *testing.T) {
	binary := build(t)
	f := func(want string, args ...string) {
		t.Helper()
		out, _ := exec.Command(binary, args...).CombinedOutput()
		if !strings.Contains(string(out), want) {
			t.Errorf("%v: no %q in %s", args, want, out)
		}
	}
	f("are refused wherever they appear in a prompt", "docs", "guard")
	f(`"guard"`, "schema")
	f("no problems", "check", "--config", "acme.yaml")
	f("missing required", "check", "--config", "testdata/nowords.yaml")
	f("must be at most 499", "check", "--config", "testdata/nowords.yaml")
}
