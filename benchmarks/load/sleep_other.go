//go:build !linux

package load

import "time"

func precise() (done func()) { return func() {} }

func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }
