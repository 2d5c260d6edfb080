package load

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// precise gives the goroutine a thread of its own that the kernel wakes on
// time, until done is called. The timers of the Go runtime are late by up to a
// millisecond on an idle machine.
func precise() (done func()) {
	runtime.LockOSThread()
	const microsecond = 1000
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, microsecond, 0, 0, 0) // the lag will tell
	return func() {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // back to the default
		runtime.UnlockOSThread()
	}
}

// sleepUntil returns at t, or at once if t has passed.
func sleepUntil(t time.Time) {
	for {
		d := time.Until(t)
		if d <= 0 {
			return
		}
		ts := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&ts, nil) // a signal ends it early: look again
	}
}
