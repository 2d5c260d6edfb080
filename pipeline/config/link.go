package config

import (
	"reflect"
	"slices"
	"strings"
)

// A declaration is a name under providers or stores.
type declaration struct {
	section string
	iface   reflect.Type // what it implements; nil if there is no such component
	unit    *unit        // nil if it is switched off or has a problem
	off     bool
}

// declare decodes the providers, or the stores.
func (l *loader) declare(root *node, section string) {
	kind := strings.TrimSuffix(section, "s")
	l.entries(root.get(section), section, func(key, val *node) {
		s := scope{path: join(section, key.text), name: join(section, key.text)}
		if l.declared[key.text] != nil {
			l.structure(key, s.path, "", "the name %q is taken by a provider; providers and stores share their names", key.text)
			return
		}
		l.declaring = s.path
		defer func() { l.declaring = "" }()
		d := &declaration{section: section}
		l.declared[key.text] = d
		e, ok := l.entry(val, s, kind, l.reg.names(section))
		if !ok {
			return
		}
		if e.off {
			d.off = true
			defer l.switchOff()()
		}
		if c, ok := l.reg.find(section, e.key.text); ok {
			d.iface = c.iface
		}
		if u := l.component(section, e, s); u != nil && !e.off {
			u.name = key.text
			d.unit = u
			l.inOrder = append(l.inOrder, u)
		}
	})
}

// A link is a reference to another component.
type link struct {
	at    *node
	path  string
	name  string
	wants reflect.Type
	set   func(any)
	unit  *unit
}

// reference decodes the name of another component. It is looked up once all are
// known.
func (l *loader) reference(n *node, r reference, s scope, u *unit) {
	name, ok := l.text(n, s.path)
	switch {
	case !ok || l.off:
	case name == "":
		l.problem(n, s.path, "", "names no %s; declared: %s", kindOf(r.wants()), listed(l.candidates(r.wants())))
	default:
		k := &link{at: n, path: s.path, name: name, wants: r.wants(), set: r.name(name)}
		u.refs, l.links = append(u.refs, k), append(l.links, k)
	}
}

// candidates returns the declared names of what implements t, sorted.
func (l *loader) candidates(t reflect.Type) []string {
	var out []string
	for name, d := range l.declared {
		if !d.off && d.implements(t) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// implements reports whether d can stand for t. What d is may be misspelt: then
// its section decides.
func (d *declaration) implements(t reflect.Type) bool {
	if d.iface == nil {
		return (d.section == inProviders) == t.Implements(providerType)
	}
	return d.iface.AssignableTo(t)
}

// kind says what d is, as far as that is known.
func (d *declaration) kind() string {
	if d.iface == nil {
		return strings.TrimSuffix(d.section, "s")
	}
	return kindOf(d.iface)
}

// resolve looks up every reference.
func (l *loader) resolve() {
	for _, r := range l.links {
		r.unit = l.look(r)
	}
	l.cycles()
}

// look finds what a reference names, or reports why it cannot.
func (l *loader) look(r *link) *unit {
	d, want := l.declared[r.name], kindOf(r.wants)
	switch {
	case d == nil:
		all := l.candidates(r.wants)
		if _, plugin := l.reg.find(inChains, r.name); plugin {
			l.problem(r.at, r.path, "", "%q is a plugin, not %s; declared: %s", r.name, a(want), listed(all))
			return nil
		}
		l.problem(r.at, r.path, nearest(r.name, all), "no %s named %q; declared: %s", want, r.name, listed(all))
	case d.off:
		l.problem(r.at, r.path, "", "%s %q is switched off by its when or unless; declared: %s", want, r.name, listed(l.candidates(r.wants)))
	case !d.implements(r.wants):
		l.problem(r.at, r.path, "", "%q is %s, not %s; declared: %s", r.name, a(d.kind()), a(want), listed(l.candidates(r.wants)))
	default:
		return d.unit // nil if it has problems of its own
	}
	return nil
}

// cycles reports providers and stores that need themselves.
func (l *loader) cycles() {
	const active, done = 1, 2
	state := map[*unit]int{}
	var stack []string
	var visit func(u *unit)
	visit = func(u *unit) {
		state[u] = active
		stack = append(stack, u.name)
		for _, r := range u.named() {
			switch {
			case r.unit == nil:
			case state[r.unit] == active:
				from := slices.Index(stack, r.unit.name)
				l.problem(r.at, r.path, "", "%q needs itself: %s → %s", r.unit.name, strings.Join(stack[from:], " → "), r.unit.name)
			case state[r.unit] == 0:
				visit(r.unit)
			}
		}
		stack = stack[:len(stack)-1]
		state[u] = done
	}
	for _, u := range l.inOrder {
		if state[u] == 0 {
			visit(u)
		}
	}
}
