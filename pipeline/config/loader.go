package config

import (
	"fmt"
	"log/slog"
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
	long     []string // values that a problem shows the beginning of
	off      bool     // within an entry that is switched off
	// declaring is the provider or store that is being read, "" for none.
	declaring string
	units     int // components counted so far

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
	l.readChains(root.get(inChains))
	l.declare(root, inProviders)
	l.declare(root, inStores)
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

// readChains notes the named chains, which are decoded where they are used.
func (l *loader) readChains(n *node) {
	l.entries(n, inChains, func(key, val *node) {
		l.chains[key.text] = val
		l.chainNames = append(l.chainNames, key.text)
	})
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
	var hide, cut []string
	// Of two that begin alike, the longer one is looked for first.
	slices.SortFunc(l.secrets, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range l.secrets {
		if len(secret) >= 4 { // a shorter one would mask half of what is said
			quoted := strconv.Quote(secret)
			hide = append(hide, secret, masked, quoted[1:len(quoted)-1], masked)
		}
	}
	mask := strings.NewReplacer(hide...)
	for i, value := range l.long { // masked first: the beginning of a secret is not the secret
		short := []rune(mask.Replace(value))
		if len(short) > maxShown {
			short = append(short[:maxShown], '…')
		}
		cut = append(cut, placeOf(i), strconv.Quote(string(short)))
	}
	shorten := strings.NewReplacer(cut...)
	ps := l.problems.tidy()
	for i := range ps {
		p := &ps[i]
		p.Line = min(max(p.Line, 1), len(l.lines))
		p.Col = min(max(p.Col, 1), l.lines[p.Line-1]+1)
		p.Msg = mask.Replace(shorten.Replace(p.Msg))
	}
	return ps
}
