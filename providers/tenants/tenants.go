// Package tenants keeps tenants and the digests of their keys in one file. All
// of it is in memory too, so that a key costs one digest and one look, and what
// is revoked is refused from then on.
//
// Keys are 256 random bits, so a plain SHA-256 of them can be neither guessed
// nor reversed: nothing slower would make them any safer.
package tenants

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed tenants.go
var source string

// Component describes tenants to a registry.
var Component = config.Define[pipeline.TenantStore]("tenants", Config{}, source)

// Config keeps tenants and their keys.
type Config struct {
	// Path is where: of a folder that exists, the file tenants.json in it; a file
	// that ends in .json; else the file of that name with .tenants.json behind
	// it, so that a store may have the same path. The file is made on the first
	// write. It holds digests and no keys. One gateway may use it at a time.
	// Without a path all is forgotten when the gateway stops.
	Path string `yaml:"path"`
}

// Build implements config.Builder.
func (c Config) Build(context.Context, config.Env) (pipeline.TenantStore, error) {
	return open(fileOf(c.Path))
}

// Store implements pipeline.TenantStore.
type Store struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	records records // guarded by mu

	owners atomic.Pointer[map[[32]byte]owner]
}

// owner is who a key belongs to.
type owner struct {
	tenant  string
	policy  *pipeline.Policy
	expires time.Time
}

func open(path string) (*Store, error) {
	s := &Store{path: path, now: time.Now}
	if err := s.load(); err != nil {
		return nil, err
	}
	s.index()
	return s, nil
}

// Owner implements pipeline.KeyOwners.
func (s *Store) Owner(digest [32]byte) (string, *pipeline.Policy, bool) {
	o, ok := (*s.owners.Load())[digest]
	if !ok || !o.expires.IsZero() && !s.now().Before(o.expires) {
		return "", nil, false
	}
	return o.tenant, o.policy, true
}

// index makes the owners anew. Only keys that open something are among them.
func (s *Store) index() {
	owners := map[[32]byte]owner{}
	for i := range s.records.Tenants {
		t := &s.records.Tenants[i]
		if t.Status != active {
			continue
		}
		policy := t.policy()
		for _, k := range t.Keys {
			if !k.Revoked {
				owners[k.Digest] = owner{t.ID, &policy, k.Expires}
			}
		}
	}
	s.owners.Store(&owners)
}

// change runs f over the records, and keeps what it did only if that could be
// written.
func (s *Store) change(f func(r *records) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.records.clone()
	if err := f(&next); err != nil {
		return err
	}
	if err := s.save(&next); err != nil {
		return err
	}
	s.records = next
	s.index()
	return nil
}

// CreateTenant implements pipeline.TenantStore.
func (s *Store) CreateTenant(_ context.Context, t pipeline.Tenant) (out pipeline.Tenant, key pipeline.TenantKey, err error) {
	err = s.change(func(r *records) error {
		now := s.now().UTC()
		n := tenant{
			ID: newID(r), Name: t.Name, Description: t.Description, Status: active, Created: now, Updated: now,
			Scopes: t.Policy.Scopes, Collections: t.Policy.Collections,
		}
		key = n.add("default", now, time.Time{})
		r.Tenants = append(r.Tenants, n)
		out = n.public()
		return nil
	})
	return out, key, err
}

// Tenants implements pipeline.TenantStore.
func (s *Store) Tenants(_ context.Context, limit, offset int) ([]pipeline.Tenant, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.records.Tenants)
	slices.SortStableFunc(all, func(a, b tenant) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	var out []pipeline.Tenant
	for i := max(0, offset); i < len(all) && len(out) < limit; i++ {
		out = append(out, all[i].public())
	}
	return out, len(all), nil
}

// Tenant implements pipeline.TenantStore.
func (s *Store) Tenant(_ context.Context, id string) (pipeline.Tenant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.records.find(id)
	if err != nil {
		return pipeline.Tenant{}, err
	}
	out := t.public()
	for _, k := range t.Keys {
		out.Keys = append(out.Keys, pipeline.TenantKey{ID: k.ID, Tenant: t.ID, Name: k.Name, Created: k.Created, Expires: k.Expires, Revoked: k.Revoked})
	}
	return out, nil
}

// SetTenantStatus implements pipeline.TenantStore.
func (s *Store) SetTenantStatus(_ context.Context, id, status string) (out pipeline.Tenant, err error) {
	err = s.change(func(r *records) error {
		t, err := r.find(id)
		if err != nil {
			return err
		}
		switch {
		case status != active && status != suspended && status != deleted:
			return &pipeline.Error{Status: 422, Code: "invalid_value", Fault: pipeline.CallerFault, Err: fmt.Errorf("the status %.20q is none of active, suspended and deleted", status)}
		case t.Status == deleted && status != deleted:
			return gone(id)
		}
		t.Status, t.Updated = status, s.now().UTC()
		out = t.public()
		return nil
	})
	return out, err
}

// CreateKey implements pipeline.TenantStore.
func (s *Store) CreateKey(_ context.Context, k pipeline.TenantKey) (out pipeline.TenantKey, err error) {
	err = s.change(func(r *records) error {
		t, err := r.find(k.Tenant)
		if err != nil {
			return err
		}
		if t.Status == deleted {
			return gone(t.ID) // a key of it would never work
		}
		if len(t.Keys) >= maxKeys {
			return &pipeline.Error{Status: 409, Code: "too_many_keys", Fault: pipeline.CallerFault, Err: fmt.Errorf("tenant %s has had %d keys already", t.ID, maxKeys)}
		}
		out = t.add(k.Name, s.now().UTC(), k.Expires)
		return nil
	})
	return out, err
}

func gone(id string) error {
	return &pipeline.Error{Status: 409, Code: "tenant_deleted", Fault: pipeline.CallerFault, Err: fmt.Errorf("tenant %s is deleted", id)}
}

// RevokeKey implements pipeline.TenantStore.
func (s *Store) RevokeKey(_ context.Context, tenant, id string) error {
	return s.change(func(r *records) error {
		t, err := r.find(tenant)
		if err != nil {
			return err
		}
		for i := range t.Keys {
			if t.Keys[i].ID != id {
				continue
			}
			if !t.Keys[i].Revoked {
				t.Keys[i].Revoked = true
				t.Updated = s.now().UTC()
			}
			return nil
		}
		return &pipeline.Error{Status: 404, Code: "key_not_found", Fault: pipeline.CallerFault, Err: fmt.Errorf("API key %s not found for tenant %s", id, tenant)}
	})
}

// newID is the name of a new tenant: letters that can stand in a key.
func newID(r *records) string {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:])
		for i := range b {
			b[i] = 'a' + b[i]%26
		}
		if _, err := r.find(string(b[:])); err != nil {
			return string(b[:])
		}
	}
}

// add makes a key.
func (t *tenant) add(name string, now, expires time.Time) pipeline.TenantKey {
	var b [32]byte
	_, _ = rand.Read(b[:])
	secret := "sk-" + t.ID + "-" + base64.RawURLEncoding.EncodeToString(b[:])
	k := key{ID: uuid.NewString(), Name: name, Digest: sha256.Sum256([]byte(secret)), Created: now, Expires: expires}
	t.Keys, t.Updated = append(t.Keys, k), now
	return pipeline.TenantKey{ID: k.ID, Tenant: t.ID, Name: name, Key: secret, Created: now, Expires: expires}
}
