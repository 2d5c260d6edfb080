package cmd

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline/ingest"
)

// A bar shows progress: on a terminal as a bar that moves, elsewhere as a line
// every few seconds.
type bar struct {
	out      io.Writer
	terminal bool
	last     time.Time
	waiting  bool // as was shown last
}

// Between two signs of life: on a terminal, and elsewhere.
const (
	redraw = 100 * time.Millisecond
	relog  = 5 * time.Second
)

func newBar(out io.Writer) *bar {
	b := &bar{out: out, last: time.Now()}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		b.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return b
}

func (b *bar) show(p ingest.Progress) {
	wait := relog
	if b.terminal {
		wait = redraw
	}
	if time.Since(b.last) < wait && (p.Waiting == "" || b.waiting) {
		return
	}
	b.last, b.waiting = time.Now(), p.Waiting != ""
	b.draw(p)
}

const barWidth = 20

// A line that is too long for the terminal is cut there. Were it wrapped, only the last
// part of it would be drawn over.
const wrapOff, wrapOn = "\x1b[?7l", "\x1b[?7h"

func (b *bar) draw(p ingest.Progress) {
	text := fmt.Sprintf("%d of %d files, %d chunks written, %d unchanged, %d failed", p.Files, p.AllFiles, p.New, p.Unchanged, len(p.Failed))
	if p.Waiting != "" {
		text += "; " + p.Waiting
	}
	if !b.terminal {
		fmt.Fprintln(b.out, text)
		return
	}
	full := barWidth * p.Files / max(p.AllFiles, 1)
	fmt.Fprintf(b.out, "\r\x1b[K"+wrapOff+"[%s%s] %s"+wrapOn, strings.Repeat("#", full), strings.Repeat(" ", barWidth-full), text)
}

// end leaves the last state standing on a terminal.
func (b *bar) end(p ingest.Progress) {
	if b.terminal {
		b.draw(p)
		fmt.Fprintln(b.out)
	}
}
