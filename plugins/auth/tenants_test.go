package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// owners are keys that come and go.
type owners map[[32]byte]string

func (o owners) Owner(d [32]byte) (string, *pipeline.Policy, bool) {
	tenant, ok := o[d]
	return tenant, &pipeline.Policy{}, ok
}

func TestTenants(t *testing.T) {
	const key = "sk-acme-secret"
	store := owners{sha256.Sum256([]byte(key)): "acme"}
	file := `
stores: { who: { owners: {} } }
routes:
  - name: test
    match: { path: /v1/* }
    chain:
      - auth: { keys: "dev-key", tenants: who, admin: boss, clients: [ { tenant: ops, key: ops, scopes: [ graph:query ], collections: [ kb ] } ] }
`
	s, err := config.Load(context.Background(), config.Source{File: "test.yaml", Data: []byte(file)},
		config.Registry{Plugin, pipetest.Fixed[pipeline.KeyOwners]("owners", store)}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	f := func(shown, tenant, code string, want *pipeline.Policy) {
		t.Helper()
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		ex.Request.Header.Set("X-Api-Key", shown)
		err := s.Routes[0].Chain.Handle(ex.Context(), ex)
		if e, ok := errors.AsType[*pipeline.Error](err); ok != (code != "") || ok && (e.Code != code || e.Status != 401) || ex.Tenant != tenant {
			t.Errorf("%s: %v, tenant %q", shown, err, ex.Tenant)
		}
		if p := ex.Policy; want != nil && (p == nil || p.Admin != want.Admin || !slices.Equal(p.Scopes, want.Scopes) || !slices.Equal(p.Collections, want.Collections)) {
			t.Errorf("%s may %+v, want %+v", shown, p, want)
		}
	}
	f(key, "acme", "", &pipeline.Policy{})
	f("dev-key", "default", "", &pipeline.Policy{}) // not nil: there are several tenants
	f("ops", "ops", "", &pipeline.Policy{Scopes: []string{"graph:query"}, Collections: []string{"kb"}})
	f("boss", "default", "", &pipeline.Policy{Admin: true, Scopes: []string{"graph:query"}})
	f("sk-acme-wrong", "", "expired_api_key", nil)
	f("sk-wrong", "", "invalid_api_key", nil)
	delete(store, sha256.Sum256([]byte(key)))
	f(key, "", "expired_api_key", nil)
}

// The keys of a single tenant may do everything but what their own entry leaves
// out. As soon as there may be a second, what nobody has granted is kept from all.
func TestPermissions(t *testing.T) {
	f := func(settings, key string, want *pipeline.Policy) {
		t.Helper()
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		ex.Request.Header.Set("X-Api-Key", key)
		s := pipetest.Load(t, config.Registry{Plugin, pipetest.Fixed[pipeline.KeyOwners]("owners", owners{})},
			"stores: { who: { owners: {} } }\nroutes: [ { name: test, match: { path: /v1/* }, chain: [ auth: "+settings+" ] } ]\n")
		if err := s.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
			t.Error(err)
		}
		if !reflect.DeepEqual(ex.Policy, want) {
			t.Errorf("%s: %s may %+v, want %+v", settings, key, ex.Policy, want)
		}
	}
	f(`{ keys: "a=x,a=y" }`, "x", nil)
	f(`{ keys: "x" }`, "x", nil)
	f(`{ keys: "a=x,b=y" }`, "x", &pipeline.Policy{})
	f(`{ keys: "a=x", clients: [ { tenant: b, key: y } ] }`, "x", &pipeline.Policy{})
	f(`{ keys: "a=x", clients: [ { tenant: b, key: y } ] }`, "y", &pipeline.Policy{})
	f(`{ keys: "a=x", tenants: who }`, "x", &pipeline.Policy{})
	f(`{ keys: "a=x", admin: boss }`, "x", &pipeline.Policy{})
	f(`{ clients: [ { tenant: a, key: x, collections: [ kb ] } ] }`, "x", &pipeline.Policy{Collections: []string{"kb"}})
	f(`{ clients: [ { tenant: a, key: x, scopes: [ graph:query ] } ] }`, "x", &pipeline.Policy{Scopes: []string{"graph:query"}})
	f(`{ keys: "b=y", clients: [ { tenant: a, key: x, collections: [ kb ] } ] }`, "x", &pipeline.Policy{Collections: []string{"kb"}})
}

// What was refused is counted by what was wrong with the key.
func TestMetrics(t *testing.T) {
	s := pipetest.Load(t, config.Registry{Plugin, pipetest.Fixed[pipeline.KeyOwners]("owners", owners{})},
		"stores: { who: { owners: {} } }\nroutes: [ { name: test, match: { path: /v1/* }, chain: [ auth: { keys: x, tenants: who } ] } ]\n")
	for _, key := range []string{"x", "", "wrong", "wrong", "sk-acme-1", "sk-acme-2", "sk-acme-3"} {
		_, _ = ask(t, s.Routes[0].Chain, "X-Api-Key: "+key)
	}
	got := pipetest.Metrics(t, s)
	for reason, want := range map[string]float64{"missing": 1, "invalid": 2, "expired": 3} {
		if n := got["headrace_auth_refused_total "+reason]; n != want {
			t.Errorf("%v were refused as %s, want %v", n, reason, want)
		}
	}
}
