package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

const lookedUp = `
providers: { one: { answer: {} } }
stores: { kept: { memory: {} }, other: { memory: { max: 2MiB } }, idle: { when: "", memory: {} } }
models: { "*": [ { provider: one } ] }
routes: [ { name: r, match: { path: /v1/* }, chain: [ pass: { store: kept } ] } ]
`

// Lookup finds what the file declares, by name and by what it implements, also
// where it was carried over from the file before.
func TestLookup(t *testing.T) {
	allClosed(t)
	old := load(t, nil, lookedUp)
	defer old.Release()
	s := load(t, old, lookedUp)
	defer s.Release()
	if c, ok := config.Lookup[pipeline.CacheStore](s, "kept"); !ok || c == nil {
		t.Error("a store is not found")
	}
	if _, ok := config.Lookup[pipeline.Provider](s, "one"); !ok {
		t.Error("a provider is not found")
	}
	for _, name := range []string{"one", "idle", "nobody", ""} {
		if c, ok := config.Lookup[pipeline.CacheStore](s, name); ok || c != nil {
			t.Errorf("%q is found as a store", name)
		}
	}
	if diff := cmp.Diff([]string{"kept", "other"}, config.Names[pipeline.CacheStore](s)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"one"}, config.Names[pipeline.Provider](s)); diff != "" {
		t.Error(diff)
	}
}
