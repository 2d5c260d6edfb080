// Package config turns a YAML file into running components.
//
// A component is a plain struct of settings with a Build method. Define puts it
// into a Registry together with its defaults and its own source, from which the
// reference and the JSON Schema take their prose. Load reads a file, reports
// every problem in it at once, each with its place, and only when there is none
// builds what the file describes: a Snapshot. A component whose settings did
// not change since the previous snapshot is carried over with all it remembers.
//
// Nothing here runs per request except Live.Acquire and Snapshot.Release.
package config

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
)

// A Builder is the settings of a component: decoded from YAML over its
// defaults, checked, then asked once to build the running thing.
//
// Build is all or nothing: on error it leaves nothing open. If what it returns
// is an io.Closer, it is closed once, after its last user; whatever Build
// started must stop then, within ten seconds. ctx bounds Build alone.
//
// A Builder whose Build reads files has the method Files() []string, which names
// them: what is in them counts as settings when a file is loaded again.
type Builder[T any] interface {
	Build(ctx context.Context, env Env) (T, error)
}

// Env is what the gateway lends a component for as long as it lives.
type Env struct {
	// Name is the component's path in the file, made of names only, such as
	// "routes.chat.cache" or "routes.chat.race.each.breaker[upstream/gpt-4o]".
	Name string
	// Log has the name attached.
	Log *slog.Logger
	// Metrics takes the component's metrics, adds the label component=Name to
	// each, and forgets them with the component. It is never nil.
	Metrics prometheus.Registerer
	// Targets is every target of the file, by Index, for components that have
	// an Each among their settings. Those are built anew when a target comes or
	// goes, so a slice of state per target may be sized by it. All others
	// outlive such a change: what they learn about targets they keep by
	// *pipeline.Target, which is the same as long as nothing about it changes.
	Targets []*pipeline.Target
	// Target is, inside an Each, the one target that this instance serves.
	Target *pipeline.Target
}

// A Component is one kind of building block that a file can name. Define makes
// it; the zero Component is of no use.
type Component struct {
	name     string
	iface    reflect.Type  // what Build returns
	defaults reflect.Value // the Config value given to Define
	src      string
	each     bool // has an Each among its settings
	build    func(ctx context.Context, settings any, env Env) (any, error)
}

// Define describes a component that implements T. T says where the component
// may stand: a pipeline.Handler is a stage of a chain, a pipeline.Provider
// stands under providers, anything else under stores. T may be a concrete type
// that implements several ports.
//
// C is a struct, and Build a method of it, not of a pointer to it. defaults are the settings of a component of which the file says nothing. src
// is the Go source that holds the type of defaults, embedded by the component's
// own package, for the reference and the schema.
func Define[T any, C Builder[T]](name string, defaults C, src string) Component {
	if t := reflect.TypeFor[C](); t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("BUG: component %q: its settings are a %s, and have to be a struct; give Build a receiver that is no pointer", name, t))
	}
	return Component{
		name:     name,
		iface:    reflect.TypeFor[T](),
		defaults: reflect.ValueOf(defaults),
		src:      src,
		each:     holds(reflect.TypeFor[C](), eachType, nil),
		build: func(ctx context.Context, settings any, env Env) (any, error) {
			return settings.(C).Build(ctx, env)
		},
	}
}

// holds reports whether there is a setting of type want within t.
func holds(t, want reflect.Type, within []reflect.Type) bool {
	switch {
	case t == want:
		return true
	case slices.Contains(within, t):
		return false
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return holds(t.Elem(), want, append(within, t))
	case reflect.Struct:
		for _, f := range fieldsOf(t) {
			if holds(f.typ, want, append(within, t)) {
				return true
			}
		}
	}
	return false
}

// Name is what a file calls the component.
func (c Component) Name() string { return c.name }

// Kind is the kind of the component in words: plugin, provider, or a store's
// kind such as vectorstore.
func (c Component) Kind() string { return kindOf(c.iface) }

// Section is the top-level key of the file under which the component stands.
func (c Component) Section() string { return sectionOf(c.iface) }

// Build builds the component from its defaults, without a file. It is for tests
// and for programs that use a component by itself.
func (c Component) Build(ctx context.Context, env Env) (any, error) {
	return c.build(ctx, c.defaults.Interface(), env)
}

// String returns kind and name.
func (c Component) String() string { return fmt.Sprintf("%s %q", c.Kind(), c.name) }

// A Registry is the set of components that a file can use.
type Registry []Component

// With returns the registry extended by more components. A later component
// replaces an earlier one of the same name and section.
func (r Registry) With(more ...Component) Registry {
	return append(slices.Clip(r), more...)
}

// find returns the component that a section's file calls name.
func (r Registry) find(section, name string) (Component, bool) {
	for _, c := range slices.Backward(r) {
		if c.name == name && c.Section() == section {
			return c, true
		}
	}
	return Component{}, false
}

// names returns what a section can hold, sorted.
func (r Registry) names(section string) []string {
	var out []string
	for _, c := range r {
		if c.Section() == section {
			out = append(out, c.name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

var (
	handlerType  = reflect.TypeFor[pipeline.Handler]()
	providerType = reflect.TypeFor[pipeline.Provider]()
)

// The sections in which components stand.
const (
	inChains    = "chains"
	inProviders = "providers"
	inStores    = "stores"
)

func sectionOf(t reflect.Type) string {
	switch {
	case t.Implements(handlerType):
		return inChains
	case t.Implements(providerType):
		return inProviders
	}
	return inStores
}

// kindOf names the kind of component that implements t.
func kindOf(t reflect.Type) string {
	switch {
	case t.Implements(handlerType):
		return "plugin"
	case t.Kind() == reflect.Pointer:
		return strings.ToLower(t.Elem().Name())
	}
	return strings.ToLower(t.Name())
}
