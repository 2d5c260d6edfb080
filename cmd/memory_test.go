package cmd

import (
	"testing"
	"testing/fstest"
)

func TestMemoryAllowed(t *testing.T) {
	f := func(want int64, files ...string) {
		t.Helper()
		root := fstest.MapFS{}
		for i := 0; i < len(files); i += 2 {
			root[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
		}
		n, known := memoryAllowed(root)
		if !known {
			n = 0
		}
		if n != want {
			t.Errorf("%q: %d, want %d", files, n, want)
		}
	}
	const groups, v2, v1 = "proc/self/cgroup", "sys/fs/cgroup/", "sys/fs/cgroup/memory/"
	f(0)
	f(0, groups, "nonsense\n0:\n")
	f(0, groups, "0::/\n", v2+"memory.max", "max\n")
	f(512, groups, "0::/\n", v2+"memory.max", "512\n") // a container
	f(100, groups, "0::/system.slice/headrace.service\n", v2+"system.slice/memory.max", "300\n", v2+"system.slice/headrace.service/memory.max", "100\n")
	f(300, groups, "0::/system.slice/headrace.service\n", v2+"system.slice/memory.max", "300\n", v2+"system.slice/headrace.service/memory.max", "max\n")
	f(0, groups, "5:memory:/\n4:cpu,cpuacct:/\n", v1+"memory.limit_in_bytes", "9223372036854771712\n")
	f(200, groups, "5:memory:/docker/abc\n0::/\n", v1+"memory.limit_in_bytes", "200\n") // its mount is the group
	f(150, groups, "5:memory:/a\n", v1+"memory.limit_in_bytes", "9223372036854771712\n", v1+"a/memory.limit_in_bytes", "150\n")
}
