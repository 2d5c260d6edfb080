package cmd

import (
	"errors"
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
	p.Waiting = "again in 7s: busy"
	b.show(p) // at once, though it is soon
	p.Waiting = "again in 8s: busy"
	b.show(p)
	p.Waiting = ""
	b.end(p)
	if got := file.String(); got != "1 of 2 files, 7 chunks written, 0 unchanged, 0 failed\n1 of 2 files, 7 chunks written, 0 unchanged, 0 failed; again in 7s: busy\n" {
		t.Errorf("%q", got)
	}
}

// An evaluation shows how far it is while it takes long, and nothing once it is done.
func TestBarAsked(t *testing.T) {
	var out buffer
	b := bar{out: &out, terminal: true}
	b.asked("sparse", 5, 10)
	b.asked("sparse", 6, 10) // too soon
	b.clear()
	if got, want := out.String(), "\r\x1b[K\x1b[?7l[##########          ] chain sparse: 5 of 10 questions\x1b[?7h\r\x1b[K"; got != want {
		t.Errorf("%q", got)
	}
}

// Files that failed together are one line, and not hundreds.
func TestTold(t *testing.T) {
	var out buffer
	full, bad := errors.New("disk full"), errors.New("no UTF-8")
	told(&out, []*ingest.FileError{{File: "a", Err: full}, {File: "b", Err: bad}, {File: "c", Err: full}, {File: "d", Err: full}, {File: "e", Err: full}, {File: "f", Err: full}})
	if got := out.String(); got != "failed: a, c, d and 2 more: disk full\nfailed: b: no UTF-8\n" {
		t.Errorf("%q", got)
	}
}
