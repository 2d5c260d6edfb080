package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
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

// A single tenant's keys may do everything.
func TestOneTenant(t *testing.T) {
	known, err := Config{Keys: "a=x,a=y"}.known()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range known {
		if c.policy != nil {
			t.Errorf("%+v", c.policy)
		}
	}
}
