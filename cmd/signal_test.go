//go:build unix

package cmd

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headrace/headrace/plugins/standard"
)

// asCommand has this test binary stand for the gateway: what a signal does to a process
// takes a process of its own.
const asCommand = "HEADRACE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		Main(standard.Components())
	}
	os.Exit(m.Run())
}

// A process is a gateway of its own.
type process struct {
	*exec.Cmd
	log    *bufio.Reader
	unread io.Closer
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], args...)}
	p.Env = append(os.Environ(), asCommand+"=1")
	log, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.log, p.unread = bufio.NewReader(log), log
	late := time.AfterFunc(20*time.Second, func() { _ = p.Process.Kill() })
	t.Cleanup(func() { late.Stop(); _ = p.Process.Kill() })
	return p
}

// logs waits for a line with text in it.
func (p *process) logs(t *testing.T, text string) string {
	t.Helper()
	for {
		line, err := p.log.ReadString('\n')
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			t.Fatalf("no %q in the log: %v", text, err)
		}
	}
}

func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// TestLogLosesItsReader goes on serving where nobody takes the log any more, as when tee
// has ended.
func TestLogLosesItsReader(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "gateway.yaml", small)
	p := start(t, "run", "--config", filepath.Join(dir, "gateway.yaml"))
	p.logs(t, "listening")
	if err := p.unread.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.signal(t, syscall.SIGHUP)
		time.Sleep(50 * time.Millisecond) // for the line that says so
	}
	p.signal(t, syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestReloadBeforeTheStart has a signal to reload come while the file is read for the first
// time.
func TestReloadBeforeTheStart(t *testing.T) {
	name := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Skip(err)
	}
	p := start(t, "run", "--config", name)
	file, err := os.OpenFile(name, os.O_WRONLY, 0) // waits until it is read
	if err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGHUP)
	if _, err := file.WriteString(small); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	p.logs(t, "listening")
	if err := os.WriteFile(name, []byte(small), 0); err != nil {
		t.Fatal(err)
	}
	p.logs(t, "configuration reloaded")
	p.signal(t, syscall.SIGTERM)
	p.logs(t, "stopped")
}
