package proxy

import (
	"bytes"
	"context"
	"errors"
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
	prefixes []*route          // of routes that end in /*; longest first
	bare     map[string]*route // of routes declared at a path that else gets /v1 put in front
	wrong    map[string]*route // by path of an endpoint: what answers other methods there
	slashed  map[string]*route // by path of an endpoint and a slash: what leads to it
	nowhere  *route
	targets  []targetMetrics // by Target.Index
	cors     cors

	bodyIdle  time.Duration
	stream    time.Duration
	maxUpload int64
}

// A route is one declared route, with everything that stands before it.
type route struct {
	name    string
	prefix  string // without the *; empty for a static route
	methods []string
	chain   pipeline.Chain
	refuse  pipeline.Endpoint // words the route's errors; nil for the usual words
	metrics routeMetrics
}

// routeKey is the user value under which the router leaves the route it found.
const routeKey = "route"

func newSite(snap *config.Snapshot, m *metrics) *site {
	s := &site{
		snap: snap, static: router.New(), maxUpload: int64(snap.Server.Limits.MaxUpload),
		bare: map[string]*route{}, wrong: map[string]*route{}, slashed: map[string]*route{},
	}
	s.cors = newCORS(snap)
	s.bodyIdle = snap.Server.Timeouts.BodyIdle
	s.stream = snap.Server.Timeouts.Stream
	s.static.RedirectTrailingSlash, s.static.RedirectFixedPath = false, false
	s.static.HandleMethodNotAllowed, s.static.HandleOPTIONS = false, false
	s.static.SaveMatchedRoutePath = false
	s.static.NotFound = func(ctx *fasthttp.RequestCtx) { ctx.SetUserValue(routeKey, nil) }
	prep, whole := newPrepare(snap), newPrepare(snap)
	whole.endpoint = true
	chain := func(tail ...pipeline.Handler) pipeline.Chain {
		if endpoint(tail) != nil {
			return slices.Concat(snap.Before, pipeline.Chain{whole}, tail)
		}
		return slices.Concat(snap.Before, pipeline.Chain{prep}, tail)
	}
	s.nowhere = &route{name: "none", chain: chain(pipeline.HandlerFunc(nowhere)), metrics: m.route("none")}
	taken := map[string]bool{}
	for _, r := range snap.Routes {
		s.add(&route{name: r.Name, methods: r.Methods, chain: chain(r.Chain...), refuse: endpoint(r.Chain), metrics: m.route(r.Name)}, r.Paths, taken)
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
		t, _ := canonical([]byte(p))
		if len(methods) == 0 {
			methods = []string{router.MethodWild}
			if t.op.HasModel() {
				methods = []string{"POST"}
			}
		}
		if t.bare && s.bare[p] == nil {
			s.bare[p] = r
		}
		s.around(r, p)
		for _, method := range methods {
			if !taken[method+p] {
				taken[method+p] = true
				s.static.Handle(method, p, func(ctx *fasthttp.RequestCtx) { ctx.SetUserValue(routeKey, r) })
			}
		}
	}
}

// find returns the route for a request. There is always one: what no route
// claims, with /v1 in front either, is answered, behind authentication, by nowhere.
func (s *site) find(ctx *fasthttp.RequestCtx, t *target) *route {
	method := ctx.Request.Header.Method()
	if t.bare {
		if r := s.bare[string(plainPath(t.uri))]; r != nil && r.takes(method) {
			return r
		} else if r != nil && r.refuse != nil {
			return s.wrong[string(plainPath(t.uri))]
		} else if r := s.slashed[string(plainPath(t.uri))]; r != nil {
			t.op = pipeline.OpOther
			return r
		}
	}
	if r := s.claims(ctx, method, t); r != nil {
		return r
	}
	if r := s.astray(plainPath(t.uri)); r != nil {
		return r
	}
	if t.complete() {
		if r := s.claims(ctx, method, t); r != nil {
			return r
		}
	}
	return s.nowhere
}

// claims returns the declared route for a method on the path of t, nil if there is
// none.
func (s *site) claims(ctx *fasthttp.RequestCtx, method []byte, t *target) *route {
	if h, _ := s.static.Lookup(methodName(method), pathName(t), ctx); h != nil {
		h(ctx)
		if r, ok := ctx.UserValue(routeKey).(*route); ok {
			return r
		}
	}
	for _, r := range s.prefixes {
		if bytes.HasPrefix(t.path, []byte(r.prefix)) && (len(r.methods) == 0 || slices.Contains(r.methods, string(method))) {
			return r
		}
	}
	return nil
}

// around prepares for what comes near the path p of an endpoint and is not for
// it: another method, and a slash too many.
func (s *site) around(r *route, p string) {
	if r.refuse == nil || s.wrong[p] != nil {
		return
	}
	before := s.nowhere.chain[:len(s.nowhere.chain)-1]
	with := func(answer pipeline.HandlerFunc) *route {
		return &route{name: "none", chain: slices.Concat(before, pipeline.Chain{answer}), refuse: r.refuse, metrics: s.nowhere.metrics}
	}
	allow := strings.Join(r.methods, ", ")
	if allow == "" {
		allow = "POST"
	}
	s.wrong[p] = with(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		ex.Response.Header.Set(fasthttp.HeaderAllow, allow)
		return refuse(405, "method_not_allowed", "", errMethodNotAllowed)
	})
	s.slashed[p+"/"] = with(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		ex.Response.Header.SetStatusCode(fasthttp.StatusTemporaryRedirect)
		ex.Response.Header.Set(fasthttp.HeaderLocation, p)
		ex.Response.SetBody(nil)
		return nil
	})
}

var errMethodNotAllowed = errors.New("Method Not Allowed") // the words that clients of the replaced service know

// astray returns what answers a request for path that no route claims, if the
// path is near that of an endpoint.
func (s *site) astray(path []byte) *route {
	if r := s.wrong[string(path)]; r != nil {
		return r
	}
	return s.slashed[string(path)]
}

// takes reports whether the route is for the method.
func (r *route) takes(method []byte) bool {
	if len(r.methods) == 0 {
		return string(method) == "POST"
	}
	return slices.Contains(r.methods, string(method))
}

// endpoint returns the Endpoint that a chain begins with, or nil.
func endpoint(c pipeline.Chain) pipeline.Endpoint {
	if len(c) == 0 {
		return nil
	}
	e, _ := c[0].(pipeline.Endpoint)
	return e
}

// plainPath is uri without its query.
func plainPath(uri []byte) []byte {
	path, _, _ := bytes.Cut(uri, []byte{'?'})
	return path
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

func pathName(t *target) string {
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
	if t, _ := canonical(path); t.op != pipeline.OpOther && t.operation(method) == pipeline.OpOther {
		ex.Response.Header.Set(fasthttp.HeaderAllow, methodOf(t.op))
		return refuse(405, "method_not_allowed", "", fmt.Errorf("%s is not allowed on %s; use %s", method, path, methodOf(t.op)))
	}
	const most = 200
	why := fmt.Sprintf("no route leads to %s %s", method, path[:min(len(path), most)])
	if instead := instead[string(path)]; instead != "" {
		why += "; use " + instead + ", or give the gateway's file a route to an upstream that serves this path"
	}
	return refuse(404, "unknown_path", "", errors.New(why))
}

// instead says what OpenAI's API has for what other APIs' clients look for.
var instead = map[string]string{
	"/v1/chat": "/v1/chat/completions", "/v2/chat": "/v1/chat/completions", "/v1/embed": "/v1/embeddings", "/v2/embed": "/v1/embeddings",
	"/v1/generate": "/v1/completions", "/api/chat": "/v1/chat/completions", "/api/generate": "/v1/completions", "/api/embed": "/v1/embeddings",
	"/api/embeddings": "/v1/embeddings", "/api/tags": "/v1/models", "/": "/v1/models to see that the gateway answers", "/v1": "a path below /v1, such as /v1/models",
}

func methodOf(op pipeline.Operation) string {
	if op == pipeline.OpModels {
		return "GET, HEAD"
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
