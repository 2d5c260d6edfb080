package ask

import (
	"errors"
	"sync/atomic"
)

// A Portion is how many texts an upstream takes in one call, learnt from what it refuses:
// few say so beforehand, and it is anything from 10 to 2,048. The zero Portion knows of no
// bound.
type Portion struct {
	learnt atomic.Int64 // 0: nothing yet
}

// Of is how many go into one call, of most that may.
func (p *Portion) Of(most int) int {
	if n := int(p.learnt.Load()); n > 0 {
		return min(n, most)
	}
	return most
}

// Each calls f for n texts, one portion after the other. What an upstream refuses as too
// large (413) is asked for by halves. That is remembered if all went well in the end: one
// text that is too long by itself says nothing of how many may go together.
func (p *Portion) Each(n, most int, f func(from, to int) error) error {
	first := p.Of(most)
	size := first
	for from := 0; from < n; {
		to := min(n, from+size)
		err := f(from, to)
		if refused, ok := errors.AsType[*Refused](err); ok && refused.Status == 413 && to-from > 1 {
			size = (to - from + 1) / 2
			continue
		}
		if err != nil {
			return err
		}
		from = to
	}
	if size < first {
		p.learnt.Store(int64(size))
	}
	return nil
}
