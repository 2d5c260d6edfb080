package proxy

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

type ownConfig struct{}

func (ownConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return ownConfig{}, nil
}

// Handle says what the edge made of the request.
func (ownConfig) Handle(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	if string(ex.Request.Body) == "fail" {
		return pipeline.Fail(418, "teapot", context.Canceled)
	}
	if code, ok := strings.CutPrefix(string(ex.Request.Body), "code "); ok {
		return pipeline.Fail(418, code, context.Canceled)
	}
	return answer(ex, fmt.Sprintf("%s %s %q %v", ex.Op, ex.Request.Header.RequestURI(), ex.Request.Body, ex.Models.Find([]byte("plain")) != nil))
}

func (ownConfig) Refuse(e *pipeline.Error) (int, []byte) {
	switch e.Code {
	case "refuse_panics":
		panic("canary-refuse")
	case "refuse_zero":
		return 0, []byte(`{"detail":"zero"}`)
	}
	return e.Status, []byte(`{"detail":"` + e.Code + `"}`)
}

// startOwn runs a server with an endpoint at /own and at /rerank, behind a key.
func startOwn(t *testing.T) *rig {
	scripts.Store(t.Name(), script(func(_ context.Context, ex *pipeline.Exchange) error {
		return answer(ex, "the usual route")
	}))
	text := strings.Replace(file(t.Name(), ""), "routes:\n", `before: [ key: { key: k } ]
routes:
  - { name: own, match: { paths: [ /own, /rerank ] }, chain: [ own: {} ] }
  - { name: usual, match: { path: /v1/rerank }, chain: [ ask: {} ] }
`, 1)
	old := registry
	registry = registry.With(config.Define[pipeline.Handler]("own", ownConfig{}, ""))
	t.Cleanup(func() { registry = old })
	return startFile(t, func() string { return text })
}

func TestEndpoints(t *testing.T) {
	r := startOwn(t)
	f := func(request, key, body string, status int, want string) {
		t.Helper()
		resp, got, err := r.raw(fmt.Sprintf("%s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", request, key, len(body), body))
		if err != nil || resp.StatusCode != status || got != want {
			t.Errorf("%s: %v %q %v", request, resp, got, err)
		}
	}
	f("POST /own", "k", "{}", 200, `other /own "{}" true`)
	f("POST /own?a=b", "k", "", 200, `other /own?a=b "" true`)
	f("POST /own", "k", "fail", 418, `{"detail":"teapot"}`)
	f("POST /own", "k", "code refuse_zero", 418, `{"detail":"zero"}`)
	f("POST /own", "k", "code refuse_panics", 418, `{"error":{"message":"context canceled","type":"invalid_request_error","param":null,"code":"refuse_panics"}}`)
	f("POST /own", "wrong", "{}", 401, `{"detail":"invalid_api_key"}`)
	// The route at /rerank goes before the one that it would lead to.
	f("POST /rerank", "k", "{}", 200, `rerank /v1/rerank "{}" true`)
	f("POST /v1/rerank", "k", `{"model":"plain"}`, 200, "the usual route")
	f("POST /v2/rerank", "k", `{"model":"plain"}`, 200, "the usual route")
	// Near an endpoint its words are used; elsewhere the usual ones.
	f("PUT /rerank", "k", "", 405, `{"detail":"method_not_allowed"}`)
	f("POST /rerank/", "k", "", 307, "")
	f("POST /ownn", "k", "", 404, `{"error":{"message":"no route leads to POST /ownn","type":"not_found_error","param":null,"code":"unknown_path"}}`)
}

func TestEndpointsHaveTheBodyBounded(t *testing.T) {
	r := startOwn(t)
	resp, body, err := r.raw("POST /own HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\nContent-Length: 999999999\r\n\r\n")
	if err != nil || resp.StatusCode != 413 || body != `{"detail":"request_too_large"}` {
		t.Errorf("%v %q %v", resp, body, err)
	}
}
