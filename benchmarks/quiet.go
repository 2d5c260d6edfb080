package main

import (
	"context"
	"os"
	"runtime"
	"time"

	"github.com/headrace/headrace/benchmarks/measure"
)

// maxWait bounds how long a slice waits for a quiet machine.
const maxWait = 20 * time.Second

// waitQuiet returns when other programs leave enough of the machine, or when
// it has waited long enough.
func (r *runner) waitQuiet(ctx context.Context) {
	if r.quiet <= 0 {
		return
	}
	const look = 200 * time.Millisecond
	for end := time.Now().Add(maxWait); time.Now().Before(end) && ctx.Err() == nil; {
		busy, err := measure.Machine()
		if err != nil {
			return
		}
		own, err := measure.Of([]int{os.Getpid()})
		if err != nil {
			return
		}
		time.Sleep(look)
		busyNow, _ := measure.Machine()
		ownNow, _ := measure.Of([]int{os.Getpid()})
		others := (busyNow - busy) - (ownNow.CPU - own.CPU)
		if float64(others)/float64(look)/float64(runtime.NumCPU()) <= r.quiet {
			return
		}
	}
}
