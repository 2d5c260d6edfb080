package target

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/headrace/headrace/benchmarks/measure"
)

// ErrMissing means that the program of a target is not installed.
var ErrMissing = errors.New("not installed")

// A Process is a running target.
type Process struct {
	Target
	Addr string // host:port
	Base string // path before /v1
	// Admin is a second free address, $ADMIN in the command.
	Admin string

	cmd    *exec.Cmd // nil if the server ran already
	exited chan struct{}
	log    string
}

// Start starts t and returns once it accepts connections, for which it has
// patience. What it prints goes to a file in dir.
func Start(t Target, env Env, dir string, patience time.Duration) (*Process, error) {
	free, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	vars := Env{"ADMIN": admin}
	maps.Copy(vars, env)
	_, vars["PORT"], _ = net.SplitHostPort(free)
	p := &Process{Target: t, Admin: admin, exited: make(chan struct{}), log: filepath.Join(dir, t.Name+".log")}
	if p.Addr, p.Base, err = address(vars.expand(t.URL)); err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	p.Header = nil
	for _, h := range t.Header {
		p.Header = append(p.Header, vars.expand(h))
	}
	if t.Command != "" {
		if err := p.start(vars); err != nil {
			return nil, fmt.Errorf("start %s: %w", t.Name, err)
		}
	}
	if err := p.wait(patience); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start %s: %w", t.Name, err)
	}
	return p, nil
}

func (p *Process) start(vars Env) error {
	if program := p.program(vars); program != "" {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s: %w", program, ErrMissing)
		}
	}
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command("sh", "-c", p.Command)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = os.Environ()
	for k, v := range vars {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	// A group of its own, so that Stop reaches what it starts in turn.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in the log, and no news after Stop
		close(p.exited)
	}()
	return nil
}

// program is what the command runs in the end: the word after the last exec
// and any settings of variables.
func (p *Process) program(vars Env) string {
	command := p.Command
	if i := strings.LastIndex(command, "exec "); i >= 0 {
		command = command[i+len("exec "):]
	}
	for word := range strings.FieldsSeq(command) {
		if word != "env" && !strings.Contains(word, "=") {
			return strings.Trim(vars.expand(word), `"`)
		}
	}
	return ""
}

func (p *Process) wait(patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", p.Addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		if p.cmd == nil {
			return err
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it ended at once:\n%s", p.tail())
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("nothing listens on %s after %v:\n%s", p.Addr, patience, p.tail())
		}
	}
}

// tail returns the end of what the process printed.
func (p *Process) tail() string {
	b, _ := os.ReadFile(p.log) // nothing printed is nothing to show
	return string(b[max(0, len(b)-2000):])
}

// PIDs returns its processes, or none if it was not started here.
func (p *Process) PIDs() []int {
	if p.cmd == nil {
		return nil
	}
	return measure.Tree(p.cmd.Process.Pid)
}

// Stop ends it and everything that it started. It returns when the process is gone.
func (p *Process) Stop() {
	if p.cmd == nil {
		return
	}
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.exited:
	case <-time.After(3 * time.Second):
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-p.exited
}
