// Package reference holds what a gateway is measured against: the least that
// each way of forwarding can cost in Go.
package reference

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/benchmarks/mock"
)

// Raw forwards with fasthttp's server and its client for one host, and looks
// at nothing: no JSON, no key, no log, no limit. It is the floor for a gateway
// on fasthttp.
func Raw(l net.Listener, upstream string) error {
	plain, streams := client(upstream, false), client(upstream, true)
	s := &fasthttp.Server{
		Name:               "raw",
		ReadBufferSize:     16 << 10,
		MaxRequestBodySize: 64 << 20,
		Concurrency:        64 << 10,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Request.Header.Del("Connection")
			body := ctx.Request.Body()
			if bytes.Contains(body[max(0, len(body)-128):], []byte(`"stream":true`)) {
				rawStream(ctx, streams)
				return
			}
			if err := plain.Do(&ctx.Request, &ctx.Response); err != nil {
				ctx.Error(err.Error(), fasthttp.StatusBadGateway)
				return
			}
			ctx.Response.Header.Del("Connection")
		},
	}
	return s.Serve(l)
}

func client(upstream string, stream bool) *fasthttp.HostClient {
	return &fasthttp.HostClient{
		Addr:                      upstream,
		MaxConns:                  32 << 10,
		MaxIdleConnDuration:       90 * time.Second,
		ReadTimeout:               2 * time.Minute,
		WriteTimeout:              30 * time.Second,
		StreamResponseBody:        stream,
		NoDefaultUserAgentHeader:  true,
		MaxIdemponentCallAttempts: 1,
	}
}

func rawStream(ctx *fasthttp.RequestCtx, c *fasthttp.HostClient) {
	resp := fasthttp.AcquireResponse()
	if err := c.Do(&ctx.Request, resp); err != nil {
		fasthttp.ReleaseResponse(resp)
		ctx.Error(err.Error(), fasthttp.StatusBadGateway)
		return
	}
	ctx.SetStatusCode(resp.StatusCode())
	ctx.Response.Header.SetContentTypeBytes(resp.Header.ContentType())
	ctx.SetBodyStream(&body{resp}, -1)
}

// body is the upstream's answer while it is passed on.
type body struct{ resp *fasthttp.Response }

func (b *body) Read(p []byte) (int, error) { return b.resp.BodyStream().Read(p) }

func (b *body) Close() error {
	err := b.resp.CloseBodyStream()
	fasthttp.ReleaseResponse(b.resp)
	return err
}

// NetHTTP forwards with net/http's server and httputil.ReverseProxy, which is
// how most gateways in Go begin.
func NetHTTP(l net.Listener, upstream string) error {
	s := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: &httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: upstream}) },
			FlushInterval: -1,
			Transport: &http.Transport{
				MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024,
				IdleConnTimeout: 90 * time.Second, DisableCompression: true,
			},
		},
	}
	return s.Serve(l)
}

// Hello answers every request with the mock upstream's answer and asks
// nobody: the floor for an answer from a cache.
func Hello(l net.Listener, _ string) error {
	s := &fasthttp.Server{
		Name:               "hello",
		ReadBufferSize:     16 << 10,
		MaxRequestBodySize: 64 << 20,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType("application/json")
			ctx.Response.SetBodyRaw(mock.Answer)
		},
	}
	return s.Serve(l)
}
