package config

import (
	"slices"
	"strings"
)

// An entry is a component where it stands in the file: one key with its
// settings, and maybe a switch beside it.
type entry struct {
	key *node
	val *node // nil if there are no settings
	off bool
}

// entry takes an entry apart.
func (l *loader) entry(n *node, s scope, kind string, known []string) (e entry, ok bool) {
	if n.kind == scalar && !n.null {
		return entry{key: n}, true
	}
	if n.kind != mapping {
		l.structure(n, s.path, "", "want one %s, as in { %s: {} }, not %s", kind, example(known), l.show(n, handlerType))
		return e, false
	}
	e.off = !l.on(n, s)
	m := n.without("when", "unless")
	for _, k := range m.keys {
		if hint := nearest(k.text, []string{"when", "unless"}); hint != "" && len(m.keys) > 1 && !slices.Contains(known, k.text) {
			l.structure(k, s.path, hint, "unknown switch %q; known: when, unless", k.text)
			m = m.without(k.text)
		}
	}
	switch len(m.keys) {
	case 1:
		e.key, e.val = m.keys[0], m.vals[0]
		return e, true
	case 0:
		l.structure(n, s.path, "", "names no %s; known: %s", kind, strings.Join(known, ", "))
	default:
		l.structure(m.keys[1], s.path, "", "%q is a second %s in one place, after %q; give each its own", m.keys[1].text, kind, m.keys[0].text)
	}
	return e, false
}

func example(known []string) string {
	if len(known) == 0 {
		return "name"
	}
	return known[0]
}

// on evaluates the switches of a mapping.
func (l *loader) on(n *node, s scope) bool {
	on := true
	if when := n.get("when"); when != nil {
		on = l.truthy(when, s.at("when").path)
	}
	if unless := n.get("unless"); unless != nil {
		on = on && !l.truthy(unless, s.at("unless").path)
	}
	return on
}

func (l *loader) truthy(n *node, path string) bool {
	if n.null {
		return false
	}
	text, _ := l.text(n, path)
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "", "false", "off", "no", "0":
		return false
	}
	return true
}

// switchOff makes the loader check no more than names, until undone: what is
// switched off may lack what its settings need.
func (l *loader) switchOff() (undo func()) {
	before := l.off
	l.off = true
	return func() { l.off = before }
}

// component decodes a component. It returns nil after a problem.
func (l *loader) component(section string, e entry, s scope) (u *unit) {
	name := e.key.text
	defer func() { // a definition that Verify would refuse must not end the program
		if r := recover(); r != nil {
			l.structure(e.key, join(s.path, name), "", "%v", r)
			u = nil
		}
	}()
	c, ok := l.reg.find(section, name)
	if !ok {
		l.noComponent(section, e.key, s.path)
		return nil
	}
	if !l.count(1, e.key, s.path) {
		return nil
	}
	u = &unit{
		comp: c, base: s.name, target: s.target,
		path: join(s.path, name), at: e.key,
		settings: clone(c.defaults),
	}
	if s.target != nil {
		u.base += "[" + s.target.name + "]"
	}
	if !l.settings(e.val, e.key, u.settings, s.at(name), u) {
		return nil
	}
	return u
}

// noComponent reports a name that a section does not know.
func (l *loader) noComponent(section string, key *node, path string) {
	want := map[string]string{inChains: "plugin", inProviders: "provider", inStores: "store"}[section]
	where := map[string]string{inChains: "in a chain", inProviders: "under providers", inStores: "under stores"}
	known := l.reg.names(section)
	for _, other := range []string{inChains, inProviders, inStores} {
		if c, ok := l.reg.find(other, key.text); ok && other != section {
			l.structure(key, path, "", "%q is %s, not %s; it stands %s; known here: %s", key.text, a(c.Kind()), a(want), where[other], listed(known))
			return
		}
	}
	hint := nearest(key.text, known)
	if section == inChains {
		hint = nearest(key.text, append(known, chainStage))
	}
	l.structure(key, path, hint, "unknown %s %q; known: %s", want, key.text, listed(known))
}

// a puts the article before a noun.
func a(noun string) string {
	if strings.IndexByte("aeiou", noun[0]) >= 0 {
		return "an " + noun
	}
	return "a " + noun
}

// listed joins names for a problem.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
