package cmd

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// heedMemory has the garbage collector work harder before the process has all the memory
// that its control groups allow, as those of a container do: the kernel kills a process
// that takes more. GOMEMLIMIT, where it is set, has the last word.
func heedMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if n, known := memoryAllowed(os.DirFS("/")); known {
		debug.SetMemoryLimit(n - n/10) // the rest is for what the collector does not see
	}
}

// memoryAllowed is the smallest limit of the process's control groups, as Linux shows them
// in root. Within a container the paths may be those outside of it, and what is mounted
// the innermost group: every parent is looked at, up to the mount.
func memoryAllowed(root fs.FS) (n int64, known bool) {
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	n = math.MaxInt64
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[0] == "0" && fields[1] == "": // version 2
		case fields[1] == "memory":
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) {
			text, _ := fs.ReadFile(root, path.Join(mount, dir, file))
			if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 {
				n = min(n, limit)
			}
			if dir == "/" {
				break
			}
		}
	}
	return n, n < unlimited
}

// unlimited is less than what a group of version 1 without a limit says, which is the
// largest number that makes whole pages, and more than any machine has.
const unlimited = 1 << 60
