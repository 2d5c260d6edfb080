// Package harness builds the gateway, runs it for a test, and finds the tools
// that the test suites of other languages need.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Key is what the gateway accepts where a test sets KeysSet.
const Key = "sk-test-key"

// KeysSet is the environment entry that makes the gateway ask for Key.
const KeysSet = "HEADRACE_KEYS=acme=" + Key + ",other=sk-other-key"

// patience bounds how long a program may take to start or to stop. It is
// generous because the machine may be busy; nothing waits that long by plan.
const patience = 60 * time.Second

// A Gateway is a running gateway.
type Gateway struct {
	// URL stands for /v1 and ends in it; Root is the same without /v1.
	URL, Root string
	// Admin is the base URL of the admin listener.
	Admin string

	cmd  *exec.Cmd
	log  *Log
	done chan struct{} // closed when the process has ended
	err  error         // how it ended; read after done
}

// Root returns the folder of the main module.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "headrace.go")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("this test does not run inside the source tree of the gateway")
		}
		dir = parent
	}
}

// Data returns the path of test data that is not part of the source tree, below the
// folder data of HEADRACE_SHARED, or of ../shared. A test without it is skipped.
func Data(t testing.TB, path string) string {
	t.Helper()
	dir := os.Getenv("HEADRACE_SHARED")
	if dir == "" {
		dir = filepath.Join(Root(t), "..", "shared")
	}
	path = filepath.Join(dir, "data", path)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no test data: %v (HEADRACE_SHARED names the folder that holds data)", err)
	}
	return path
}

var built struct {
	once sync.Once
	path string
	err  error
}

// Binary builds the gateway, once for each test program, and returns its path.
// HEADRACE_BINARY names one that is built already; HEADRACE_RACE=1 builds it
// with the race detector.
func Binary(t testing.TB) string {
	t.Helper()
	root := Root(t)
	built.once.Do(func() {
		if built.path = os.Getenv("HEADRACE_BINARY"); built.path != "" {
			return
		}
		// Not t.TempDir: the binary outlives the test that asks first.
		dir := filepath.Join(os.TempDir(), fmt.Sprintf("headrace-test-%d", os.Getpid()))
		if built.err = os.MkdirAll(dir, 0o755); built.err != nil {
			return
		}
		built.path = filepath.Join(dir, "headrace")
		args := []string{"build", "-o", built.path}
		if os.Getenv("HEADRACE_RACE") == "1" {
			args = append(args, "-race")
		}
		cmd := exec.Command("go", append(args, "./cmd/headrace")...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build the gateway: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// Clean removes what Binary built. A test program calls it when it is done.
func Clean() {
	if built.path != "" && os.Getenv("HEADRACE_BINARY") == "" {
		_ = os.RemoveAll(filepath.Dir(built.path))
	}
}

// Start runs the gateway with the file config (a path inside the source tree;
// empty for the built-in copy) and the given environment entries on top of a
// clean one, and waits until it answers. It is stopped at the end of the test,
// which fails if it does not end well.
func Start(t testing.TB, config string, env ...string) *Gateway {
	t.Helper()
	return StartBinary(t, Binary(t), config, env...)
}

// StartBinary is Start for another program that has the same command line.
func StartBinary(t testing.TB, binary, config string, env ...string) *Gateway {
	t.Helper()
	listen, admin := FreeAddress(t), FreeAddress(t)
	args := []string{"run"}
	if config != "" {
		if !filepath.IsAbs(config) {
			config = filepath.Join(Root(t), config)
		}
		args = append(args, "--config", config)
	}
	g := &Gateway{
		URL: "http://" + listen + "/v1", Root: "http://" + listen, Admin: "http://" + admin,
		log: &Log{}, done: make(chan struct{}),
	}
	g.cmd = exec.Command(binary, args...)
	g.cmd.Dir = t.TempDir() // no gateway.yaml in it: the built-in copy runs
	g.cmd.Env = append(CleanEnv(), "HEADRACE_LISTEN="+listen, "HEADRACE_ADMIN="+admin)
	g.cmd.Env = append(g.cmd.Env, env...)
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		g.err = g.cmd.Wait()
		close(g.done)
	}()
	t.Cleanup(func() { g.Stop(t) })
	if err := Await(g.done, g.Root+"/health/readiness"); err != nil {
		t.Fatalf("the gateway does not answer: %v\n%s", err, g.log)
	}
	return g
}

// Post sends JSON to a path below Root and returns the answer.
func (g *Gateway) Post(t testing.TB, path, body string) (status int, answer string) {
	t.Helper()
	resp, err := http.Post(g.Root+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Log returns what the gateway has written so far.
func (g *Gateway) Log() string { return g.log.String() }

// PID is the process of the gateway.
func (g *Gateway) PID() int { return g.cmd.Process.Pid }

// Signal sends a signal to the gateway.
func (g *Gateway) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := g.cmd.Process.Signal(sig); err != nil {
		t.Error(err)
	}
}

// Wait waits until the process has ended and returns how.
func (g *Gateway) Wait(t testing.TB) error {
	t.Helper()
	select {
	case <-g.done:
		return g.err
	case <-time.After(patience):
		t.Errorf("the gateway does not stop\n%s", g.log)
		return errors.New("still running")
	}
}

// Stop ends the gateway as an operator would, and fails the test if it does
// not stop, complains, or has a race or a bug in its log. It may be called
// more than once.
func (g *Gateway) Stop(t testing.TB) {
	t.Helper()
	select {
	case <-g.done:
		return // ended by itself, or by an earlier Stop: that test has looked at it
	default:
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.done:
	case <-time.After(patience):
		_ = g.cmd.Process.Kill()
		<-g.done
		t.Errorf("the gateway does not stop after SIGTERM\n%s", g.log)
		return
	}
	if g.err != nil {
		t.Errorf("the gateway ended with %v\n%s", g.err, g.log)
	}
	for _, bad := range []string{"DATA RACE", "panic:", "BUG:", "fatal error:"} {
		if strings.Contains(g.log.String(), bad) {
			t.Errorf("%q in the log:\n%s", bad, g.log)
		}
	}
}

// Await waits until url answers with any status below 500, or done is closed.
func Await(done <-chan struct{}, url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode < 500 {
				return nil
			}
			err = fmt.Errorf("%s: %s", url, resp.Status)
		}
		select {
		case <-done:
			return errors.New("the process has ended")
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// FreeAddress returns a loopback address that nobody listened on just now.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// CleanEnv is the environment without what would steer the gateway or a client
// library.
func CleanEnv() []string {
	var out []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "HEADRACE_") || strings.HasPrefix(name, "OPENAI_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			continue
		}
		out = append(out, e)
	}
	return out
}

// A Log collects what a program writes.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns everything written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Until waits until cond holds, and fails the test if it never does.
func Until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience / 2); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
