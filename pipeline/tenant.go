package pipeline

import (
	"context"
	"time"
)

// A Policy is what one tenant may do.
type Policy struct {
	// Collections that requests may name; nil for all.
	Collections []string
	// Scopes are further permissions, such as graph:query.
	Scopes []string
	// Admin may manage tenants and their keys.
	Admin bool
}

// A Tenant is a client of the gateway with keys of its own.
type Tenant struct {
	ID          string
	Name        string
	Description string
	Status      string // active, suspended or deleted
	Created     time.Time
	Updated     time.Time
	Policy      Policy
	Keys        []TenantKey // where one tenant is asked for, the oldest first
}

// A TenantKey is one key of a tenant. The key itself is known only when it is
// made.
type TenantKey struct {
	ID      string // a UUID
	Tenant  string
	Name    string
	Key     string // empty but for a key just made
	Created time.Time
	Expires time.Time // zero: never
	Revoked bool
}

// KeyOwners knows whose keys are, while tenants and keys come and go.
type KeyOwners interface {
	// Owner returns whose key has this SHA-256, and what that tenant may do. It
	// reports false for a key that is unknown, revoked or expired, and for one of
	// a tenant that is not active. It does not allocate, and asks nobody.
	Owner(digest [32]byte) (tenant string, policy *Policy, ok bool)
}

// A TenantStore keeps tenants and the digests of their keys. What it has
// returned from is kept for good, and in effect at once. An unknown tenant or
// key is an *Error with status 404 and code tenant_not_found or key_not_found.
type TenantStore interface {
	KeyOwners
	// CreateTenant makes a tenant of t's Name, Description and Policy, and its
	// first key.
	CreateTenant(ctx context.Context, t Tenant) (Tenant, TenantKey, error)
	// Tenants returns some of the tenants, the latest first, and how many there
	// are. Deleted ones are among them.
	Tenants(ctx context.Context, limit, offset int) (some []Tenant, total int, err error)
	// Tenant returns one, with its keys.
	Tenant(ctx context.Context, id string) (Tenant, error)
	// SetTenantStatus also deletes: what is deleted stays on record and cannot be
	// made active again, which is an *Error with status 409 and code tenant_deleted.
	SetTenantStatus(ctx context.Context, id, status string) (Tenant, error)
	// CreateKey makes a key of k's Tenant, Name and Expires. Its error for a deleted
	// tenant is that of SetTenantStatus.
	CreateKey(ctx context.Context, k TenantKey) (TenantKey, error)
	// RevokeKey ends a key for good, and may be called again.
	RevokeKey(ctx context.Context, tenant, id string) error
}
