package rag

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline/lru"
)

// idPrefix begins the id of every context.
const idPrefix = "ctx_"

// Contexts keeps what answers were made from, each for a while under an id that
// cannot be guessed and for its tenant alone. It may be used concurrently.
type Contexts struct {
	cache *lru.Cache
	ttl   time.Duration
}

// NewContexts returns a store that takes at most size bytes of memory and keeps
// a context for at most ttl.
func NewContexts(size int64, ttl time.Duration) *Contexts {
	return &Contexts{cache: lru.New(size), ttl: ttl}
}

// NewContextID returns an id of 128 random bits.
func NewContextID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails; it ends the program instead
	return idPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// Put keeps value, which must not change any more. It reports false if value
// is too large to be kept.
func (c *Contexts) Put(tenant, id string, value []byte) bool {
	return c.cache.Set(contextKey(tenant, id), value, c.ttl)
}

// Get returns what was put for the tenant under id. It is shared: callers must
// not modify it.
func (c *Contexts) Get(tenant, id string) (value []byte, ok bool) {
	if len(id) > 64 || !strings.HasPrefix(id, idPrefix) {
		return nil, false
	}
	return c.cache.Get(contextKey(tenant, id))
}

func contextKey(tenant, id string) lru.Key {
	b := binary.AppendUvarint(nil, uint64(len(tenant)))
	return sha256.Sum256(append(append(b, tenant...), id...))
}
