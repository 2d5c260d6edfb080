// Package measure asks the operating system what processes cost: time on
// processors and memory. It measures from outside, so it works for any program.
package measure

import "time"

// Usage is what a set of processes has used so far.
type Usage struct {
	CPU    time.Duration // time on processors, those of ended threads included
	System time.Duration // the share of CPU spent in the kernel, in steps of 10 ms
}

// Memory is what a set of processes holds, in bytes.
type Memory struct {
	Resident int64 // now
	Peak     int64 // the most so far
}
