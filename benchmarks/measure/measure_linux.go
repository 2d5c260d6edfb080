package measure

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of times under /proc. The kernel fixes it for user space.
const tick = 10 * time.Millisecond

// Tree returns pid and every process that descends from it.
func Tree(pid int) []int {
	children := map[int][]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	for _, f := range files {
		stat, err := fields(f)
		if err != nil {
			continue // ended meanwhile
		}
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		parent, _ := strconv.Atoi(stat[1])
		children[parent] = append(children[parent], child)
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

// Of returns what the processes have used since they began.
func Of(pids []int) (Usage, error) {
	var u Usage
	for _, pid := range pids {
		// The clock of another process (clock_getcpuclockid in the C library):
		// exact to the nanosecond, where /proc/PID/stat counts in ticks, and
		// with the threads that have ended, which /proc/PID/task forgets.
		var ts unix.Timespec
		if err := unix.ClockGettime(int32(^pid)<<3|2, &ts); err != nil {
			return u, fmt.Errorf("read the processor time of process %d: %w", pid, err)
		}
		u.CPU += time.Duration(ts.Nano())
		stat, err := fields(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return u, err
		}
		n, _ := strconv.ParseInt(stat[12], 10, 64)
		u.System += time.Duration(n) * tick
	}
	return u, nil
}

// MemoryOf returns what the processes hold. What several of them share is
// counted for each.
func MemoryOf(pids []int) (Memory, error) {
	var m Memory
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return m, err
		}
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			switch key {
			case "VmRSS":
				m.Resident += kib << 10
			case "VmHWM":
				m.Peak += kib << 10
			}
		}
	}
	return m, nil
}

// Machine returns how long the processors of the machine have been busy, all
// of them and for everybody.
func Machine() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var busy int64
	for i, f := range strings.Fields(line)[1:] {
		const idle, ioWait, guest = 3, 4, 8 // guest time is in user time already
		if i == idle || i == ioWait || i >= guest {
			continue
		}
		n, _ := strconv.ParseInt(f, 10, 64)
		busy += n
	}
	return time.Duration(busy) * tick, nil
}

// Processor names the processor and the kernel.
func Processor() string {
	name := runtime.GOARCH
	b, _ := os.ReadFile("/proc/cpuinfo") // a name more or less
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			name = strings.TrimSpace(value)
			break
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		name += ", Linux " + unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%d × %s", runtime.NumCPU(), name)
}

// fields returns a stat file from its third field on: the second is the
// program's name, which may hold spaces.
func fields(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return nil, fmt.Errorf("%s: %d fields, want 13 or more", file, len(f))
	}
	return f, nil
}
