package config

import (
	"context"
	"log/slog"
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
	return nil, Problems{{File: src.File, Line: 1, Col: 1, Msg: "not loaded"}}
}

// Check reports what Load would, except for what only building can tell.
func Check(src Source, reg Registry) error {
	return nil
}
