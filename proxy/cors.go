package proxy

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// cors says which web pages may use the gateway: browsers ask before they send
// a page's request elsewhere, and show the page no answer that does not name its
// origin (the Fetch Standard's CORS protocol). Keys are all that clients are known
// by, so no answer depends on cookies, and none are allowed.
type cors struct {
	origins []string // beside the next two
	every   bool     // page may
	local   bool     // pages from this machine may
	open    bool     // requests need no key
}

// newCORS reads the setting. Where nobody needs a key, whatever page a user looks at
// could spend their money, so that "*" stands for pages of their own machine.
func newCORS(snap *config.Snapshot) cors {
	c := cors{origins: snap.Server.Origins, open: !snap.Guarded && !snap.Server.Open}
	if slices.Contains(c.origins, "*") {
		c.every, c.local = !c.open, c.open
	}
	return c
}

// allows reports whether pages of origin may use the gateway.
func (c *cors) allows(origin []byte) bool {
	return c.every || c.local && isLocal(string(origin)) || slices.Contains(c.origins, string(origin))
}

// isLocal reports whether origin is this machine's, or an application's that is no
// web page.
func isLocal(origin string) bool {
	scheme, host, ok := strings.Cut(origin, "://")
	if !ok {
		return false // null, which any page can bring about
	}
	if scheme != "http" && scheme != "https" {
		return true
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// share lets the page that asked see the answer. An answer that a cache may keep
// says that it would be another one for another page.
func (c *cors) share(ctx *fasthttp.RequestCtx, h *fasthttp.ResponseHeader) {
	origin := ctx.Request.Header.Peek(fasthttp.HeaderOrigin)
	if len(c.origins) == 0 || len(origin) == 0 && ctx.IsPost() {
		return
	}
	h.Add(fasthttp.HeaderVary, fasthttp.HeaderOrigin)
	if len(origin) == 0 || !c.allows(origin) {
		return
	}
	if c.every {
		h.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	} else {
		h.SetBytesV(fasthttp.HeaderAccessControlAllowOrigin, origin)
	}
	h.Set(fasthttp.HeaderAccessControlExposeHeaders, "*")
}

// preflight answers a browser that asks whether a page may send a request, and
// reports whether ctx is that. Browsers show no key here.
func (s *Server) preflight(ctx *fasthttp.RequestCtx) bool {
	if !ctx.IsOptions() {
		return false
	}
	h := &ctx.Request.Header
	origin := h.Peek(fasthttp.HeaderOrigin)
	if len(origin) == 0 || len(h.Peek(fasthttp.HeaderAccessControlRequestMethod)) == 0 {
		return false
	}
	st, out := s.site.Load(), &ctx.Response.Header
	if st.cors.allows(origin) {
		ctx.SetStatusCode(fasthttp.StatusNoContent)
		out.Set(fasthttp.HeaderAccessControlAllowMethods, "GET, HEAD, POST, PUT, PATCH, DELETE")
		// By the standard "*" would leave out Authorization.
		if asked := h.Peek(fasthttp.HeaderAccessControlRequestHeaders); isNameList(asked) {
			out.SetBytesV(fasthttp.HeaderAccessControlAllowHeaders, asked)
		}
		out.Set(fasthttp.HeaderAccessControlMaxAge, "600")
	} else {
		setError(ctx, notAllowed(origin))
	}
	out.SetBytesV("X-Request-Id", requestID(nil, h.Peek("X-Request-Id")))
	st.cors.share(ctx, out)
	st.nowhere.metrics.requests[ctx.Response.StatusCode()/100].Inc()
	return true
}

func notAllowed(origin []byte) *pipeline.Error {
	const most = 200
	return refuse(403, "origin_not_allowed", "", fmt.Errorf(
		"pages of %q may not use this gateway; its setting server.origins says which may", origin[:min(len(origin), most)]))
}

// admit refuses what a page that may not use the gateway can send without asking, by
// the standard: it would not see the answer, but where no key is needed, the request
// would be carried out.
func (c *cors) admit(h *fasthttp.RequestHeader) error {
	if !c.open || h.IsGet() || h.IsHead() {
		return nil
	}
	origin := h.Peek(fasthttp.HeaderOrigin)
	if len(origin) == 0 || c.allows(origin) {
		return nil
	}
	kind, _, _ := bytes.Cut(h.ContentType(), []byte{';'})
	switch string(bytes.ToLower(bytes.TrimSpace(kind))) {
	case "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data":
		return notAllowed(origin)
	}
	return nil
}

// isNameList reports whether b is a list of header names.
func isNameList(b []byte) bool {
	for name := range bytes.SplitSeq(b, comma) {
		if name = bytes.Trim(name, " \t"); len(name) == 0 || tokenLen(name) != len(name) {
			return false
		}
	}
	return true
}

var comma = []byte{','}
