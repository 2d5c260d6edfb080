package quiet

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// most is how many bytes may wait to be written.
const most = 1 << 20

// A Writer passes lines on to another writer from a goroutine of its own, so that whoever
// logs waits for no slow disk, no held terminal and no pipe that nobody reads. Lines for
// which there is no room are dropped; how many were is the next line. It may be used by
// many at once. Close it after the last line.
type Writer struct {
	to    io.Writer
	eager int           // bytes from which they are written at once
	pause time.Duration // after which they are in any case
	lost  func()        // told of each line that is dropped; or nil

	mu      sync.Mutex
	buf     []byte // guarded by mu
	dropped int    // guarded by mu; since the last line that says so

	wake chan struct{}
	stop chan struct{}
	done chan struct{}
}

// NewWriter returns a Writer to to, which writes when pause has passed or eager bytes wait;
// at once, if that is 0. lost is told of each line that is dropped, unless it is nil.
func NewWriter(to io.Writer, eager int, pause time.Duration, lost func()) *Writer {
	w := &Writer{
		to: to, eager: eager, pause: pause, lost: lost,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go w.loop()
	return w
}

// Write implements io.Writer. It keeps no hold of p, and never fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.Add(func(b []byte) []byte { return append(b, p...) })
	return len(p), nil
}

// Add adds what line appends, which are whole lines. It may not call w.
func (w *Writer) Add(line func(b []byte) []byte) {
	w.mu.Lock()
	if len(w.buf) > most {
		w.dropped++
		w.mu.Unlock()
		if w.lost != nil {
			w.lost()
		}
		return
	}
	w.buf = line(w.buf)
	eager := len(w.buf) >= w.eager
	w.mu.Unlock()
	if eager {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// loop writes what has gathered, until Close.
func (w *Writer) loop() {
	defer close(w.done)
	var due <-chan time.Time
	if w.eager > 0 {
		tick := time.NewTicker(w.pause)
		defer tick.Stop()
		due = tick.C
	}
	var spare []byte
	for {
		last := false
		select {
		case <-due:
		case <-w.wake:
		case <-w.stop:
			last = true
		}
		w.mu.Lock()
		full := w.buf
		if w.dropped > 0 {
			full = fmt.Appendf(full, `{"time":%q,"level":"WARN","msg":"the log is read too slowly; lines were dropped","lines":%d}`+"\n",
				time.Now().Format(time.RFC3339Nano), w.dropped)
			w.dropped = 0
		}
		w.buf = spare[:0]
		w.mu.Unlock()
		if len(full) > 0 {
			_, _ = w.to.Write(full) // a log that cannot be written has nowhere to say so
		}
		spare = full
		if last {
			return
		}
	}
}

// Close writes what is left, as far as that takes no longer than wait.
func (w *Writer) Close(wait time.Duration) {
	close(w.stop)
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case <-w.done:
	case <-late.C:
	}
}
