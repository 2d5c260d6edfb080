package embedded

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// recent keeps what was read from the file last, up to so many bytes. What a row
// says never changes, and no row's number is used again, so nothing in it grows old;
// what has been deleted is not asked for any more.
type recent[V any] struct {
	size func(V) int
	max  int

	mu    sync.Mutex
	lru   *simplelru.LRU[int64, V] // guarded by mu
	bytes int                      // guarded by mu
}

func newRecent[V any](limit int, size func(V) int) *recent[V] {
	r := &recent[V]{size: size, max: limit}
	r.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ int64, v V) { r.bytes -= size(v) }) // fails for no size but zero
	return r
}

// get calls found for the rows that are there and returns the others.
func (r *recent[V]) get(rows []int64, found func(row int64, v V)) (missing []int64) {
	values := make([]V, 0, len(rows))
	here := make([]int64, 0, len(rows))
	r.mu.Lock()
	for _, row := range rows {
		if v, ok := r.lru.Get(row); ok {
			values, here = append(values, v), append(here, row)
		} else {
			missing = append(missing, row)
		}
	}
	r.mu.Unlock()
	for i, row := range here {
		found(row, values[i])
	}
	return missing
}

// put adds what was read.
func (r *recent[V]) put(row int64, v V) {
	n := r.size(v)
	if n > r.max {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lru.Contains(row) {
		return // read twice at once
	}
	r.lru.Add(row, v)
	for r.bytes += n; r.bytes > r.max; {
		r.lru.RemoveOldest()
	}
}
