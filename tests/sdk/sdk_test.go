// Package sdk runs the official OpenAI libraries, unmodified but for base URL
// and key, against the real gateway: on its built-in models, in front of a
// scripted upstream with both files it ships with, and with keys set. The Python library's
// own tests run too, in front of a server made from the published description.
package sdk

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stub"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}

func TestPython(t *testing.T) {
	harness.Suite(t)
	pytest := harness.Tool(t, "python/bin/pytest")
	run(t, "python", gateways(t, "PYTHONDONTWRITEBYTECODE=1"), pytest, "-p", "no:cacheprovider")
}

func TestNode(t *testing.T) {
	harness.Suite(t)
	node := harness.Program(t, "node")
	packages := filepath.Dir(harness.Tool(t, "node/package.json"))
	run(t, "node", gateways(t, "HEADRACE_TEST_NODE="+packages), node, "--test", "openai.test.mjs")
}

func TestGo(t *testing.T) {
	harness.Suite(t)
	run(t, "go", gateways(t), "go", "test", "-v", "-count=1", "./...")
}

// gateways starts what a suite talks to and returns its environment.
func gateways(t *testing.T, more ...string) []string {
	t.Helper()
	upstream := stub.Start()
	t.Cleanup(upstream.Close)
	to := []string{"HEADRACE_UPSTREAM=" + upstream.URL, "HEADRACE_UPSTREAM_KEY=sk-upstream"}
	env := append(harness.CleanEnv(),
		"HEADRACE_TEST_KEY="+harness.Key,
		"HEADRACE_TEST_STUB="+upstream.URL,
		"HEADRACE_TEST_DEFAULTS="+harness.Start(t, "").URL,
		"HEADRACE_TEST_PLAIN="+harness.Start(t, "examples/plain.yaml", to...).URL,
		"HEADRACE_TEST_SHIPPED="+harness.Start(t, "gateway.yaml", to...).URL,
		"HEADRACE_TEST_KEYED="+harness.Start(t, "gateway.yaml", append(to, harness.KeysSet)...).URL,
	)
	return append(env, more...)
}

// run runs a suite in its folder. Its output is the test's.
func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%s %v: %v", filepath.Base(name), args, err)
	}
}
