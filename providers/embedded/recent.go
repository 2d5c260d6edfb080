package embedded

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// promote is one in how many times that something is used it counts as used. What is
// used often is moved ahead often enough; moving costs more than finding.
const promote = 8

// recent keeps what was read from the file last, up to so many bytes. What a row
// says never changes, and no row's number is used again, so nothing in it grows old;
// what has been deleted is not asked for any more.
type recent[V any] struct {
	size func(V) int
	max  int

	mu    sync.Mutex
	lru   *simplelru.LRU[int64, V] // guarded by mu
	bytes int                      // guarded by mu
	uses  uint                     // guarded by mu
}

func newRecent[V any](limit int, size func(V) int) *recent[V] {
	r := &recent[V]{size: size, max: limit}
	r.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ int64, v V) { r.bytes -= size(v) }) // fails for no size but zero
	return r
}

// get returns what is there of rows, zero where nothing is, and the rows that are missing.
func (r *recent[V]) get(rows []int64) (values []V, missing []int64) {
	values = make([]V, len(rows))
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, row := range rows {
		find := r.lru.Peek
		if r.uses++; r.uses%promote == 0 {
			find = r.lru.Get
		}
		var ok bool
		if values[i], ok = find(row); !ok {
			missing = append(missing, row)
		}
	}
	return values, missing
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
