package e2e

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stub"
)

// open sends a streamed question and returns once its first event has come.
func open(t *testing.T, g *harness.Gateway, model string) (*http.Response, *bufio.Reader) {
	t.Helper()
	resp, err := http.Post(g.URL+"/chat/completions", "application/json", strings.NewReader(question(model, unique(), true)))
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	return resp, r
}

// rest reads a stream to its end.
func rest(r *bufio.Reader) (string, error) {
	var all strings.Builder
	_, err := r.WriteTo(&all)
	return all.String(), err
}

// TestStop: a running answer is finished before the gateway ends.
func TestStop(t *testing.T) {
	t.Parallel()
	up := stub.Start()
	defer up.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+up.URL)
	resp, r := open(t, g, "drip")
	defer func() { _ = resp.Body.Close() }()
	g.Signal(t, syscall.SIGTERM)
	got, err := rest(r)
	if err != nil || !strings.HasSuffix(got, "data: [DONE]\n\n") {
		t.Errorf("the running stream ended with %v: %.300s", err, got[max(0, len(got)-300):])
	}
	if err := g.Wait(t); err != nil {
		t.Errorf("the gateway ended with %v\n%s", err, g.Log())
	}
}

// TestStopAtOnce: a gateway that is told to stop while it is still starting stops.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	for range 10 {
		log := &harness.Log{}
		cmd := exec.Command(harness.Binary(t), "run")
		cmd.Dir = t.TempDir()
		cmd.Env = append(harness.CleanEnv(), "HEADRACE_LISTEN="+harness.FreeAddress(t), "HEADRACE_ADMIN="+harness.FreeAddress(t))
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for end := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "listening") && time.Now().Before(end); {
			time.Sleep(100 * time.Microsecond)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("ended with %v\n%s", err, log)
			}
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			t.Fatalf("does not stop\n%s", log)
		}
	}
}

// TestStopTwice: a second signal ends the wait; the stream does not look whole.
func TestStopTwice(t *testing.T) {
	t.Parallel()
	up := stub.Start()
	defer up.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+up.URL)
	resp, r := open(t, g, "stall")
	defer func() { _ = resp.Body.Close() }()
	g.Signal(t, syscall.SIGTERM)
	harness.Until(t, "the gateway begins to stop", func() bool { return strings.Contains(g.Log(), "shutting down") })
	g.Signal(t, syscall.SIGTERM)
	got, _ := rest(r)
	if strings.Contains(got, "[DONE]") {
		t.Errorf("a stream that was cut looks whole: %s", got)
	}
	_ = g.Wait(t)
}

// TestIngestStopTwice: a signal waits for what is being written, a second one does not.
func TestIngestStopTwice(t *testing.T) {
	t.Parallel()
	asked, hold := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		once.Do(func() { close(asked) })
		<-hold
	}))
	defer server.Close()
	defer close(hold)
	file := filepath.Join(t.TempDir(), "a.txt")
	if err := os.WriteFile(file, []byte("A weir."), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &harness.Log{}
	cmd := exec.Command(harness.Binary(t), "ingest", "--url", server.URL, file)
	cmd.Env, cmd.Stdout, cmd.Stderr = harness.CleanEnv(), log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	<-asked
	for _, said := range []string{"a second signal stops at once", ""} {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		harness.Until(t, "the command has heard", func() bool { return strings.Contains(log.String(), said) })
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("what was given up looks done")
		}
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Errorf("does not stop\n%s", log)
	}
}

// TestReload: SIGHUP takes a good file and leaves a bad one.
func TestReload(t *testing.T) {
	t.Parallel()
	one, two := stub.Start(), stub.Start()
	defer one.Close()
	defer two.Close()
	shipped, err := os.ReadFile(filepath.Join(harness.Root(t), "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(string(shipped))
	g := harness.Start(t, file, "HEADRACE_UPSTREAM="+one.URL)
	kept := unique()
	chat(t, g, "echo", kept)

	// A running stream goes on with what it began with.
	resp, r := open(t, g, "drip")
	defer func() { _ = resp.Body.Close() }()

	write(strings.ReplaceAll(string(shipped), `url: "${HEADRACE_UPSTREAM:-}"`, `url: "`+two.URL+`"`))
	g.Signal(t, syscall.SIGHUP)
	harness.Until(t, "the new file is used", func() bool {
		chat(t, g, "echo", unique())
		return len(two.Requests()) > 0
	})
	// The store did not change, so it still has the answer.
	if a := chat(t, g, "echo", kept); a.Header.Get("X-Headrace-Cache") == "" {
		t.Errorf("no cache after the reload: %v", a)
	}

	write("routes: [ { nonsense: true } ]\n")
	g.Signal(t, syscall.SIGHUP)
	harness.Until(t, "the bad file is refused", func() bool { return strings.Contains(g.Log(), "nonsense") })
	if a := chat(t, g, "echo", unique()); a.StatusCode != 200 {
		t.Errorf("after a bad file: %v", a)
	}
	if got, err := rest(r); err != nil || !strings.HasSuffix(got, "data: [DONE]\n\n") {
		t.Errorf("the stream from before the reload ended with %v", err)
	}
}

// TestPortTaken: a gateway that cannot listen says so and ends.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, "")
	taken := strings.TrimPrefix(g.Root, "http://")
	began := time.Now()
	out, status := command(t, []string{"HEADRACE_LISTEN=" + taken, "HEADRACE_ADMIN=" + harness.FreeAddress(t)}, "run")
	if status == 0 || !strings.Contains(out, taken) {
		t.Errorf("exit %d after %v: %s", status, time.Since(began), out)
	}
}

// A log that nobody reads holds up neither requests nor a reload nor the end.
func TestHeldLog(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	cmd := exec.Command(harness.Binary(t), "run")
	listen := harness.FreeAddress(t)
	cmd.Dir = t.TempDir()
	cmd.Env = append(harness.CleanEnv(), "HEADRACE_LISTEN="+listen, "HEADRACE_ADMIN="+harness.FreeAddress(t))
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	ended := make(chan struct{})
	var failed error
	go func() { failed = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	if err := harness.Await(ended, "http://"+listen+"/health"); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // a pipe takes 64 KiB
		if got := send(t, "http://"+listen+"/v1/chat/completions", `{"model":1}`); got.StatusCode != 400 {
			t.Fatalf("got %+v", got)
		}
	}
	_ = cmd.Process.Signal(syscall.SIGHUP)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		if failed != nil {
			t.Error(failed)
		}
	case <-time.After(15 * time.Second):
		t.Error("the gateway does not end")
	}
}
