// Package lru is a cache in memory that is bounded by bytes: the least recently
// used values make room for new ones. It starts no goroutine and needs no
// closing.
//
// Use it where a component keeps what it could also fetch or compute again. It
// does not load values, and tells nobody of what it drops.
package lru

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A Key identifies a value: a digest of what it was made from.
type Key = [32]byte

const (
	// maxShards bounds how many locks share the load.
	maxShards = 16
	// fullShard is the size from which a cache is split further: smaller
	// shards would refuse entries of ordinary size.
	fullShard = 8 << 20
	// share is the part of its shard, one in share, that one entry may take.
	share = 8
	// overhead is what an entry costs beside its value: the map's slot, the
	// list's node with the entry in it.
	overhead = 222
	// swept is how many entries at the old end a Set looks at for expiry.
	swept = 2
)

// A Cache maps keys to immutable values, each with an expiry of its own. It may
// be used concurrently.
type Cache struct {
	shards []shard
	mask   uint64
	max    int64
}

// entry is a value and when it stops being one.
type entry struct {
	value   []byte
	expires time.Time
}

func (e entry) size() int64 { return int64(cap(e.value)) + overhead }

// shard is a part of the cache with a lock of its own.
type shard struct {
	mu    sync.Mutex
	lru   *simplelru.LRU[Key, entry]
	bytes int64
	limit int64 // of one entry
	max   int64
	stats Stats
	_     [64]byte // keeps the locks of neighbours out of one cache line
}

// Stats counts what has happened since the cache was made.
type Stats struct {
	Hits, Misses uint64
	Evicted      uint64 // dropped for want of room
	Expired      uint64 // dropped for their age
	Refused      uint64 // larger than one entry may be
	Entries      int    // now
	Bytes        int64  // now, with what the entries cost beside their values
}

// New returns a cache that holds at most size bytes, the cost of its own
// bookkeeping included.
func New(size int64) *Cache {
	n := int64(1)
	for n < maxShards && size/(n*2) >= fullShard {
		n *= 2
	}
	c := &Cache{shards: make([]shard, n), mask: uint64(n - 1), max: size}
	for i := range c.shards {
		s := &c.shards[i]
		s.max = size / n
		s.limit = s.max / share
		// The count is no bound: bytes are. The callback runs within our own
		// lock, so the account is exact.
		s.lru, _ = simplelru.NewLRU(1<<(bits.UintSize-2), func(_ Key, e entry) { s.bytes -= e.size() })
	}
	return c
}

// Limit is the largest value that Set keeps, in bytes.
func (c *Cache) Limit() int64 { return max(0, c.shards[0].limit-overhead) }

// Max is the size that the cache was made with, in bytes.
func (c *Cache) Max() int64 { return c.max }

// shard returns where key belongs. Keys are digests, so any eight bytes spread.
func (c *Cache) shard(key *Key) *shard {
	return &c.shards[binary.LittleEndian.Uint64(key[:])&c.mask]
}

// Get returns the value last set for key, unless it has expired or been
// dropped. It is shared: callers must not modify it. Get does not allocate.
func (c *Cache) Get(key Key) (value []byte, ok bool) {
	s := c.shard(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.lru.Get(key)
	if ok && !time.Now().Before(e.expires) {
		s.lru.Remove(key)
		s.stats.Expired++
		ok = false
	}
	if !ok {
		s.stats.Misses++
		return nil, false
	}
	s.stats.Hits++
	return e.value, true
}

// Set keeps value, which must not change any more, for at most ttl. It reports
// false, and keeps nothing under key, if value is longer than Limit or ttl is
// not above zero.
func (c *Cache) Set(key Key, value []byte, ttl time.Duration) bool {
	now := time.Now()
	e := entry{value: value, expires: now.Add(ttl)}
	s := c.shard(&key)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Adding over an old entry would skip the callback that takes it off the
	// account.
	s.lru.Remove(key)
	if ttl <= 0 {
		return false
	}
	if e.size() > s.limit {
		s.stats.Refused++
		return false
	}
	s.sweep(now)
	s.lru.Add(key, e)
	for s.bytes += e.size(); s.bytes > s.max; {
		s.lru.RemoveOldest()
		s.stats.Evicted++
	}
	return true
}

// sweep drops what has expired at the old end. Expired entries further up
// cost memory within the bound only, until they reach that end or are asked
// for.
func (s *shard) sweep(now time.Time) {
	for range swept {
		key, e, ok := s.lru.GetOldest()
		if !ok || now.Before(e.expires) {
			return
		}
		s.lru.Remove(key)
		s.stats.Expired++
	}
}

// Remove drops the value of key, if there is one.
func (c *Cache) Remove(key Key) {
	s := c.shard(&key)
	s.mu.Lock()
	s.lru.Remove(key)
	s.mu.Unlock()
}

// Stats returns the counts of all shards. They are read one shard after the
// other, so a total taken under load is a little askew.
func (c *Cache) Stats() Stats {
	var sum Stats
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st, n, b := s.stats, s.lru.Len(), s.bytes
		s.mu.Unlock()
		sum.Hits += st.Hits
		sum.Misses += st.Misses
		sum.Evicted += st.Evicted
		sum.Expired += st.Expired
		sum.Refused += st.Refused
		sum.Entries += n
		sum.Bytes += b
	}
	return sum
}
