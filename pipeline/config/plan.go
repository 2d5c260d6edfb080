package config

import (
	"crypto/sha256"
	"slices"
	"strconv"

	"github.com/headrace/headrace/pipeline"
)

// A plan decides what of the previous snapshot is carried over, and in which
// order the rest is built.
type plan struct {
	l       *loader
	old     *Snapshot
	units   []*unit // what a unit needs stands before it
	targets []*pipeline.Target
	// providers are those of the targets, by Index.
	providers []*unit
	// serving are the targets whose provider is yet to be built.
	serving map[*unit][]*pipeline.Target
	planned map[*unit]bool
	left    map[identity][]*unit // of the previous snapshot, not yet carried over
	same    bool                 // the targets are those of the previous snapshot
}

// An identity is by what a component is recognised in the next file: what it is
// called there, and its settings.
type identity struct {
	name string
	sum  [sha256.Size]byte
}

func newPlan(l *loader, old *Snapshot) *plan {
	p := &plan{l: l, old: old, planned: map[*unit]bool{}, serving: map[*unit][]*pipeline.Target{}, left: map[identity][]*unit{}}
	if old != nil {
		for _, u := range old.units {
			id := identity{u.base, u.sum}
			p.left[id] = append(p.left[id], u)
		}
	}
	return p
}

// order lists the units and decides on each.
func (p *plan) order() {
	for _, u := range p.l.inOrder {
		p.unit(u)
	}
	p.number()
	for _, c := range p.l.roots() {
		for _, u := range c.units {
			p.unit(u)
		}
	}
}

// unit plans u after what it needs.
func (p *plan) unit(u *unit) {
	if p.planned[u] {
		return
	}
	p.planned[u] = true
	// The order of the file is that of preference, which is not u's business.
	slices.SortStableFunc(u.each, func(a, b perTarget) int { return a.target.final.Index - b.target.final.Index })
	for _, r := range u.refs {
		p.unit(r.unit)
		u.needs = append(u.needs, r.unit.final())
	}
	for _, s := range u.stages() {
		p.unit(s)
		u.needs = append(u.needs, s.final())
	}
	if u.target != nil {
		u.serves = u.target.final
	}
	u.sum = fingerprint(u)
	u.carried = p.carry(u)
	p.units = append(p.units, u)
}

// carry returns the unit of the previous snapshot that u may use instead of
// being built: it has the same settings, was built with the same objects, serves
// the same target, and knows the same targets if it knows them.
func (p *plan) carry(u *unit) *unit {
	id := identity{u.base, u.sum}
	for i, have := range p.left[id] {
		if !slices.Equal(have.needs, u.needs) || have.serves != u.serves {
			continue
		}
		if u.comp.each && !p.same {
			continue
		}
		p.left[id] = slices.Delete(slices.Clone(p.left[id]), i, i+1)
		return have
	}
	return nil
}

// number makes the targets. One of the previous snapshot that is unchanged is
// the same object with the same index, if there is still room for the index:
// what stages remember about it stays theirs.
func (p *plan) number() {
	p.targets = make([]*pipeline.Target, len(p.l.targets))
	previous := map[string]*pipeline.Target{}
	if p.old != nil {
		for _, have := range p.old.Targets {
			previous[have.Name] = have
		}
	}
	var fresh []*target
	for _, t := range p.l.targets {
		if have := previous[t.name]; have != nil && p.unchanged(t, have) {
			t.final = have
			p.targets[have.Index] = have
			continue
		}
		fresh = append(fresh, t)
	}
	at := 0
	for _, t := range fresh {
		for p.targets[at] != nil {
			at++
		}
		t.final = &pipeline.Target{Index: at, Name: t.name, Model: t.Model, FirstByte: t.FirstByte, Idle: t.Idle, Sum: t.provider.sum}
		p.targets[at] = t.final
		if c := t.provider.carried; c != nil {
			t.final.Provider = c.value.(pipeline.Provider)
		} else {
			p.serving[t.provider] = append(p.serving[t.provider], t.final)
		}
	}
	p.providers = make([]*unit, len(p.targets))
	for _, t := range p.l.targets {
		p.providers[t.final.Index] = t.provider.final()
	}
	p.same = p.old != nil && slices.Equal(p.targets, p.old.Targets)
}

// unchanged reports whether t can be the previous snapshot's target of its name.
func (p *plan) unchanged(t *target, have *pipeline.Target) bool {
	return have.Index < len(p.targets) && have.Model == t.Model && have.FirstByte == t.FirstByte && have.Idle == t.Idle &&
		t.provider.carried != nil && t.provider.carried == p.old.providers[have.Index]
}

// name gives every unit that is built a name that no other has.
func (p *plan) name() {
	taken := map[string]bool{}
	for _, u := range p.units {
		if u.carried != nil {
			taken[u.carried.env] = true
		}
	}
	for _, u := range p.units {
		if u.carried != nil {
			continue
		}
		u.env = u.base
		for n := 2; taken[u.env]; n++ {
			u.env = u.base + "#" + strconv.Itoa(n)
		}
		taken[u.env] = true
	}
}
