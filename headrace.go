// Package headrace holds the configuration that the gateway ships with. The
// gateway itself is command cmd/headrace; its parts are the packages below
// pipeline, plugins, providers and proxy.
package headrace

import _ "embed"

// DefaultConfig is gateway.yaml, which runs where no other file is given.
//
//go:embed gateway.yaml
var DefaultConfig []byte
