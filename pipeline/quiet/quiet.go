// Package quiet writes to a log what goes wrong for request after request, such as that
// a store is down: now and then, and how often it was not written in between.
package quiet

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// pause is how long a Log says nothing after it has said something.
const pause = 10 * time.Second

// A Log writes a warning at most every ten seconds. It may be used by many at once.
type Log struct {
	to     *slog.Logger
	until  atomic.Int64 // Unix nanoseconds
	silent atomic.Int64 // warnings since the last that was written
}

// New returns a Log that writes to to.
func New(to *slog.Logger) *Log { return &Log{to: to} }

// Warn writes msg with args, as slog has them, unless something was written a moment
// ago. The member unreported says how many warnings were not.
func (l *Log) Warn(msg string, args ...any) {
	now, until := time.Now().UnixNano(), l.until.Load()
	// More than a pause to go means that the clock has been set back.
	if now < until && until <= now+int64(pause) || !l.until.CompareAndSwap(until, now+int64(pause)) {
		l.silent.Add(1)
		return
	}
	l.to.Warn(msg, append(args, "unreported", l.silent.Swap(0))...)
}
