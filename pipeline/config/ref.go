package config

import (
	"reflect"

	"github.com/headrace/headrace/pipeline"
)

// A Ref is a setting that names another component, one that implements T. Get
// works from Build on, not in Validate. Copies of a Ref refer to the same
// component.
type Ref[T any] struct {
	bound *bound[T]
}

type bound[T any] struct {
	name  string
	value T
}

// Get returns the component, or T's zero value if none is named.
func (r Ref[T]) Get() T {
	if r.bound == nil {
		var none T
		return none
	}
	return r.bound.value
}

// Name returns the component's name in the file, or "" if none is named.
func (r Ref[T]) Name() string {
	if r.bound == nil {
		return ""
	}
	return r.bound.name
}

// IsZero reports whether no component is named.
func (r Ref[T]) IsZero() bool { return r.bound == nil }

// reference is what the loader needs of a Ref, whatever its T.
type reference interface {
	wants() reflect.Type
	name(string) (set func(any))
}

func (r *Ref[T]) wants() reflect.Type { return reflect.TypeFor[T]() }

// name points the reference at a component yet to be built; set gives it.
func (r *Ref[T]) name(name string) (set func(any)) {
	b := &bound[T]{name: name}
	r.bound = b
	return func(v any) { b.value = v.(T) }
}

// An Each is a setting that holds a chain which is compiled once per target, so
// that each target has stages with a memory of their own. Copies of an Each
// share the chains. They are complete from Build on.
type Each struct {
	chains []pipeline.Chain // by Index
}

// For returns the chain of one target: nil when the setting is not set, or t is
// not one of the file's targets.
func (e Each) For(t *pipeline.Target) pipeline.Chain {
	if t == nil || t.Index >= len(e.chains) {
		return nil
	}
	return e.chains[t.Index]
}

// IsZero reports whether the setting is not set.
func (e Each) IsZero() bool { return e.chains == nil }
