package proxy

import (
	"bytes"
	"fmt"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/fasthttp/router"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
	"github.com/valyala/fasthttp/pprofhandler"

	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/quiet"
)

// adminServer is the server of metrics, health and profiles.
func (s *Server) adminServer() *fasthttp.Server {
	r := router.New()
	r.GET("/metrics", s.serveMetrics)
	r.ANY("/debug/pprof/", fasthttpadaptor.NewFastHTTPHandlerFunc(pprof.Index)) // which fasthttp's handler answers with 404
	r.ANY("/debug/pprof/{path:*}", pprofhandler.PprofHandler)
	for _, p := range [...]string{"/health", "/health/liveliness", "/health/liveness", "/health/readiness", "/ready", "/version"} {
		r.ANY(p, func(ctx *fasthttp.RequestCtx) { s.health(ctx) })
	}
	return &fasthttp.Server{
		Handler: r.Handler, ReadTimeout: 10 * time.Second, WriteTimeout: 2 * time.Minute, IdleTimeout: time.Minute,
		MaxRequestBodySize: 64 << 10, NoDefaultServerHeader: true, CloseOnShutdown: true, SecureErrorLogMessage: true, Logger: silent{},
	}
}

func (s *Server) serveMetrics(ctx *fasthttp.RequestCtx) {
	g, release := s.gatherer()
	defer release()
	fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(g, promhttp.HandlerOpts{
		// One metric that cannot be had must not hide all others.
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: unmeasured{s.unmeasured},
	}))(ctx)
}

// unmeasured is told of metrics that are left out.
type unmeasured struct{ log *quiet.Log }

// Println implements promhttp.Logger.
func (u unmeasured) Println(v ...any) {
	u.log.Warn("some metrics are left out", "error", strings.TrimSpace(fmt.Sprintln(v...)))
}

// pathOf is the path that uri names, whichever of its forms the client chose.
func pathOf(uri []byte) []byte {
	if len(uri) > 0 && uri[0] != '/' || bytes.IndexByte(uri, '%') >= 0 {
		if t, err := canonical(uri); err == nil {
			uri = t.uri
		}
	}
	return plainPath(uri)
}

// health answers the paths that say whether the gateway is well, in LiteLLM's
// words. They are open to everybody, on both listeners. It reports whether the
// path was one of them.
func (s *Server) health(ctx *fasthttp.RequestCtx) bool {
	status, body := 200, ""
	path := pathOf(ctx.Request.Header.RequestURI())
	if len(path) > 1 {
		path = bytes.TrimSuffix(path, []byte{'/'})
	}
	switch string(path) {
	case "/health/liveliness", "/health/liveness":
		body = `"I'm alive!"`
	case "/health":
		body = `{"ok":true}`
	case "/version":
		body = `{"version":` + string(chat.AppendString(nil, s.opts.Version)) + `}`
	case "/health/readiness", "/ready":
		body = `{"status":"healthy","db":"Not connected"}`
		if s.draining.Load() {
			status, body = 503, `{"detail":"shutting down"}`
		}
	case "*":
		ctx.Response.Header.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		ctx.SetStatusCode(204)
		return true
	default:
		return false
	}
	s.site.Load().cors.share(ctx, &ctx.Response.Header)
	switch string(ctx.Method()) {
	case "GET", "HEAD":
	case "OPTIONS":
		ctx.Response.Header.Set("Allow", "GET, HEAD, OPTIONS")
		ctx.SetStatusCode(204)
		return true
	default:
		ctx.Response.Header.Set("Allow", "GET, HEAD, OPTIONS")
		status, body = 405, `{"detail":"Method Not Allowed"}`
	}
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType("application/json")
	ctx.Response.Header.SetBytesV("X-Request-Id", requestID(nil, ctx.Request.Header.Peek("X-Request-Id")))
	ctx.SetBodyString(body)
	return true
}
