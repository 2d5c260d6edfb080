package cmd

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/headrace/headrace/plugins/standard"
)

// call runs the command line in dir.
func call(t *testing.T, dir string, args ...string) (status int, out, errOut string) {
	t.Helper()
	t.Chdir(dir)
	var o, e buffer
	status = run(standard.Components(), args, &o, &e)
	return status, o.String(), e.String()
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const small = `
server: { listen: 127.0.0.1:0, admin: 127.0.0.1:0 }
providers: { p: { offline: { latency: 1ms } } }
models: { "*": [ { provider: p } ] }
routes: [ { name: r, match: { path: /v1/* }, chain: [ call: {} ] } ]
`

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	f := func(wantStatus int, wantOut, wantErr string, args ...string) {
		t.Helper()
		status, out, errOut := call(t, dir, append([]string{"check"}, args...)...)
		if status != wantStatus || !strings.Contains(out, wantOut) || !strings.Contains(errOut, wantErr) {
			t.Errorf("%v: %d\n%s\n%s", args, status, out, errOut)
		}
	}
	f(0, "built-in gateway.yaml: no problems", "")
	write(t, dir, "gateway.yaml", small)
	f(0, "gateway.yaml: no problems", "")
	write(t, dir, "bad.yaml", strings.Replace(small, "call:", "cal:", 1))
	f(1, "", `(did you mean "call"?)`, "--config", "bad.yaml")
	f(1, "", "missing.yaml", "-c", "missing.yaml")
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestOutputIsLost(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range []string{"docs", "docs cache", "schema", "version", "check", "eval --limit 1", "--help", "docs --help"} {
		var e buffer
		if status := run(standard.Components(), strings.Fields(args), full{}, &e); status != 1 || strings.Count(e.String(), "no space left on device") != 1 {
			t.Errorf("%s: %d %s", args, status, e.String())
		}
	}
}

// faulty is a part of a command with a mistake in it.
type faulty struct{}

func (faulty) Write([]byte) (int, error) { panic("BUG: a mistake") }

func TestPanicsAreSeen(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a command that panicked has ended as if all were well")
		}
	}()
	run(standard.Components(), []string{"version"}, faulty{}, &buffer{})
}

func TestDescribe(t *testing.T) {
	dir := t.TempDir()
	status, out, _ := call(t, dir, "docs", "cache")
	if status != 0 || !strings.Contains(out, "`ttl`") {
		t.Errorf("docs cache: %d %.200s", status, out)
	}
	if status, out, _ = call(t, dir, "docs"); status != 0 || !strings.Contains(out, "litellm") {
		t.Errorf("docs: %d %.200s", status, out)
	}
	if status, _, errOut := call(t, dir, "docs", "nothing"); status != 1 || !strings.Contains(errOut, "nothing") {
		t.Errorf("docs nothing: %d %s", status, errOut)
	}
	if status, out, _ = call(t, dir, "schema"); status != 0 || !json.Valid([]byte(out)) {
		t.Errorf("schema: %d %.200s", status, out)
	}
	if status, out, _ = call(t, dir, "version"); status != 0 || !strings.HasPrefix(out, "headrace ") {
		t.Errorf("version: %d %s", status, out)
	}
	if status, _, errOut := call(t, dir, "nonsense"); status == 0 || !strings.Contains(errOut, "nonsense") {
		t.Errorf("nonsense: %d %s", status, errOut)
	}
	if status, out, _ = call(t, dir, "--help"); status != 0 || !strings.Contains(out, "run") {
		t.Errorf("--help: %d %s", status, out)
	}
}

// TestRun serves, reloads on SIGHUP, keeps the old file for a bad one, and
// ends on SIGTERM.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "gateway.yaml", small)
	t.Chdir(dir)
	var out, log buffer
	done := make(chan int, 1)
	go func() { done <- run(standard.Components(), []string{"run"}, &out, &log) }()
	eventually(t, &log, `"msg":"listening"`)
	var line struct{ URL, Admin string }
	if err := json.NewDecoder(strings.NewReader(log.String())).Decode(&line); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(line.URL+"/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("chat: %s", resp.Status)
	}
	hup := func(want string) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, &log, want)
	}
	hup("configuration reloaded")
	write(t, dir, "gateway.yaml", "nonsense: 1")
	hup("the new configuration is not used")
	if resp, err := http.Get(line.Admin + "/metrics"); err != nil || resp.StatusCode != 200 {
		t.Errorf("metrics: %v %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case status := <-done:
		if status != 0 || !strings.Contains(log.String(), `"msg":"stopped"`) {
			t.Errorf("ended with %d: %s", status, log.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("does not end")
	}
	if status, _, errOut := call(t, dir, "run"); status != 1 || !strings.Contains(errOut, "nonsense") {
		t.Errorf("a bad file: %d %s", status, errOut)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	write(t, dir, "gateway.yaml", strings.Replace(small, "127.0.0.1:0", taken.Addr().String(), 1))
	if status, _, errOut := call(t, dir, "run"); status != 1 || !strings.Contains(errOut, "in use") {
		t.Errorf("a port in use: %d %s", status, errOut)
	}
}

func eventually(t *testing.T, log *buffer, want string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never logged %q: %s", want, log.String())
		}
	}
}
