package all

import (
	"slices"

	"github.com/headrace/headrace/pipeline"
)

// A joint puts together what branches found. A branch starts with all that the
// exchange held and may have reordered, dropped or scored it: that is its own
// affair, and only what it added counts.
type joint struct {
	ex       *pipeline.Exchange
	passages int                 // held before
	had      pipeline.Retrieval  // held before
	sum      *pipeline.Retrieval // nil while there is none
	degraded []string            // branches left out
}

func newJoint(ex *pipeline.Exchange) *joint {
	j := &joint{ex: ex, passages: len(ex.Passages), sum: ex.Retrieval}
	if ex.Retrieval != nil {
		j.had = *ex.Retrieval
	}
	return j
}

// add adds what one branch found.
func (j *joint) add(b *pipeline.Exchange) {
	for i := range b.Passages {
		j.passage(&b.Passages[i])
	}
	if r := b.Retrieval; r != nil {
		j.retrieval(r)
	}
}

// passage adds one that is new. One that another branch has found as well gets
// the scores and the ways to it of both.
func (j *joint) passage(p *pipeline.Passage) {
	list := j.ex.Passages
	for i := range list {
		if have := &list[i]; have.ID == p.ID && (p.ID != "" || have.Text == p.Text) {
			if i >= j.passages {
				merge(have, p)
			}
			return
		}
	}
	j.ex.Passages = append(list, *p)
}

// merge adds to have what p knows more of the same passage.
func merge(have, p *pipeline.Passage) {
	to, from := &have.Scores, &p.Scores
	for _, s := range [...]struct{ to, from *pipeline.Score }{
		{&to.Dense, &from.Dense}, {&to.Sparse, &from.Sparse}, {&to.Fused, &from.Fused}, {&to.Graph, &from.Graph}, {&to.Rerank, &from.Rerank},
	} {
		if !s.to.Set {
			*s.to = *s.from
		}
	}
	for _, id := range p.Via {
		if !slices.Contains(have.Via, id) {
			have.Via = append(slices.Clip(have.Via), id)
		}
	}
}

// retrieval adds what is new in a branch's account. The first branch with one
// says what was asked, if nobody had.
func (j *joint) retrieval(r *pipeline.Retrieval) {
	if j.sum == nil {
		j.sum = &pipeline.Retrieval{Query: r.Query, Collection: r.Collection, Filter: r.Filter, ContextID: r.ContextID}
		j.ex.Retrieval = j.sum
	}
	s := j.sum
	s.Seeds = join(s.Seeds, r.Seeds, func(a, b *pipeline.Seed) bool { return a.ID == b.ID })
	s.Graph.Entities = join(s.Graph.Entities, r.Graph.Entities, func(a, b *pipeline.Entity) bool { return a.ID == b.ID })
	s.Graph.Relations = join(s.Graph.Relations, r.Graph.Relations, func(a, b *pipeline.Relation) bool {
		return a.Src == b.Src && a.Dst == b.Dst && a.Type == b.Type
	})
	s.Degraded = append(s.Degraded, beyond(r.Degraded, len(j.had.Degraded))...)
	s.Stages = append(s.Stages, beyond(r.Stages, len(j.had.Stages))...)
}

// finish notes which branches are missing. That none of them has an account may be because
// they are: what is made without them must not pass for whole.
func (j *joint) finish() {
	if len(j.degraded) == 0 {
		return
	}
	if j.sum == nil {
		j.sum = &pipeline.Retrieval{}
		j.ex.Retrieval = j.sum
	}
	j.sum.Degraded = append(j.sum.Degraded, j.degraded...)
}

// join appends to list what is new in more.
func join[T any](list, more []T, same func(a, b *T) bool) []T {
next:
	for i := range more {
		for k := range list {
			if same(&list[k], &more[i]) {
				continue next
			}
		}
		list = append(list, more[i])
	}
	return list
}

// beyond is what a list has after its first n.
func beyond[T any](list []T, n int) []T { return list[min(n, len(list)):] }
