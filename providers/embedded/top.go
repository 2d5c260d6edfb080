package embedded

import (
	"cmp"
	"slices"
)

// A hit is a slot with its score.
type hit struct {
	slot  uint32
	score float32
}

// A top keeps the best hits: the higher score, then the smaller id.
type top struct {
	limit int
	ids   []string
	heap  []hit // the worst first
}

func newTop(limit int, ids []string) *top {
	return &top{limit: limit, ids: ids, heap: make([]hit, 0, max(0, min(limit, len(ids))))}
}

func (t *top) compare(a, b hit) int {
	if a.score != b.score { // neither is NaN
		if a.score > b.score {
			return -1
		}
		return 1
	}
	return cmp.Compare(t.ids[a.slot], t.ids[b.slot])
}

// worse reports whether a comes after b.
func (t *top) worse(a, b hit) bool {
	return a.score < b.score || a.score == b.score && t.ids[a.slot] > t.ids[b.slot]
}

func (t *top) push(h hit) {
	if len(t.heap) < t.limit {
		t.heap = append(t.heap, h)
		i := len(t.heap) - 1
		for i > 0 {
			up := (i - 1) / 2
			if !t.worse(h, t.heap[up]) {
				break
			}
			t.heap[i] = t.heap[up]
			i = up
		}
		t.heap[i] = h
		return
	}
	if t.limit <= 0 || !t.worse(t.heap[0], h) {
		return
	}
	i := 0
	for down := 1; down < len(t.heap); down = 2*i + 1 {
		if down+1 < len(t.heap) && t.worse(t.heap[down+1], t.heap[down]) {
			down++
		}
		if !t.worse(t.heap[down], h) {
			break
		}
		t.heap[i] = t.heap[down]
		i = down
	}
	t.heap[i] = h
}

// sorted returns the hits, the best first. The top is of no use after that.
func (t *top) sorted() []hit {
	slices.SortFunc(t.heap, t.compare)
	return t.heap
}

// A bitmap is a set of slots.
type bitmap []uint64

func newBitmap(n int) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) has(slot uint32) bool { return b[slot/64]>>(slot%64)&1 != 0 }
func (b bitmap) set(slot uint32)      { b[slot/64] |= 1 << (slot % 64) }
func (b bitmap) clear(slot uint32)    { b[slot/64] &^= 1 << (slot % 64) }

func (b bitmap) and(other bitmap) {
	for i := range b {
		b[i] &= other[i]
	}
}

func (b bitmap) or(other bitmap) {
	for i := range b {
		b[i] |= other[i]
	}
}

func (b bitmap) without(other bitmap) {
	for i := range b {
		b[i] &^= other[i]
	}
}
