package config

import (
	"bytes"
	"context"
	"log/slog"
	"unicode/utf8"
)

// A Source is a file to load.
type Source struct {
	// File is its name, as problems shall show it.
	File string
	Data []byte
	// Getenv looks up a variable, as os.LookupEnv does; nil knows none.
	Getenv func(string) (string, bool)
}

// Load reads a file and builds what it describes. If there is any problem,
// nothing stays open and the error is a Problems. Otherwise the caller owns one
// reference to the snapshot, to be released or given to Live.Swap.
//
// old, which may be nil and which the caller must hold while Load runs, is
// where unchanged components are carried over from.
func Load(ctx context.Context, src Source, reg Registry, log *slog.Logger, old *Snapshot) (*Snapshot, error) {
	l := newLoader(src, reg, log)
	if !l.check(src) {
		return nil, l.finish()
	}
	s := l.build(ctx, old)
	if s == nil {
		return nil, l.finish()
	}
	for _, u := range s.units {
		u.users.Add(1)
	}
	return s, nil
}

// Check reports what Load would, except for what only building can tell.
func Check(src Source, reg Registry) error {
	if l := newLoader(src, reg, nil); !l.check(src) {
		return l.finish()
	}
	return nil
}

func newLoader(src Source, reg Registry, log *slog.Logger) *loader {
	l := &loader{
		file: src.File, reg: reg, log: log, getenv: src.Getenv,
		declared: map[string]*declaration{},
		chains:   map[string]*node{}, compiled: map[string]*compiled{}, alike: map[string][]*target{},
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.getenv == nil {
		l.getenv = func(string) (string, bool) { return "", false }
	}
	for line := range bytes.Lines(unbroken(src.Data)) {
		l.lines = append(l.lines, utf8.RuneCount(bytes.TrimRight(line, "\n")))
	}
	if len(l.lines) == 0 {
		l.lines = []int{0}
	}
	return l
}

// check reads the file. It reports whether there was no problem.
func (l *loader) check(src Source) bool {
	root, problems := parse(src.File, src.Data)
	l.problems = problems
	if root != nil {
		l.read(root)
	}
	return len(l.problems) == 0
}
