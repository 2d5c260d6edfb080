package measure

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The time of another process must agree with what that process is told about
// itself.
func TestOf(t *testing.T) {
	before, err := Of([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(60 * time.Millisecond); time.Now().Before(end); {
	}
	after, err := Of([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	var self unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &self); err != nil {
		t.Fatal(err)
	}
	used := time.Duration(self.Utime.Nano() + self.Stime.Nano())
	if d := (used - after.CPU).Abs(); d > 30*time.Millisecond {
		t.Errorf("measured %v, the process itself sees %v", after.CPU, used)
	}
	if after.CPU <= before.CPU {
		t.Errorf("60 ms of work measured as %v", after.CPU-before.CPU)
	}
	if _, err := Of([]int{1 << 30}); err == nil {
		t.Error("a process that does not exist has used nothing")
	}
}

func TestTreeAndMemory(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	tree := Tree(os.Getpid())
	if tree[0] != os.Getpid() || !slices.Contains(tree, child.Process.Pid) {
		t.Errorf("Tree(%d) = %v, want the child %d in it", os.Getpid(), tree, child.Process.Pid)
	}
	m, err := MemoryOf(tree)
	if err != nil {
		t.Fatal(err)
	}
	if m.Resident < 1<<20 || m.Peak < m.Resident {
		t.Errorf("memory %+v", m)
	}
	busy, err := Machine()
	if err != nil || busy <= 0 {
		t.Errorf("Machine() = %v, %v", busy, err)
	}
}
