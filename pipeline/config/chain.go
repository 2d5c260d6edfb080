package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/headrace/headrace/pipeline"
)

// A compiled is a chain of the file. slots, which settings and snapshot share,
// is complete once its units are built.
type compiled struct {
	units []*unit
	slots pipeline.Chain
}

// chain decodes a list of stages.
func (l *loader) chain(n *node, s scope) *compiled {
	c := &compiled{slots: pipeline.Chain{}}
	if n.kind != list {
		if !n.null {
			l.structure(n, s.path, "", "want a list of plugins, as in [ cache: {}, call: {} ], not %s", l.show(n, handlerType))
		}
		return c
	}
	for i, item := range n.vals {
		l.stage(c, item, s.item(i))
	}
	c.slots = make(pipeline.Chain, len(c.units))
	return c
}

// stage decodes one item of a chain and appends what it stands for.
func (l *loader) stage(c *compiled, n *node, s scope) {
	e, ok := l.entry(n, s, "plugin", l.reg.names(inChains))
	if !ok {
		return
	}
	if e.off {
		defer l.switchOff()()
	}
	if e.key.text == chainStage {
		if e.val == nil || e.val.null {
			l.problem(e.key, s.path, "", "names no chain; write chain: NAME; declared: %s", listed(l.chainNames))
			return
		}
		if named := l.named(e.val, s.at(chainStage)); named != nil && !l.off {
			if l.count(len(named.units), e.key, s.path) {
				c.units = append(c.units, named.units...)
			}
		}
		return
	}
	if u := l.component(inChains, e, s.called(e.key.text)); u != nil && !l.off {
		c.units = append(c.units, u)
	}
}

// chainStage is the stage that stands for the stages of a named chain.
const chainStage = "chain"

// named returns a chain of the section chains. It is compiled once for all that
// name it, except within an Each, where every target has its own.
func (l *loader) named(n *node, s scope) *compiled {
	name, ok := l.text(n, s.path)
	if !ok {
		return nil
	}
	body := l.chains[name]
	if body == nil {
		l.problem(n, s.path, nearest(name, l.chainNames), "no chain named %q; declared: %s", name, listed(l.chainNames))
		return nil
	}
	if slices.Contains(s.inside, name) {
		l.problem(n, s.path, "", "the chain %q contains itself: %s", name, strings.Join(append(s.inside, name), " → "))
		return nil
	}
	in := scope{path: join(inChains, name), name: join(inChains, name), inside: append(slices.Clip(s.inside), name)}
	if s.target != nil {
		in.name, in.target = join(s.name, name), s.target
		return l.chain(body, in)
	}
	if done := l.compiled[name]; done != nil {
		return done
	}
	c := l.chain(body, in)
	if !l.off {
		l.compiled[name] = c
	}
	return c
}

// each decodes a chain once per target.
func (l *loader) each(n *node, v reflect.Value, s scope, u *unit) {
	if l.declaring != "" {
		l.problem(n, s.path, "", "stands before the targets of models, and the chain of %s has none: write branches that end in call: { provider: NAME }", l.declaring)
		return
	}
	targets := l.targets
	if s.target != nil {
		targets = []*target{s.target} // what stands inside serves that one only
	}
	if len(targets) == 0 {
		l.chain(n, s) // for its problems
		v.Set(reflect.ValueOf(Each{chains: []pipeline.Chain{}}))
		return
	}
	e := Each{chains: make([]pipeline.Chain, len(l.targets))}
	before := len(l.problems)
	for _, t := range targets {
		s.target = t
		u.each = append(u.each, perTarget{e.chains, t, l.chain(n, s)})
		if len(l.problems) > before {
			break
		}
	}
	v.Set(reflect.ValueOf(e))
}
