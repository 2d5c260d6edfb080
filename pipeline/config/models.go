package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline"
)

// A model of the file, with its chain still to be built.
type model struct {
	name    string
	targets []*target
	chain   *compiled
	window  int
}

// A target of the file. final is what the snapshot has for it.
type target struct {
	targetSpec
	name     string
	provider *unit
	final    *pipeline.Target
}

// readModels decodes the models and, with them, the targets.
func (l *loader) readModels(n *node) {
	l.entries(n, "models", func(key, val *node) {
		s := scope{path: join("models", key.text), name: join("models", key.text)}
		if i := strings.IndexByte(key.text, '*'); i >= 0 && i < len(key.text)-1 {
			l.structure(key, s.path, "", "%q has a * that is not at its end; write a name, prefix* or *", key.text)
			return
		}
		m, before := &model{name: key.text}, len(l.problems)
		var spec modelSpec
		targets := val
		if val.kind == mapping {
			if !l.on(val, s) {
				defer l.switchOff()()
			}
			l.settings(val.without("targets"), val, reflect.ValueOf(&spec).Elem(), s, &unit{})
			targets = val.get("targets")
			m.window = spec.ContextWindow
			if c := val.get("chain"); c != nil && !c.null && spec.Chain != "" {
				m.chain = l.named(c, s.at("chain"))
			}
			s = s.at("targets")
		}
		if len(l.problems) > before && targets == nil {
			return // it was probably meant to have targets
		}
		if l.modelTargets(m, targets, key, s, spec.Chain != "") && !l.off {
			l.models = append(l.models, m)
		}
	})
}

// modelTargets decodes the targets of m. It reports whether m has something to
// answer with.
func (l *loader) modelTargets(m *model, n, key *node, s scope, chained bool) bool {
	if n == nil || n.null || n.kind == list && len(n.vals) == 0 {
		if !chained {
			l.problem(key, s.path, "", "the model has no targets; write a list, as in [ { provider: NAME } ]")
		}
		return chained
	}
	if n.kind != list {
		l.structure(n, s.path, "", "want a list of targets, as in [ { provider: NAME } ], not %s", l.show(n, handlerType))
		return false
	}
	for i, item := range n.vals {
		if t := l.target(m, item, s.item(i)); t != nil {
			m.targets = append(m.targets, t)
		}
	}
	return len(m.targets) > 0
}

// target decodes one target of m. Equal targets of different models are one, so
// that what is learnt about an upstream's model is learnt once.
func (l *loader) target(m *model, n *node, s scope) *target {
	if n.kind != mapping {
		l.structure(n, s.path, "", "want a target, as in { provider: NAME }, not %s", l.show(n, handlerType))
		return nil
	}
	if !l.on(n, s) {
		defer l.switchOff()()
	}
	t := &target{}
	u := &unit{}
	if !l.settings(n, n, reflect.ValueOf(&t.targetSpec).Elem(), s, u) || l.off {
		return nil
	}
	r := u.refs[0]
	d := l.declared[r.name]
	if d != nil && d.off {
		l.links = l.links[:len(l.links)-1] // left out, and no problem
		return nil
	}
	if d == nil || d.unit == nil {
		return nil // a problem, reported elsewhere
	}
	t.provider = d.unit
	t.name = r.name
	if t.Model != "" {
		t.name += "/" + t.Model
	}
	return l.share(m, t)
}

// share returns the target that equals t, unless m has it already, or t under a
// name that no other target has.
func (l *loader) share(m *model, t *target) *target {
	alike := l.alike[t.name]
	for _, have := range alike {
		if have.provider == t.provider && have.Model == t.Model && have.FirstByte == t.FirstByte && have.Idle == t.Idle && !slices.Contains(m.targets, have) {
			return have
		}
	}
	l.alike[t.name] = append(alike, t)
	if len(alike) > 0 {
		t.name += "#" + strconv.Itoa(len(alike)+1)
	}
	l.targets = append(l.targets, t)
	return t
}
