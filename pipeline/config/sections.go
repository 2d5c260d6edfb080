package config

import (
	_ "embed"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
)

//go:embed sections.go
var sectionsSource string

// readServer decodes the section server.
func (l *loader) readServer(n, root *node) {
	l.server, l.serverNode = DefaultServer(), n
	if n == nil {
		l.serverNode = root
		return
	}
	s := scope{path: "server", name: "server"}
	if !l.settings(n, n, reflect.ValueOf(&l.server).Elem(), s, &unit{}) {
		return
	}
	l.address(l.server.Listen, "listen")
	if l.server.Admin != "" && l.address(l.server.Admin, "admin") && !loopback(l.server.Admin) && !l.server.OpenAdmin {
		l.problem(l.serverAt("admin"), "server.admin", "",
			"%q can be reached from other machines, and everybody there could read metrics and profiles; use 127.0.0.1, or set open_admin: true", l.server.Admin)
	}
}

// serverAt is where a setting of the server stands, or would stand.
func (l *loader) serverAt(key string) *node {
	if n := l.serverNode.get(key); n != nil {
		return n
	}
	return l.serverNode
}

func (l *loader) address(addr, key string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		l.problem(l.serverAt(key), join("server", key), "", "%q is not an address; write host:port, as in 127.0.0.1:8080", addr)
	}
	return err == nil
}

// loopback reports whether only this machine can reach addr.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// onOff decides whether an entry counts.
type onOff struct {
	// When switches the entry off if its value is empty, false, off, no or 0.
	When string `yaml:"when"`
	// Unless switches the entry off if its value is anything else.
	Unless string `yaml:"unless"`
}

// A targetSpec is one way to answer for a model.
type targetSpec struct {
	onOff `yaml:",inline"`
	// Provider is asked. If it is switched off the target is left out.
	Provider Ref[pipeline.Provider] `yaml:"provider" check:"required"`
	// Model is the provider's name of the model; a "*" in it stands for what
	// the client's name has in the place of the "*" of the declared one.
	// Without it the client's name is passed on.
	Model string `yaml:"model"`
	// FirstByte is the longest wait for the header of the answer, in place of
	// the provider's own.
	FirstByte time.Duration `yaml:"first_byte" check:"min=1ms"`
	// Idle is the longest pause within the answer, in place of the provider's
	// own.
	Idle time.Duration `yaml:"idle" check:"min=1ms"`
}

// modelSpec is a model that clients can ask for: a name, a prefix with a * behind
// it, or * for every name. A model that needs its targets alone is written as a
// list of them.
type modelSpec struct {
	onOff `yaml:",inline"`
	// Targets are asked for an answer. A target whose provider is switched off
	// is left out, and so is a model without any target left.
	Targets []targetSpec `yaml:"targets"`
	// Chain names the chain that requests for the model take instead of the
	// route's.
	Chain string `yaml:"chain"`
	// ContextWindow is how many tokens fit in, prompt and answer together.
	ContextWindow int `yaml:"context_window" check:"min=1"`
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

// routeSpec is which requests take which chain. The routes are tried in their
// order.
type routeSpec struct {
	onOff `yaml:",inline"`
	// Name is for logs and metrics, and for those who read the file. Without
	// one it is the first path.
	Name string `yaml:"name"`
	// Match says which requests take the route.
	Match matchSpec `yaml:"match" check:"required"`
	// Chain is the stages that the requests run through.
	Chain pipeline.Chain `yaml:"chain" check:"required"`
}

// A matchSpec says which requests take a route.
type matchSpec struct {
	// Path is matched whole, or, with /* at its end, with everything below.
	Path string `yaml:"path"`
	// Paths are several of them.
	Paths []string `yaml:"paths"`
	// Methods are the HTTP methods that match. Without any, all do.
	Methods []string `yaml:"methods"`
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
