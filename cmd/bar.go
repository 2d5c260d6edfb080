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
	if !b.due() && (p.Waiting == "" || b.waiting) {
		return
	}
	b.last, b.waiting = time.Now(), p.Waiting != ""
	b.draw(p)
}

// due reports whether it is time for another sign of life.
func (b *bar) due() bool {
	wait := relog
	if b.terminal {
		wait = redraw
	}
	return time.Since(b.last) >= wait
}

const barWidth = 20

// A line that is too long for the terminal is cut there. Were it wrapped, only the last
// part of it would be drawn over.
const wrapOff, wrapOn = "\x1b[?7l", "\x1b[?7h"

func (b *bar) draw(p ingest.Progress) {
	text := fmt.Sprintf("%d of %d files, %d chunks written, %d unchanged, %d failed", p.Files, p.AllFiles, p.New, p.Unchanged, len(p.Failed))
	if p.Asked > 0 {
		text += fmt.Sprintf(", models asked about %d", p.Asked)
	}
	if p.Waiting != "" {
		text += "; " + p.Waiting
	}
	b.line(p.Files, p.AllFiles, text)
}

func (b *bar) line(done, all int, text string) {
	if !b.terminal {
		fmt.Fprintln(b.out, text)
		return
	}
	full := barWidth * done / max(all, 1)
	fmt.Fprintf(b.out, "\r\x1b[K"+wrapOff+"[%s%s] %s"+wrapOn, strings.Repeat("#", full), strings.Repeat(" ", barWidth-full), text)
}

// asked shows how many of all questions a chain has been asked.
func (b *bar) asked(chain string, n, all int) {
	if b.due() {
		b.last = time.Now()
		b.line(n, all, fmt.Sprintf("chain %s: %d of %d questions", chain, n, all))
	}
}

// clear takes the bar off a terminal.
func (b *bar) clear() {
	if b.terminal {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}

// end leaves the last state standing on a terminal.
func (b *bar) end(p ingest.Progress) {
	if b.terminal {
		b.draw(p)
		fmt.Fprintln(b.out)
	}
}
