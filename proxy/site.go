package proxy

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fasthttp/router"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// A site is a snapshot made ready to serve: its routes looked up by path, their
// chains completed. It is built once for each snapshot and never changes.
type site struct {
	snap     *config.Snapshot
	static   *router.Router
	prefixes []*route // of routes that end in /*; longest first
	nowhere  *route
	targets  []targetMetrics // by Target.Index

	timeouts  struct{ bodyIdle, writeIdle time.Duration }
	maxUpload int64
}

// A route is one declared route, with everything that stands before it.
type route struct {
	name    string
	prefix  string // without the *; empty for a static route
	methods []string
	chain   pipeline.Chain
	metrics routeMetrics
}

// routeKey is the user value under which the router leaves the route it found.
const routeKey = "route"

func newSite(snap *config.Snapshot, m *metrics) *site {
	s := &site{snap: snap, static: router.New(), maxUpload: int64(snap.Server.Limits.MaxUpload)}
	s.timeouts.bodyIdle, s.timeouts.writeIdle = snap.Server.Timeouts.BodyIdle, snap.Server.Timeouts.WriteIdle
	s.static.RedirectTrailingSlash, s.static.RedirectFixedPath = false, false
	s.static.HandleMethodNotAllowed, s.static.HandleOPTIONS = false, false
	s.static.SaveMatchedRoutePath = false
	s.static.NotFound = func(ctx *fasthttp.RequestCtx) { ctx.SetUserValue(routeKey, nil) }
	prep := newPrepare(snap)
	chain := func(tail ...pipeline.Handler) pipeline.Chain {
		return slices.Concat(snap.Before, pipeline.Chain{prep}, tail)
	}
	s.nowhere = &route{name: "none", chain: chain(pipeline.HandlerFunc(nowhere)), metrics: m.route("none")}
	taken := map[string]bool{}
	for _, r := range snap.Routes {
		s.add(&route{name: r.Name, methods: r.Methods, chain: chain(r.Chain...), metrics: m.route(r.Name)}, r.Paths, taken)
	}
	models := &models{list: snap.Models}
	s.add(&route{name: "models", methods: []string{"GET", "HEAD"}, chain: chain(models), metrics: m.route("models")},
		[]string{"/v1/models", "/v1/models/*"}, taken)
	slices.SortStableFunc(s.prefixes, func(a, b *route) int { return len(b.prefix) - len(a.prefix) })
	for _, t := range snap.Targets {
		s.targets = append(s.targets, m.target(t.Name))
	}
	return s
}

// add enters r under its paths, as far as an earlier route has not taken them.
func (s *site) add(r *route, paths []string, taken map[string]bool) {
	for _, p := range paths {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			branch := *r
			branch.prefix = prefix
			s.prefixes = append(s.prefixes, &branch)
			continue
		}
		methods := r.methods
		if len(methods) == 0 {
			methods = []string{router.MethodWild}
			if t, _ := canonical([]byte(p)); t.op.HasModel() {
				methods = []string{"POST"}
			}
		}
		for _, method := range methods {
			if !taken[method+p] {
				taken[method+p] = true
				s.static.Handle(method, p, func(ctx *fasthttp.RequestCtx) { ctx.SetUserValue(routeKey, r) })
			}
		}
	}
}

// find returns the route for a request. There is always one: what no route
// claims is answered, behind authentication, by nowhere.
func (s *site) find(ctx *fasthttp.RequestCtx, t target) (*route, error) {
	method := ctx.Request.Header.Method()
	if h, _ := s.static.Lookup(methodName(method), pathName(t), ctx); h != nil {
		h(ctx)
		if r, ok := ctx.UserValue(routeKey).(*route); ok {
			return r, nil
		}
	}
	for _, r := range s.prefixes {
		if bytes.HasPrefix(t.path, []byte(r.prefix)) && (len(r.methods) == 0 || slices.Contains(r.methods, string(method))) {
			return r, nil
		}
	}
	return s.nowhere, nil
}

// methodName and pathName are the strings to look up, without allocating for
// the common ones.
func methodName(m []byte) string {
	switch string(m) {
	case "POST":
		return "POST"
	case "GET":
		return "GET"
	}
	return string(m)
}

func pathName(t target) string {
	switch t.op {
	case pipeline.OpChat:
		return "/v1/chat/completions"
	case pipeline.OpCompletions:
		return "/v1/completions"
	case pipeline.OpEmbeddings:
		return "/v1/embeddings"
	case pipeline.OpResponses:
		return "/v1/responses"
	case pipeline.OpRerank:
		return "/v1/rerank"
	}
	return string(t.path)
}

// nowhere answers what no route claims.
func nowhere(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	h := &ex.Request.Header
	method, path := h.Method(), h.RequestURI()
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if t, _ := canonical(path); t.op != pipeline.OpOther {
		return refuse(405, "method_not_allowed", "", fmt.Errorf("%s is not allowed on %s; use %s", method, path, methodOf(t.op)))
	}
	const most = 200
	return refuse(404, "unknown_path", "", fmt.Errorf("no route leads to %s %s", method, path[:min(len(path), most)]))
}

func methodOf(op pipeline.Operation) string {
	if op == pipeline.OpModels {
		return "GET"
	}
	return "POST"
}

// routeMetrics are the handles of one route, resolved once.
type routeMetrics struct {
	requests  [6]prometheus.Counter // by the first digit of the status
	duration  prometheus.Observer
	firstByte prometheus.Observer
}

// targetMetrics are the handles of one target: its answers by fault.
type targetMetrics [pipeline.GatewayFault + 1]prometheus.Counter
