package rag

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// quiet is how long a Log says nothing after it has said something.
const quiet = 10 * time.Second

// A Log tells of what goes wrong for request after request, now and then.
type Log struct {
	to     *slog.Logger
	until  atomic.Int64 // Unix nanoseconds
	silent atomic.Int64
}

// NewLog returns a Log that writes to to.
func NewLog(to *slog.Logger) *Log { return &Log{to: to} }

// Warn logs a failure, unless one was logged a moment ago.
func (l *Log) Warn(msg string, err error) {
	now, until := time.Now().UnixNano(), l.until.Load()
	if now < until || !l.until.CompareAndSwap(until, now+int64(quiet)) {
		l.silent.Add(1)
		return
	}
	l.to.Warn(msg, "err", err, "unreported", l.silent.Swap(0))
}
