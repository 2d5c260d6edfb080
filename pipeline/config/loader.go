package config

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// maxUnits bounds how many components one file may describe, each counted as
// often as an Each or a named chain repeats it.
const maxUnits = 200_000

// A loader reads one file.
type loader struct {
	file     string
	lines    []int // how long each line is, in characters
	reg      Registry
	log      *slog.Logger
	getenv   func(string) (string, bool)
	problems Problems
	secrets  []string // values that no problem may show
	off      bool     // within an entry that is switched off
	units    int      // components counted so far

	server     Server
	serverNode *node
	declared   map[string]*declaration // providers and stores
	inOrder    []*unit                 // those of them that can be built, as declared
	links      []*link
	targets    []*target
	alike      map[string][]*target // those that would have the same name
	models     []*model
	chains     map[string]*node
	chainNames []string
	compiled   map[string]*compiled
	before     *compiled
	routes     []*route
}

// A declaration is a name under providers or stores.
type declaration struct {
	section string
	iface   reflect.Type // what it implements; nil if there is no such component
	unit    *unit        // nil if it is switched off or has a problem
	off     bool
}

// A model of the file, with its chain still to be built.
type model struct {
	name    string
	targets []*target
	chain   *compiled
	window  int
}

// A route of the file.
type route struct {
	Route
	at    *node
	path  string
	chain *compiled
}

// problem reports a mistake in a value, unless what it is in is switched off.
func (l *loader) problem(n *node, path, hint, format string, a ...any) {
	if !l.off {
		l.structure(n, path, hint, format, a...)
	}
}

// structure reports a mistake that counts even where it is switched off.
func (l *loader) structure(n *node, path, hint, format string, a ...any) {
	l.problems = append(l.problems, Problem{l.file, n.line, n.col, path, fmt.Sprintf(format, a...), hint})
}

// count bounds the number of components. It reports whether there is room for
// so many more.
func (l *loader) count(more int, at *node, path string) bool {
	if before := l.units; before <= maxUnits && before+more > maxUnits {
		l.structure(at, path, "", "more than %d components, each counted once per target it serves and per place that names its chain", maxUnits)
	}
	l.units += more
	return l.units <= maxUnits
}

var sections = []string{"server", "before", inProviders, inStores, "models", inChains, "routes"}

// read decodes and checks the whole file.
func (l *loader) read(root *node) {
	if root.kind != mapping {
		l.structure(root, "", "", "a file is a mapping with the keys %s", strings.Join(sections, ", "))
		return
	}
	for _, k := range root.keys {
		if !slices.Contains(sections, k.text) && !strings.HasPrefix(k.text, "x-") {
			l.structure(k, "", nearest(k.text, sections), "unknown section %q; known: %s, and x-* for anchors", k.text, strings.Join(sections, ", "))
		}
	}
	l.readServer(root.get("server"), root)
	l.declare(root, inProviders)
	l.declare(root, inStores)
	l.readChains(root.get(inChains))
	l.readModels(root.get("models"))
	if n := root.get("before"); n != nil {
		l.before = l.chain(n, scope{path: "before", name: "before"})
	}
	l.readRoutes(root.get("routes"), root)
	for _, name := range l.chainNames {
		l.named(&node{kind: scalar, text: name, line: l.chains[name].line, col: l.chains[name].col}, scope{path: join(inChains, name)})
	}
	l.resolve()
}

// entries calls f for the keys of a section.
func (l *loader) entries(n *node, section string, f func(key, val *node)) {
	switch {
	case n == nil || n.null:
	case n.kind != mapping:
		l.structure(n, section, "", "want a mapping from names to settings, not %s", l.show(n, handlerType))
	default:
		for i, k := range n.keys {
			if k.text == "" || strings.Contains(k.text, "${") {
				l.structure(k, section, "", "%q cannot be a name; a name is plain text without variables", k.text)
				continue
			}
			f(k, n.vals[i])
		}
	}
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

// readChains notes the named chains, which are decoded where they are used.
func (l *loader) readChains(n *node) {
	l.entries(n, inChains, func(key, val *node) {
		l.chains[key.text] = val
		l.chainNames = append(l.chainNames, key.text)
	})
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
		for _, r := range u.refs {
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

// roots returns the chains that the snapshot needs.
func (l *loader) roots() []*compiled {
	var out []*compiled
	if l.before != nil {
		out = append(out, l.before)
	}
	for _, m := range l.models {
		if m.chain != nil {
			out = append(out, m.chain)
		}
	}
	for _, r := range l.routes {
		out = append(out, r.chain)
	}
	return out
}

// finish returns the problems as they are shown: in order, within the file, and
// without a secret.
func (l *loader) finish() Problems {
	var hide []string
	for _, secret := range l.secrets {
		if len(secret) >= 4 { // a shorter one would mask half of what is said
			hide = append(hide, secret, masked, strings.Trim(strconv.Quote(secret), `"`), masked)
		}
	}
	mask := strings.NewReplacer(hide...)
	ps := l.problems.tidy()
	for i := range ps {
		p := &ps[i]
		p.Line = min(max(p.Line, 1), len(l.lines))
		p.Col = min(max(p.Col, 1), l.lines[p.Line-1]+1)
		p.Msg = mask.Replace(p.Msg)
	}
	return ps
}
