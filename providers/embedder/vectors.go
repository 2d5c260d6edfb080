package embedder

import (
	"math/bits"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// perVector is what a kept vector costs beside its numbers.
const perVector = 200

// vectors keeps vectors, bounded by memory: the least recently used make room.
type vectors struct {
	mu    sync.Mutex
	list  *simplelru.LRU[key, []float32]
	bytes int64
	max   int64
}

func newVectors(size int64) *vectors {
	v := &vectors{max: size}
	// The count is no bound: bytes are.
	v.list, _ = simplelru.NewLRU(1<<(bits.UintSize-2), func(_ key, x []float32) { v.bytes -= cost(x) })
	return v
}

func cost(x []float32) int64 { return int64(cap(x))*4 + perVector }

// get returns the vector of a text, or nil.
func (v *vectors) get(k key) []float32 {
	v.mu.Lock()
	defer v.mu.Unlock()
	x, _ := v.list.Get(k)
	return x
}

func (v *vectors) put(k key, x []float32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if cost(x) > v.max {
		return
	}
	v.list.Remove(k) // adding over it would skip the account
	v.list.Add(k, x)
	for v.bytes += cost(x); v.bytes > v.max; {
		v.list.RemoveOldest()
	}
}

func (v *vectors) drop(k key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.list.Remove(k)
}
