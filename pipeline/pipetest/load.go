package pipetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
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

// Metrics returns what the components of s count, by name and the values of the
// labels that they set: "headrace_cache_requests_total hit".
func Metrics(t testing.TB, s *config.Snapshot) map[string]float64 {
	t.Helper()
	families, err := s.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			words := []string{f.GetName()}
			for _, l := range m.Label {
				if l.GetName() != "component" { // which the loader sets
					words = append(words, l.GetValue())
				}
			}
			all[strings.Join(words, " ")] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

// Counted returns the labels of the counter called name that are not at zero, and how often:
// "hit 1". Of several it is all, in the order of their labels.
func Counted(t testing.TB, s *config.Snapshot, name string) string {
	t.Helper()
	var all []string
	for labels, n := range Metrics(t, s) {
		if labels, ok := strings.CutPrefix(labels, name+" "); ok && n > 0 {
			all = append(all, fmt.Sprint(labels, " ", n))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Stages returns the names of the stages whose times a retrieval has, in their order.
func Stages(r *pipeline.Retrieval) string {
	var names []string
	for _, st := range r.Stages {
		names = append(names, st.Stage)
	}
	return strings.Join(names, " ")
}
