package cmd

import (
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline/ingest"
)

// On a terminal each state is drawn over the one before it, on one line however narrow
// that is; elsewhere it is a line of its own.
func TestBar(t *testing.T) {
	p := ingest.Progress{Files: 1, AllFiles: 2, Written: ingest.Written{New: 7}}
	var terminal, file buffer
	b := bar{out: &terminal, terminal: true}
	b.show(p)
	b.show(p) // too soon
	b.end(p)
	const line = "\r\x1b[K\x1b[?7l[##########          ] 1 of 2 files, 7 chunks written, 0 unchanged, 0 failed\x1b[?7h"
	if got := terminal.String(); got != strings.Repeat(line, 2)+"\n" {
		t.Errorf("%q", got)
	}
	b = bar{out: &file}
	b.show(p)
	b.end(p)
	if got := file.String(); got != "1 of 2 files, 7 chunks written, 0 unchanged, 0 failed\n" {
		t.Errorf("%q", got)
	}
}
