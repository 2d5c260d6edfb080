package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/headrace/headrace/pipeline"
)

// A route of the file.
type route struct {
	Route
	at    *node
	path  string
	chain *compiled
}

// readRoutes decodes the routes.
func (l *loader) readRoutes(n, root *node) {
	switch {
	case n == nil || n.null:
		l.structure(root, "", "", "the file has no routes; without one no request has an answer")
		return
	case n.kind != list:
		l.structure(n, "routes", "", "want a list of routes, as in [ { match: { path: /v1/* }, chain: [ call: {} ] } ], not %s", l.show(n, handlerType))
		return
	case len(n.vals) == 0:
		l.structure(n, "routes", "", "there are no routes; without one no request has an answer")
	}
	for i, item := range n.vals {
		l.route(item, scope{path: "routes"}.item(i))
	}
	l.conflicts()
}

func (l *loader) route(n *node, s scope) {
	if n.kind != mapping {
		l.structure(n, s.path, "", "want a route, as in { match: { path: /v1/* }, chain: [ call: {} ] }, not %s", l.show(n, handlerType))
		return
	}
	if !l.on(n, s) {
		defer l.switchOff()()
	}
	var spec routeSpec
	// The chain is decoded below, when the name that it goes by is known.
	rest, chain := n.without("chain"), n.get("chain")
	if chain != nil {
		spec.Chain = pipeline.Chain{}
	}
	l.settings(rest, n, reflect.ValueOf(&spec).Elem(), s, &unit{})
	r := &route{at: n, path: s.path}
	r.Name, r.Methods = spec.Name, spec.Match.Methods
	if spec.Match.Path != "" {
		r.Paths = append(r.Paths, spec.Match.Path)
	}
	r.Paths = append(r.Paths, spec.Match.Paths...)
	l.matches(r, n, s)
	if r.Name == "" && len(r.Paths) > 0 {
		r.Name = r.Paths[0]
	}
	s.name = join("routes", r.Name)
	r.chain = &compiled{}
	if chain != nil {
		r.chain = l.chain(chain, s.at("chain"))
	}
	if chain != nil && (chain.null || chain.kind == list && len(chain.vals) == 0) {
		l.problem(chain, s.at("chain").path, "", "the chain is empty; its last stage must answer, as call: {} does")
	}
	if !l.off {
		l.routes = append(l.routes, r)
	}
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// matches checks the paths and methods of a route.
func (l *loader) matches(r *route, n *node, s scope) {
	m := n.get("match")
	if m == nil || m.kind != mapping {
		return
	}
	s = s.at("match")
	if m.get("path") == nil && m.get("paths") == nil && len(m.keys) > 0 {
		l.problem(m, s.path, "", "matches nothing; set path or paths")
	}
	if one := m.get("path"); one != nil && r.Paths != nil && !one.null {
		l.checkPath(one, s.at("path"))
	}
	if many := m.get("paths"); many != nil && many.kind == list {
		for i, p := range many.vals {
			l.checkPath(p, s.at("paths").item(i))
		}
	}
	if ms := m.get("methods"); ms != nil && ms.kind == list {
		for i, item := range ms.vals {
			at := s.at("methods").item(i)
			text, ok := l.text(item, at.path)
			if upper := strings.ToUpper(text); ok && !slices.Contains(methods, text) {
				l.problem(item, at.path, nearest(upper, methods), "%q is not a method; allowed: %s", text, strings.Join(methods, ", "))
			}
		}
	}
}

func (l *loader) checkPath(n *node, s scope) {
	text, ok := l.text(n, s.path)
	if !ok {
		return
	}
	if why := badPath(text); why != "" {
		l.problem(n, s.path, "", "%q %s", text, why)
	}
}

// badPath says why p is not a path that a request can have, or "".
func badPath(p string) string {
	body := strings.TrimSuffix(p, "/*")
	switch {
	case !strings.HasPrefix(p, "/"):
		return "does not start with /"
	case strings.Contains(body, "*"):
		return "has a * that is not a trailing /*"
	case strings.ContainsAny(body, "?#"):
		return "has a query or a fragment; a route matches the path alone"
	case strings.ContainsAny(body, "{}"):
		return "has a placeholder; a route matches a whole path, or everything below one with a trailing /*"
	case strings.Contains(body, "%"):
		return "is escaped; write the path as it reads after decoding"
	case strings.Contains(p, "//"):
		return "has an empty segment"
	case strings.ContainsFunc(body, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "has a space or a control character"
	}
	for segment := range strings.SplitSeq(body, "/") {
		if segment == "." || segment == ".." {
			return "has a " + segment + " segment"
		}
	}
	return ""
}

// conflicts reports routes that cannot be told apart.
func (l *loader) conflicts() {
	names := map[string]*route{}
	type claim struct{ path, method string }
	claims := map[claim]*route{}
	for _, r := range l.routes {
		if first := names[r.Name]; first != nil && r.Name != "" {
			l.problem(r.at, r.path, "", "the name %q is taken by the route on line %d", r.Name, first.at.line)
		}
		names[r.Name] = r
		for _, p := range r.Paths {
			every := r.Methods
			if len(every) == 0 {
				every = append(slices.Clone(methods), "")
			}
			for _, m := range every {
				if first := claims[claim{p, m}]; first != nil {
					who := "this route itself"
					if first != r {
						who = fmt.Sprintf("the route on line %d", first.at.line)
					}
					l.problem(r.at, r.path, "", "%s is taken by %s", strings.TrimSpace(m+" "+p), who)
					break
				}
				claims[claim{p, m}] = r
			}
		}
	}
}
