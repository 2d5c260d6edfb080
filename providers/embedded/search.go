package embedded

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/headrace/headrace/pipeline"
)

const (
	// scanned is up to how many points are compared code by code. More are
	// sifted by their sketches first.
	scanned = 8192
	// sifted is how many the sketches let through at least.
	sifted = 1024
	// rows is how many points a goroutine must have to do before another one
	// is worth its start.
	shard = 8192
)

// Search implements pipeline.VectorStore. What it returns has been there at one moment:
// where a write takes away what it has found, it looks again while none can.
func (s *store) Search(ctx context.Context, q pipeline.SearchQuery) (pipeline.Legs, error) {
	legs, whole, err := s.search(ctx, q)
	if err != nil || whole {
		return legs, err
	}
	if err := s.settling.enter(ctx); err != nil {
		return pipeline.Legs{}, err
	}
	defer s.settling.leave()
	legs, _, err = s.search(ctx, q)
	return legs, err
}

// search looks once, and reports whether all that it found was still there to be read.
func (s *store) search(ctx context.Context, q pipeline.SearchQuery) (legs pipeline.Legs, whole bool, err error) {
	if err := ended(ctx); err != nil {
		return legs, false, err
	}
	c, v, want, err := s.look(q)
	if err != nil || v == nil || q.Limit <= 0 {
		return legs, true, err
	}
	var vector []float32
	if q.Vector != nil {
		var ok bool
		if vector, ok = unit(q.Vector); !ok {
			return legs, false, badVector("the vector of the question")
		}
	}
	limit := min(q.Limit, v.n)
	var words []hit
	var failed error
	var wg sync.WaitGroup
	if len(want) > 0 {
		sparse := func() { failed = recovered(func() { words = v.search(want, limit) }) }
		if vector == nil {
			sparse()
		} else {
			wg.Go(sparse)
		}
	}
	var near []hit
	exact := true
	if vector != nil {
		near, exact, err = s.nearest(ctx, c, v, vector, limit)
	}
	wg.Wait()
	if err = errors.Join(err, failed, ended(ctx)); err != nil {
		return legs, false, err
	}
	legs, whole, err = s.legs(ctx, c, q.Tenant, v, near, words)
	return legs, whole && exact, err
}

// look returns the collection, a view of the tenant's part and the terms of the
// question; without a view there is nothing to be found.
func (s *store) look(q pipeline.SearchQuery) (*collection, *view, []wanted, error) {
	for range 8 {
		s.mu.RLock()
		c := s.collections[q.Collection]
		var err error
		switch {
		case c == nil:
			err = notFound(q.Collection)
		case q.Vector != nil:
			err = cmp.Or(pipeline.DimensionMismatch(q.Collection, c.dims, len(q.Vector)), pipeline.ModelMismatch(q.Collection, c.model, q.Model))
		}
		if err != nil || c.parts[q.Tenant] == nil || c.parts[q.Tenant].alive == 0 {
			s.mu.RUnlock()
			return c, nil, nil, err
		}
		p := c.parts[q.Tenant]
		lacks := p.lacks(q.Filter)
		if len(lacks) == 0 {
			v := p.view(c.turn.padded)
			if q.Filter != nil {
				v.admits = p.admits(q.Filter)
				v.admits.and(v.live)
			}
			want := p.words.want(q.Text)
			s.mu.RUnlock()
			return c, v, want, nil
		}
		docs, chunks, meta := p.docs, p.chunks, p.meta
		s.mu.RUnlock()
		made := map[string]*column{}
		for _, field := range lacks {
			made[field] = newColumn(field, docs, chunks, meta)
		}
		s.columns(c, q, p, len(docs), made)
	}
	return nil, nil, nil, errors.New("filter passages: too many different fields at once")
}

// columns gives a part the columns made over its first n slots.
func (s *store) columns(c *collection, q pipeline.SearchQuery, p *part, n int, made map[string]*column) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.parts[q.Tenant] != p {
		return // compacted meanwhile: its slots have moved
	}
	if len(p.column)+len(made) > maxColumns {
		keep := map[string]*column{}
		for _, field := range fields(nil, q.Filter) {
			if col := p.column[field]; col != nil {
				keep[field] = col
			}
		}
		p.column = keep
	}
	for field, col := range made {
		for slot := n; slot < len(p.docs); slot++ {
			col.add(uint32(slot), field, p.docs[slot], p.chunks[slot], p.meta[slot])
		}
		p.column[field] = col
	}
}

// nearest finds what is nearest to a vector of unit length: by the signs of the
// rotated vectors, then by their codes, then by the vectors themselves, which
// are in the file. It reports whether all of those were.
func (s *store) nearest(ctx context.Context, c *collection, v *view, vector []float32, limit int) (_ []hit, whole bool, _ error) {
	q := c.turn.encode(vector)
	near, err := v.nearest(q, v.candidates, 2*limit+20)
	if err != nil || ended(ctx) != nil {
		return nil, false, err
	}
	rows := make([]int64, len(near))
	for i, h := range near {
		rows[i] = v.rows[h.slot]
	}
	vectors, err := s.exact(ctx, c, rows)
	best := newTop(limit, v.ids)
	whole = true
	for i, stored := range vectors {
		if stored == nil {
			whole = false
			continue
		}
		best.push(hit{near[i].slot, dot(vector, stored)})
	}
	return best.sorted(), whole, err
}

// exact returns the vectors of rows, nil for those that are not there any more.
func (s *store) exact(ctx context.Context, c *collection, rows []int64) ([][]float32, error) {
	vectors, missing := s.vectors.get(rows)
	if len(missing) == 0 {
		return vectors, nil
	}
	list, err := json.Marshal(missing)
	if err != nil {
		return nil, err
	}
	read := make(map[int64][]float32, len(missing))
	err = each(ctx, s.file.read, func(scan func(...any) error) error {
		var row int64
		var raw sql.RawBytes
		if err := scan(&row, &raw); err != nil {
			return err
		}
		if len(raw) != 4*c.dims {
			return fmt.Errorf("%w: vector %d has %d bytes", errDamaged, row, len(raw))
		}
		read[row] = vectorOf(raw)
		s.vectors.put(row, read[row])
		return nil
	}, "SELECT row, vector FROM vectors WHERE row IN (SELECT value FROM json_each(?))", string(list))
	for i, row := range rows {
		if vectors[i] == nil {
			vectors[i] = read[row]
		}
	}
	return vectors, reading(ctx, s.file, err)
}

// nearest returns the slots nearest to q by their codes, in no order. Where there are many
// slots it looks only at those whose sketches are among the candidates nearest
// to that of q, and at all that are as near as the last of them; without
// candidates it looks at all.
func (v *view) nearest(q code, candidates, limit int) ([]hit, error) {
	workers := max(1, min(runtime.GOMAXPROCS(0), v.n/shard))
	size := (v.n/workers + 63) / 64 * 64
	bound := math.MaxInt
	var far []uint16
	if v.n > scanned && candidates > 0 {
		far = make([]uint16, v.n)
		var err error
		if bound, err = v.sift(q, candidates, workers, size, far); err != nil {
			return nil, err
		}
	}
	tops := make([]*top, workers)
	err := parallel(workers, func(w int) {
		best := newTop(limit, v.ids)
		for slot := uint32(w * size); slot < uint32(min((w+1)*size, v.n)); slot++ {
			if far != nil && int(far[slot]) > bound || !v.admits.has(slot) {
				continue
			}
			i := int(slot) * v.stride
			sum := dotCodes(q.bytes, v.codes[i:i+v.stride])
			best.push(hit{slot, float32(sum) * v.scales[slot]})
		}
		tops[w] = best
	})
	if err != nil {
		return nil, err
	}
	best := tops[0]
	for _, t := range tops[1:] {
		for _, h := range t.heap {
			best.push(h)
		}
	}
	return best.heap, nil
}

// sift fills in how far each slot's sketch is from that of q and returns within
// which distance there are as many as candidates.
func (v *view) sift(q code, candidates, workers, size int, far []uint16) (int, error) {
	sketch := appendSketch(nil, q.bytes)
	words := len(sketch)
	counts := make([][]int, workers)
	err := parallel(workers, func(w int) {
		count := make([]int, 64*words+1)
		for slot := uint32(w * size); slot < uint32(min((w+1)*size, v.n)); slot++ {
			if !v.admits.has(slot) {
				far[slot] = math.MaxUint16
				continue
			}
			i := int(slot) * words
			d := hamming(sketch, v.sketch[i:i+words])
			far[slot] = uint16(d)
			count[d]++
		}
		counts[w] = count
	})
	if err != nil {
		return 0, err
	}
	sum := 0
	for d := range counts[0] {
		for _, count := range counts {
			sum += count[d]
		}
		if sum >= candidates {
			return d, nil
		}
	}
	return math.MaxUint16 - 1, nil
}

// parallel calls f for each worker, on goroutines of their own except the last.
func parallel(workers int, f func(worker int)) error {
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers - 1 {
		wg.Go(func() { errs[w] = recovered(func() { f(w) }) })
	}
	errs[workers-1] = recovered(func() { f(workers - 1) })
	wg.Wait()
	return errors.Join(errs...)
}

// legs reads the passages of both legs, and reports whether all of them were there.
func (s *store) legs(ctx context.Context, c *collection, tenant string, v *view, near, words []hit) (legs pipeline.Legs, whole bool, err error) {
	rows := make([]int64, 0, len(near)+len(words))
	for _, h := range near {
		rows = append(rows, v.rows[h.slot])
	}
	for _, h := range words {
		rows = append(rows, v.rows[h.slot])
	}
	if len(rows) == 0 {
		return legs, true, nil
	}
	found, err := s.read(ctx, c, tenant, rows)
	if err != nil {
		return legs, false, err
	}
	legs.Dense = slices.Grow(legs.Dense, len(near))
	for i, p := range found[:len(near)] {
		if p != nil {
			legs.Dense = append(legs.Dense, p.Passage)
			legs.Dense[len(legs.Dense)-1].Scores.Dense = pipeline.Score{Value: near[i].score, Set: true}
		}
	}
	legs.Sparse = slices.Grow(legs.Sparse, len(words))
	for i, p := range found[len(near):] {
		if p != nil {
			legs.Sparse = append(legs.Sparse, p.Passage)
			legs.Sparse[len(legs.Sparse)-1].Scores.Sparse = pipeline.Score{Value: words[i].score, Set: true}
		}
	}
	return legs, !slices.Contains(found, nil), nil
}
