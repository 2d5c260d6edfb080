package embedded

import (
	"math"
	"strings"
)

// BM25's constants. With these BM25 was measured on multi-hop questions; long
// passages are not held against them as much as usual.
const (
	bm25K = 0.9
	bm25B = 0.4
)

// maxTerms bounds the different terms of a question that are looked for.
const maxTerms = 256

// An inverted index tells in which slots a term occurs. Slots are only ever
// added, in order, so whoever has read a posting under the store's lock may go
// on using it without.
type inverted struct {
	terms map[string]*posting
	lens  []uint32 // terms in each slot
	total uint64   // of lens, slots alone that live
}

type posting struct {
	slots []uint32
	times []uint8 // how often, at most 255
}

// A bag is how often each term occurs in a text.
type bag struct {
	times map[string]uint8
	len   uint32
}

func bagOf(text string) bag {
	b := bag{times: map[string]uint8{}}
	terms(text, func(t string) {
		b.len++
		if n := b.times[t]; n < math.MaxUint8 {
			b.times[t] = n + 1
		}
	})
	return b
}

// add is the text of the next slot.
func (x *inverted) add(b bag) {
	if x.terms == nil {
		x.terms = map[string]*posting{}
	}
	slot := uint32(len(x.lens))
	x.lens = append(x.lens, b.len)
	x.total += uint64(b.len)
	for t, n := range b.times {
		p := x.terms[t]
		if p == nil {
			p = &posting{}
			x.terms[strings.Clone(t)] = p // not the whole text with it
		}
		p.slots = append(p.slots, slot)
		p.times = append(p.times, n)
	}
}

// compacted returns the index of the slots that to gives a new place, in which
// order stays as it is. It does not change x.
func (x *inverted) compacted(to []int32) inverted {
	out := inverted{terms: make(map[string]*posting, len(x.terms)), total: x.total}
	for slot, l := range x.lens {
		if to[slot] >= 0 {
			out.lens = append(out.lens, l)
		}
	}
	for t, p := range x.terms {
		q := &posting{}
		for i, slot := range p.slots {
			if to[slot] >= 0 {
				q.slots = append(q.slots, uint32(to[slot]))
				q.times = append(q.times, p.times[i])
			}
		}
		if len(q.slots) > 0 {
			out.terms[t] = q
		}
	}
	return out
}

// A wanted term is one of a question, with the slots it occurs in.
type wanted struct {
	posting
	weight int // how often it stands in the question
}

// want returns the terms of a question that occur anywhere, in its order.
func (x *inverted) want(text string) []wanted {
	var out []wanted
	at := map[string]int{}
	terms(text, func(t string) {
		if i, ok := at[t]; ok {
			if i >= 0 {
				out[i].weight++
			}
			return
		}
		if len(at) >= maxTerms {
			return
		}
		at[t] = -1
		if p := x.terms[t]; p != nil {
			at[t] = len(out)
			out = append(out, wanted{posting: *p, weight: 1})
		}
	})
	return out
}

// search ranks what lives in v, and is admitted by filter, by the terms wanted.
func (v *view) search(want []wanted, limit int) []hit {
	scores := make([]float32, v.n)
	mean := float32(v.total) / float32(max(v.alive, 1))
	for _, w := range want {
		df := 0
		for _, slot := range w.slots {
			if v.live.has(slot) {
				df++
			}
		}
		idf := float32(math.Log(1+(float64(v.alive-df)+0.5)/(float64(df)+0.5))) * float32(w.weight)
		for i, slot := range w.slots {
			if !v.admits.has(slot) {
				continue
			}
			tf := float32(w.times[i])
			scores[slot] += idf * tf * (bm25K + 1) / (tf + bm25K*(1-bm25B+bm25B*float32(v.lens[slot])/mean))
		}
	}
	best := newTop(limit, v.ids)
	for slot, score := range scores {
		if score > 0 {
			best.push(hit{uint32(slot), score})
		}
	}
	return best.sorted()
}
