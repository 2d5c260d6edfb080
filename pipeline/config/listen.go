package config

import (
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/headrace/headrace/pipeline"
)

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
	l.origins(l.server.Origins)
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

// origins reports what no page's origin looks like.
func (l *loader) origins(list []string) {
	for _, o := range list {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || o != strings.ToLower(u.Scheme+"://"+u.Host)) {
			l.problem(l.serverAt("origins"), "server.origins", "",
				"%q is not an origin; write https://host or https://host:port, in lower case and without a path, or \"*\"", o)
		}
	}
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

// refuseOpen notes whether everything needs a key, and reports a data address that other machines can reach while a
// request can be answered without a key. A model with a chain of its own takes
// requests past the chains of the routes, and what guards them.
func (l *loader) refuseOpen(s *Snapshot) {
	what, name := l.unguarded(s)
	s.Guarded = what == ""
	if s.Guarded || l.server.Open || loopback(l.server.Listen) {
		return
	}
	l.problem(l.serverAt("listen"), "server.listen", "",
		"%q can be reached from other machines, and the %s %q asks nobody for a key; put auth under before, listen on 127.0.0.1, or set open: true under server",
		l.server.Listen, what, name)
}

// unguarded is something that asks nobody for a key, if there is anything.
func (l *loader) unguarded(s *Snapshot) (what, name string) {
	if slices.ContainsFunc(s.Before, guards) {
		return "", ""
	}
	for _, r := range l.routes {
		if !guarding(r.Chain) {
			return "route", r.Name
		}
	}
	for _, m := range s.Models.List() {
		if m.Chain != nil && !guarding(m.Chain) {
			return "model", m.Name
		}
	}
	return "", ""
}

func guarding(c pipeline.Chain) bool { return len(c) > 0 && guards(c[0]) }

func guards(h pipeline.Handler) bool {
	g, ok := h.(pipeline.Guard)
	return ok && g.Guards()
}
