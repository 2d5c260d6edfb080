package embedded

import (
	"slices"
)

// A collection is what all of its tenants have in common.
type collection struct {
	key   int64  // in the file
	dims  int    // of its vectors, 0 for none
	model string // that made them; empty if it is not known
	turn  *rotation
	parts map[string]*part // by tenant
}

// empty reports whether no tenant has a point in it. The caller is the only writer.
func (c *collection) empty() bool {
	for _, p := range c.parts {
		if p.alive > 0 {
			return false
		}
	}
	return true
}

// A part is one tenant's points of one collection, as far as searching needs
// them in memory. Tenants share no index, so a search costs what the tenant
// itself has stored, and nothing that it answers depends on another's texts.
//
// Slots are only ever added; what is replaced or deleted is dead until the part
// is compacted into another one. So a view of a part stays good without a lock.
type part struct {
	rows   []int64 // of the table of points
	ids    []string
	docs   []string
	chunks []string
	meta   [][]byte
	live   bitmap
	alive  int
	codes  []int8 // one after the other
	scales []float32
	sketch []uint64
	words  inverted
	slots  map[string]uint32  // the live ones, by id
	column map[string]*column // by field, made when a filter asks for it

	candidates int // how many the sketch has to let through; see judge
	judged     int // how many slots there were when that was found
}

func newPart() *part {
	return &part{slots: map[string]uint32{}, column: map[string]*column{}}
}

// An entry is what a part is told of one point.
type entry struct {
	row            int64
	id, doc, chunk string
	meta           []byte
	code           code // without bytes in a collection without vectors
	bag            bag
}

// add puts e into a new slot, in place of what has the same id.
func (p *part) add(e entry) {
	p.kill(e.id)
	slot := uint32(len(p.rows))
	p.rows = append(p.rows, e.row)
	p.ids = append(p.ids, e.id)
	p.docs = append(p.docs, e.doc)
	p.chunks = append(p.chunks, e.chunk)
	p.meta = append(p.meta, e.meta)
	p.codes = append(p.codes, e.code.bytes...)
	p.scales = append(p.scales, e.code.scale)
	p.sketch = appendSketch(p.sketch, e.code.bytes)
	p.words.add(e.bag)
	if int(slot)%64 == 0 {
		p.live = append(p.live, 0)
	}
	p.live.set(slot)
	p.alive++
	p.slots[e.id] = slot
	for field, c := range p.column {
		c.add(slot, field, e.doc, e.chunk, e.meta)
	}
}

// kill takes out what has this id, if there is anything.
func (p *part) kill(id string) {
	slot, ok := p.slots[id]
	if !ok {
		return
	}
	delete(p.slots, id)
	p.live.clear(slot)
	p.alive--
	p.words.total -= uint64(p.words.lens[slot])
}

// wasteful reports whether so much is dead that the part should be compacted.
func (p *part) wasteful() bool {
	dead := len(p.rows) - p.alive
	return dead > 1024 && dead > len(p.rows)/4
}

// compacted returns a part with the live slots of p, which does not change.
func (p *part) compacted() *part {
	q := newPart()
	q.candidates = p.candidates // judged anew
	q.live, q.alive = newBitmap(p.alive), p.alive
	stride := len(p.codes) / max(len(p.rows), 1)
	to := make([]int32, len(p.rows))
	for slot := range uint32(len(p.rows)) {
		if !p.live.has(slot) {
			to[slot] = -1
			continue
		}
		next := uint32(len(q.rows))
		to[slot] = int32(next)
		q.rows = append(q.rows, p.rows[slot])
		q.ids = append(q.ids, p.ids[slot])
		q.docs = append(q.docs, p.docs[slot])
		q.chunks = append(q.chunks, p.chunks[slot])
		q.meta = append(q.meta, p.meta[slot])
		q.scales = append(q.scales, p.scales[slot])
		q.codes = append(q.codes, p.codes[int(slot)*stride:(int(slot)+1)*stride]...)
		q.sketch = append(q.sketch, p.sketch[int(slot)*stride/64:(int(slot)+1)*stride/64]...)
		q.live.set(next)
		q.slots[p.ids[slot]] = next
	}
	q.words = p.words.compacted(to)
	return q
}

// A view is a part as it was at one moment. It needs no lock.
type view struct {
	n, alive   int
	rows       []int64
	ids        []string
	live       bitmap
	admits     bitmap // live, and admitted by the filter
	stride     int    // numbers of a code
	codes      []int8
	scales     []float32
	sketch     []uint64
	lens       []uint32
	total      uint64
	candidates int
}

// view returns the part as it is; the caller holds the store's lock.
func (p *part) view(stride int) *view {
	v := &view{
		n: len(p.rows), alive: p.alive, rows: p.rows, ids: p.ids, live: slices.Clone(p.live),
		stride: stride, codes: p.codes, scales: p.scales, sketch: p.sketch,
		lens: p.words.lens, total: p.words.total, candidates: p.candidates,
	}
	v.admits = v.live
	return v
}
