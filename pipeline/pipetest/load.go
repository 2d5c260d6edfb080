package pipetest

import (
	"context"
	"testing"

	"github.com/headrace/headrace/pipeline/config"
)

// Load builds a file and releases it at the end of the test, which fails if the
// file has a problem. Variables come from the environment given as
// "NAME=value", and from nowhere else.
func Load(t testing.TB, reg config.Registry, yaml string, env ...string) *config.Snapshot {
	t.Helper()
	s, err := config.Load(t.Context(), source(yaml, env), reg, nil, nil)
	if err != nil {
		t.Fatalf("load:\n%v\nof\n%s", err, yaml)
	}
	t.Cleanup(s.Release)
	return s
}

// Fixed returns a component that is always value, for stages under test to
// refer to. It has no settings. If value is an io.Closer, it is closed with the
// snapshot that has it.
func Fixed[T any](name string, value T) config.Component {
	return config.Define[T](name, fixed[T]{func() T { return value }}, fixedSource)
}

const fixedSource = `package pipetest

// fixed is a component made by a test.
type fixed struct{}
`

// fixed hides the value in a function, since what it does is none of the
// loader's business, which compares settings.
type fixed[T any] struct{ value func() T }

// Build implements config.Builder.
func (f fixed[T]) Build(context.Context, config.Env) (T, error) { return f.value(), nil }
