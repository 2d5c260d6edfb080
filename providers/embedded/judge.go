package embedded

import (
	"math"
	"slices"
	"time"
)

// How the sketches of a part are judged: by so many of its own points, each
// with its nearest ten.
const (
	judges    = 24
	neighbors = 10
)

// judgeAll judges every part that has been loaded. Nobody writes yet.
func (s *store) judgeAll() {
	for _, c := range s.collections {
		for _, p := range c.parts {
			s.judge(c, p)
		}
	}
}

// judge finds out in the background how many candidates the sketches of a part
// have to let through so that hardly any near point is missed. Sketches are
// good for some embeddings and bad for others; this tells before users do. The
// caller is the only writer.
func (s *store) judge(c *collection, p *part) {
	if c.dims == 0 || len(p.rows) <= scanned || len(p.rows) < 2*p.judged {
		return
	}
	s.mu.Lock()
	p.judged = len(p.rows)
	if p.candidates == 0 {
		p.candidates = 4 * sifted // until it is known better
	}
	v := p.view(c.turn.padded)
	s.mu.Unlock()
	s.wg.Go(func() {
		began := time.Now()
		candidates := -1
		if err := recovered(func() { candidates = v.judge(s.ctx.Done()) }); err != nil {
			s.log.Error("cannot judge the sketches of vectors", "error", err)
		}
		if s.ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		p.candidates = candidates
		s.mu.Unlock()
		s.log.Info("judged the sketches of vectors", "points", v.n, "candidates", candidates, "took", time.Since(began))
	})
}

// judge returns how many candidates it takes to find 99 of 100 near points; -1
// means that a full scan is the better way.
func (v *view) judge(stop <-chan struct{}) int {
	words := v.stride / 64
	far := make([]uint16, v.n)
	var ranks []int
	for i := range judges {
		select {
		case <-stop:
			return -1
		default:
		}
		slot := (2*i + 1) * v.n / (2 * judges)
		if !v.live.has(uint32(slot)) {
			continue
		}
		q := code{bytes: v.codes[slot*v.stride : (slot+1)*v.stride], scale: 1}
		near, err := v.nearest(q, 0, neighbors+1)
		if err != nil {
			return -1
		}
		if _, err := v.sift(q, v.n, 1, (v.n+63)/64*64, far); err != nil {
			return -1
		}
		count := make([]int, 64*words+1)
		for other, d := range far {
			if v.live.has(uint32(other)) {
				count[d]++
			}
		}
		for _, h := range near {
			if int(h.slot) == slot {
				continue
			}
			rank := 0
			for d := range count[:far[h.slot]+1] {
				rank += count[d]
			}
			ranks = append(ranks, rank)
		}
	}
	if len(ranks) == 0 {
		return -1
	}
	slices.Sort(ranks)
	need := ranks[int(math.Ceil(0.995*float64(len(ranks))))-1]
	if need *= 2; need > v.n/4 {
		return -1
	}
	return max(need, sifted)
}
