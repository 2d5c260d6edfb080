package proxy

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

// browser is a gateway as web pages see it.
type browser struct{ *rig }

func startCORS(t *testing.T, before, extra string) browser {
	t.Helper()
	scripts.Store(t.Name(), script(func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") }))
	return browser{startFile(t, func() string { return before + file(t.Name(), extra) })}
}

const guarded = "before: [ key: { key: k } ]\n"

func (b browser) ask(request string) *http.Response {
	b.t.Helper()
	resp, body, err := b.raw(request)
	if err != nil {
		b.t.Fatalf("%v %s", err, body)
	}
	return resp
}

// preflight asks as the Fetch Standard has browsers ask, and reports whether
// the browser would then send a page's request with a key and a JSON body.
func (b browser) preflight(origin, path string) bool {
	b.t.Helper()
	resp := b.ask("OPTIONS " + path + " HTTP/1.1\r\nHost: a\r\nOrigin: " + origin +
		"\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,content-type,x-stainless-os\r\n\r\n")
	h := resp.Header
	if resp.Header.Get("X-Request-Id") == "" {
		b.t.Errorf("%s from %s: no id", path, origin)
	}
	if h.Get("Access-Control-Allow-Credentials") != "" {
		b.t.Errorf("%s from %s: cookies are allowed", path, origin)
	}
	allowed := h.Get("Access-Control-Allow-Origin") == "*" || h.Get("Access-Control-Allow-Origin") == origin
	return allowed && resp.StatusCode/100 == 2 &&
		strings.Contains(h.Get("Access-Control-Allow-Methods"), "DELETE") && h.Get("Vary") == "Origin" &&
		h.Get("Access-Control-Allow-Headers") == "authorization,content-type,x-stainless-os" && h.Get("Access-Control-Max-Age") != ""
}

func TestPagesAreAllowed(t *testing.T) {
	f := func(b browser, want bool, origins ...string) {
		t.Helper()
		for _, o := range origins {
			for _, path := range []string{"/v1/chat/completions", "/chat/completions?a", "/elsewhere", "/health"} {
				if got := b.preflight(o, path); got != want {
					t.Errorf("%s from %s: allowed %v, want %v", path, o, got, want)
				}
			}
			resp := b.ask("GET /health HTTP/1.1\r\nHost: a\r\nOrigin: " + o + "\r\n\r\n")
			if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "*" && got != o == want || resp.StatusCode != 200 {
				t.Errorf("/health from %s: %d %v", o, resp.StatusCode, resp.Header)
			}
		}
	}
	far := []string{"https://app.example", "http://localhost.example", "https://127.0.0.1.example", "null"}
	near := []string{"http://localhost:3000", "https://localhost", "http://a.localhost:1", "http://127.0.0.1:8000", "http://[::1]:5", "http://[::1]", "app://obsidian.md", "chrome-extension://x"}
	open := startCORS(t, "", "")
	f(open, true, near...)
	f(open, false, far...)
	all := startCORS(t, guarded, "")
	f(all, true, near...)
	f(all, true, far...)
	f(startCORS(t, "", "open: true"), true, far...)
	some := startCORS(t, guarded, `origins: [ "https://app.example", "http://b:1" ]`)
	f(some, true, "https://app.example", "http://b:1")
	f(some, false, "https://app.example:444", "http://app.example", "http://b", "http://localhost", "null", "HTTPS://app.example")
	f(startCORS(t, guarded, "origins: []"), false, far...)
}

// TestAnswersAreShared needs pages to see answers, errors among them, with their headers.
func TestAnswersAreShared(t *testing.T) {
	b := startCORS(t, guarded, "")
	f := func(request string, status int, origin string) {
		t.Helper()
		resp := b.ask(request)
		h := resp.Header
		if resp.StatusCode != status || h.Get("Access-Control-Allow-Origin") != origin || (h.Get("Access-Control-Expose-Headers") == "*") != (origin != "") {
			t.Errorf("%.60q: %d %v", request, resp.StatusCode, h)
		}
		cacheable := !strings.HasPrefix(request, "POST")
		if (h.Get("Vary") == "Origin") != (origin != "" || cacheable) {
			t.Errorf("%.60q: Vary %q", request, h.Get("Vary"))
		}
	}
	with := func(fields string) string {
		return strings.Replace(post(plainBody), "Host: a\r\n", "Host: a\r\n"+fields, 1)
	}
	const page, key = "Origin: https://app.example\r\n", "Authorization: Bearer k\r\n"
	f(with(page+key), 200, "*")
	f(with(page), 401, "*")
	f(strings.Replace(with(page+key), `"plain"`, `12345 6`, 1), 400, "*")
	f(with(key), 200, "")
	f("GET /v1/models HTTP/1.1\r\nHost: a\r\n"+page+key+"\r\n", 200, "*")
	f("GET /v1/models HTTP/1.1\r\nHost: a\r\n"+key+"\r\n", 200, "")
	f("GET /v1/a//b HTTP/1.1\r\nHost: a\r\n"+page+key+"\r\n", 400, "*")
}

// TestOptionsWithoutPages needs what is no preflight to be treated as any request.
func TestOptionsWithoutPages(t *testing.T) {
	b := startCORS(t, guarded, "")
	for _, fields := range []string{"", "Origin: https://a\r\n", "Access-Control-Request-Method: POST\r\n"} {
		b.wantError("OPTIONS /v1/files HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n", 401, "invalid_api_key")
	}
	b.wantError("OPTIONS /v1/files HTTP/1.1\r\nHost: a\r\nOrigin: https://a\r\nAccess-Control-Request-Method:\r\n\r\n", 401, "invalid_api_key")
	// What is asked for goes into a header: it has to be names.
	resp := b.ask("OPTIONS /v1/files HTTP/1.1\r\nHost: a\r\nOrigin: https://a\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: a b, c\r\n\r\n")
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Headers") != "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	denied := startCORS(t, guarded, `origins: [ "https://b" ]`)
	denied.wantError("OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://a\r\nAccess-Control-Request-Method: GET\r\n\r\n", 403, "origin_not_allowed")
	// A preflight does not end its connection.
	c := b.dial()
	const one = "OPTIONS /v1/files HTTP/1.1\r\nHost: a\r\nOrigin: https://a\r\nAccess-Control-Request-Method: GET\r\n\r\n"
	_, _ = io.WriteString(c, one+strings.Replace(one, "Host: a\r\n", "Host: a\r\nConnection: close\r\n", 1))
	if got, _ := io.ReadAll(c); strings.Count(string(got), "HTTP/1.1 204 ") != 2 {
		t.Errorf("two preflights: %s", got)
	}
}

// TestPagesCannotPostUnasked needs a gateway without keys to carry out nothing that a
// foreign page sends without a preflight.
func TestPagesCannotPostUnasked(t *testing.T) {
	open, closed, all := startCORS(t, "", ""), startCORS(t, guarded, ""), startCORS(t, "", "open: true")
	f := func(b browser, origin, kind string, status int) {
		t.Helper()
		request := strings.Replace(post(plainBody), "Content-Type: application/json\r\n", kind+origin+"Authorization: Bearer k\r\n", 1)
		if resp := b.ask(request); resp.StatusCode != status {
			t.Errorf("%q, %q: %d, want %d", origin, kind, resp.StatusCode, status)
		}
	}
	const far, near, none = "Origin: https://app.example\r\n", "Origin: http://localhost:1\r\n", ""
	for _, kind := range []string{"", "Content-Type: text/plain;charset=UTF-8\r\n", "Content-Type: TEXT/PLAIN\r\n", "Content-Type: application/x-www-form-urlencoded\r\n", "Content-Type: multipart/form-data; boundary=x\r\n"} {
		f(open, far, kind, 403)
		f(open, "Origin: null\r\n", kind, 403)
		f(open, near, kind, 200)
		f(open, none, kind, 200)
		f(closed, far, kind, 200) // it showed the key
		f(all, far, kind, 200)
	}
	f(open, far, "Content-Type: application/json\r\n", 200) // the browser has asked, or it is none
	if resp := open.ask("GET /v1/models HTTP/1.1\r\nHost: a\r\n" + far + "\r\n"); resp.StatusCode != 200 {
		t.Errorf("a page that reads: %d", resp.StatusCode)
	}
}
