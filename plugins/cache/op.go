package cache

import (
	"fmt"
	"strings"

	"github.com/headrace/headrace/pipeline"
)

// Op is an operation whose answers depend on the request alone, so that they
// can be kept.
type Op struct{ pipeline.Operation }

var cacheable = []Op{{pipeline.OpChat}, {pipeline.OpCompletions}, {pipeline.OpEmbeddings}, {pipeline.OpRerank}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Op) UnmarshalText(text []byte) error {
	for _, c := range cacheable {
		if c.String() == string(text) {
			*o = c
			return nil
		}
	}
	return fmt.Errorf("%q is not %s", text, o.SchemaText())
}

// MarshalText implements encoding.TextMarshaler.
func (o Op) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// SchemaText says what is allowed.
func (Op) SchemaText() string {
	names := make([]string, len(cacheable))
	for i, c := range cacheable {
		names[i] = c.String()
	}
	return "one of " + strings.Join(names, ", ")
}
