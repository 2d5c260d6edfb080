// Package auth lets only clients with a known key pass, and notes whose key it
// was and what that tenant may do. It knows the keys of its settings, and those
// of a store of tenants, which answers from memory. It limits nobody.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

//go:embed auth.go
var source string

// Plugin describes auth to a registry.
var Plugin = config.Define[pipeline.Handler]("auth", Config{}, source)

// Config refuses clients that show no known key. A key is taken from
// "Authorization: Bearer", else from X-API-Key or api-key.
type Config struct {
	// Keys are all keys in one value, as a variable of the environment can
	// hold them: "tenant=key,tenant=key". A key without a tenant belongs to
	// the tenant "default". "sha256:" and 64 hexadecimal digits stand for the
	// key of that digest.
	Keys config.Secret `yaml:"keys"`
	// Clients are keys one by one, in addition to those of keys.
	Clients []Client `yaml:"clients"`
	// Tenants is a store of tenants with keys of their own, which come and go
	// while the gateway runs.
	Tenants config.Ref[pipeline.KeyOwners] `yaml:"tenants"`
	// Admin is the key that may manage those tenants. It may do all else, too,
	// as the tenant "default".
	Admin config.Secret `yaml:"admin"`
}

// Client is a tenant and one of its keys. A tenant may have several.
type Client struct {
	// Tenant owns what is asked for with the key.
	Tenant string `yaml:"tenant" check:"required"`
	// Key is what the client shows.
	Key config.Secret `yaml:"key"`
	// SHA256 is the key's digest in hexadecimal, instead of the key.
	SHA256 string `yaml:"sha256"`
	// Collections are those that requests with the key may name. Without any they may
	// name all. A model's chain searches its own collection whatever stands here, and
	// the graph is the whole tenant's: what two keys must not see of each other's belongs
	// to two tenants.
	Collections []string `yaml:"collections"`
	// Scopes are what the key may do beyond the usual, such as graph:query.
	// While the gateway has one tenant only, its keys may do everything.
	Scopes []string `yaml:"scopes"`
}

// Validate refuses settings that would let nobody in, or not say who is who.
func (c Config) Validate() error {
	_, err := c.known()
	return err
}

// Build implements config.Builder.
func (c Config) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	known, err := c.known()
	if err != nil {
		return nil, err
	}
	var tenants pipeline.KeyOwners
	if !c.Tenants.IsZero() {
		tenants = c.Tenants.Get()
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_auth_refused_total",
		Help: "Requests refused for their key, by what was wrong with it.",
	}, []string{"reason"})
	if err := env.Metrics.Register(refused); err != nil {
		return nil, err
	}
	return &handler{
		known:   known,
		tenants: tenants,
		missing: refused.WithLabelValues("missing"),
		invalid: refused.WithLabelValues("invalid"),
		expired: refused.WithLabelValues("expired"),
	}, nil
}

// Every refusal of a kind is the same to the byte: it tells nothing about how
// near a key was.
var (
	errMissing = &pipeline.Error{
		Status: 401, Type: "authentication_error", Code: "missing_api_key", Fault: pipeline.CallerFault,
		Err: errors.New("no API key: send one as \"Authorization: Bearer KEY\" or \"X-API-Key: KEY\""),
	}
	errInvalid = &pipeline.Error{
		Status: 401, Type: "authentication_error", Code: "invalid_api_key", Fault: pipeline.CallerFault,
		Err: errors.New("the API key is not known here"),
	}
	errExpired = &pipeline.Error{
		Status: 401, Type: "authentication_error", Code: "expired_api_key", Fault: pipeline.CallerFault,
		Err: errors.New("the API key is not known here, or no longer valid"),
	}
)

type handler struct {
	known                     map[digest]client
	tenants                   pipeline.KeyOwners // nil: there are none but those known
	missing, invalid, expired prometheus.Counter
}

type digest [sha256.Size]byte

// client is a key's owner. The digest is there once more to be compared in
// constant time, whatever a map does.
type client struct {
	digest digest
	tenant string
	policy *pipeline.Policy // nil: everything
}

// Guards implements pipeline.Guard.
func (h *handler) Guards() bool { return len(h.known) > 0 || h.tenants != nil }

// Handle implements pipeline.Handler.
func (h *handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	key := shown(&ex.Request.Header)
	if len(key) == 0 {
		h.missing.Inc()
		return errMissing
	}
	tenant, policy, ok := h.owner(key)
	switch {
	case ok:
		ex.Tenant, ex.Policy = tenant, policy
		return next.Handle(ctx, ex)
	case h.tenants != nil && ofTenant(key):
		h.expired.Inc()
		return errExpired
	}
	h.invalid.Inc()
	return errInvalid
}

// owner returns whose key it is, and what that may do.
func (h *handler) owner(key []byte) (tenant string, policy *pipeline.Policy, ok bool) {
	if !wellFormed(key) {
		return "", nil, false
	}
	d := digest(sha256.Sum256(key))
	if c, ok := h.known[d]; ok && subtle.ConstantTimeCompare(c.digest[:], d[:]) == 1 {
		return c.tenant, c.policy, true
	}
	if h.tenants == nil {
		return "", nil, false
	}
	return h.tenants.Owner(d)
}
