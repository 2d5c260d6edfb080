package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
)

// maxKey bounds what is hashed for a stranger, in bytes.
const maxKey = 512

// defaultTenant owns the keys that name no tenant.
const defaultTenant = "default"

// shown returns the key that the client shows, nil if none. A bearer goes
// before the other fields; another scheme of Authorization is not ours.
func shown(h *fasthttp.RequestHeader) []byte {
	if key, ok := bearer(h.Peek(fasthttp.HeaderAuthorization)); ok {
		return key
	}
	for _, name := range [...]string{"X-Api-Key", "Api-Key"} {
		if key := bytes.TrimSpace(h.Peek(name)); len(key) > 0 {
			return key
		}
	}
	return nil
}

// bearer returns what follows the scheme, in any case of its letters.
func bearer(v []byte) (key []byte, ok bool) {
	const scheme = "bearer "
	if len(v) < len(scheme) || !strings.EqualFold(string(v[:len(scheme)]), scheme) {
		return nil, false
	}
	key = bytes.TrimSpace(v[len(scheme):])
	return key, len(key) > 0
}

// wellFormed reports whether key could be a key at all: short enough, and of
// ASCII that can be printed. Clients trim it, so that it neither begins nor ends with
// a space.
func wellFormed(key []byte) bool {
	if len(key) == 0 || len(key) > maxKey {
		return false
	}
	for _, c := range key {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return key[0] != ' ' && key[len(key)-1] != ' '
}

// known indexes every key by its digest. Its errors say where the mistake is
// and never hold any of a key.
func (c Config) known() (map[digest]client, error) {
	known := map[digest]client{}
	add := func(where, tenant, key, sum string, policy *pipeline.Policy) error {
		d, err := digestOf(key, sum)
		if err == nil {
			err = checkTenant(tenant)
		}
		if err == nil && known[d].tenant != "" {
			err = errors.New("holds a key that an earlier entry holds already")
		}
		if err != nil {
			return fmt.Errorf("%s %w", where, err)
		}
		known[d] = client{digest: d, tenant: tenant, policy: policy}
		return nil
	}
	n := 0
	for spec := range strings.FieldsFuncSeq(string(c.Keys), func(r rune) bool { return r == ',' || r == '\n' }) {
		if spec = strings.TrimSpace(spec); spec == "" {
			continue
		}
		n++
		tenant, key, found := strings.Cut(spec, "=")
		if !found {
			tenant, key = defaultTenant, spec
		}
		tenant, key = strings.TrimSpace(tenant), strings.TrimSpace(key)
		if _, next, several := strings.Cut(key, " "); several && (!found || strings.Contains(next, "=")) {
			return nil, fmt.Errorf("keys: entry %d seems to be several; separate them with commas", n)
		}
		sum, hashed := strings.CutPrefix(key, "sha256:")
		if hashed {
			key = ""
		} else {
			sum = ""
		}
		if err := add(fmt.Sprintf("keys: entry %d", n), tenant, key, sum, nil); err != nil {
			return nil, err
		}
	}
	for i, cl := range c.Clients {
		if err := add(fmt.Sprintf("clients[%d]", i), cl.Tenant, string(cl.Key), cl.SHA256, cl.policy()); err != nil {
			return nil, err
		}
	}
	if c.Admin != "" {
		admin := &pipeline.Policy{Admin: true, Scopes: []string{"graph:query"}}
		if err := add("admin", defaultTenant, string(c.Admin), "", admin); err != nil {
			return nil, err
		}
	}
	c.confine(known)
	if len(known) == 0 && c.Tenants.IsZero() {
		return nil, errors.New("auth without keys would let nobody in; set keys, clients or tenants, or switch the stage off with when")
	}
	return known, nil
}

// policy is what the settings of a client say of it, nil if nothing.
func (c Client) policy() *pipeline.Policy {
	if c.Collections == nil && c.Scopes == nil {
		return nil
	}
	return &pipeline.Policy{Collections: c.Collections, Scopes: c.Scopes}
}

// confine takes the further permissions from keys of which nothing is said, as
// soon as there is more than one tenant.
func (c Config) confine(known map[digest]client) {
	tenants := map[string]bool{}
	for _, k := range known {
		tenants[k.tenant] = true
	}
	if len(tenants) < 2 && c.Tenants.IsZero() {
		return
	}
	for d, k := range known {
		if k.policy == nil {
			k.policy = &pipeline.Policy{}
			known[d] = k
		}
	}
}

// ofTenant reports whether key looks like one of a store: sk-TENANT-RANDOM.
func ofTenant(key []byte) bool {
	rest, ok := bytes.CutPrefix(key, []byte("sk-"))
	return ok && bytes.IndexByte(rest, '-') > 0
}

// digestOf returns the digest of key, or the one that sum spells.
func digestOf(key, sum string) (d digest, err error) {
	switch {
	case key != "" && sum != "":
		return d, errors.New("has both key and sha256; set one of them")
	case sum != "":
		if b, err := hex.DecodeString(sum); err == nil && len(b) == len(d) {
			return digest(b), nil
		}
		return d, errors.New("has a sha256 that is not 64 hexadecimal digits")
	case key == "" || strings.Trim(key, "=") == "":
		return d, errors.New("has no key; write tenant=key")
	case !wellFormed([]byte(key)):
		return d, fmt.Errorf("has a key that no client can show; keys are 1 to %d printable ASCII characters", maxKey)
	}
	return sha256.Sum256([]byte(key)), nil
}

// checkTenant refuses names that would not survive a log line, a metric or a
// cache key. The name is not repeated: a key with "=" in it may have been
// taken for one.
func checkTenant(name string) error {
	ok := name != "" && len(name) <= 64
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return errors.New("has no usable tenant; a tenant is 1 to 64 letters, digits, '-', '_' or '.'")
	}
	return nil
}
