//go:build !linux

package measure

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

var errLinux = errors.New("the cost of other processes can be measured on Linux only")

// Tree returns pid.
func Tree(pid int) []int { return []int{pid} }

// Of returns what the processes have used since they began.
func Of([]int) (Usage, error) { return Usage{}, errLinux }

// MemoryOf returns what the processes hold.
func MemoryOf([]int) (Memory, error) { return Memory{}, errLinux }

// Machine returns how long the processors of the machine have been busy.
func Machine() (time.Duration, error) { return 0, errLinux }

// Processor names the processor and the kernel.
func Processor() string {
	return fmt.Sprintf("%d × %s, %s", runtime.NumCPU(), runtime.GOARCH, runtime.GOOS)
}
