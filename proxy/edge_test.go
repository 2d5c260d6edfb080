package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/tests/harness"
)

func TestWholeAnswersHaveTheirLength(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		if ex.Op == pipeline.OpEmbeddings { // as a provider hands on what it has read
			ex.Response.Header.SetStatusCode(201)
			ex.Response.Header.SetContentLength(4)
			ex.Response.Body = &feed{next: list(io.EOF, "abcd")}
			return nil
		}
		return answer(ex, `{"a":1}`)
	})
	resp, body, err := r.raw(post(plainBody))
	if err != nil || resp.StatusCode != 200 || body != `{"a":1}` || resp.ContentLength != 7 {
		t.Errorf("%v %q %v", resp, body, err)
	}
	if resp.Header.Get("X-Headrace-Target") != "p" || !strings.HasPrefix(resp.Header.Get("X-Request-Id"), "req_") {
		t.Errorf("header %v", resp.Header)
	}
	resp, body, err = r.raw(strings.Replace(post(plainBody), "/v1/chat/completions", "/embeddings", 1))
	if err != nil || resp.StatusCode != 201 || body != "abcd" || resp.ContentLength != 4 {
		t.Errorf("%v %q %v", resp, body, err)
	}
}

// An upstream's id of the request is told beside the gateway's.
func TestUpstreamsRequestID(t *testing.T) {
	theirs := ""
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		if theirs != "" {
			ex.Response.Header.Set("X-Request-Id", theirs)
		}
		return answer(ex, "{}")
	})
	f := func(says, want string) {
		t.Helper()
		theirs = says
		resp, body, err := r.raw(strings.Replace(post(plainBody), "Host: a\r\n", "Host: a\r\nX-Request-Id: mine\r\n", 1))
		if err != nil || strings.Join(resp.Header["X-Request-Id"], "+") != "mine" || strings.Join(resp.Header["X-Headrace-Upstream-Request-Id"], "+") != want {
			t.Errorf("upstream %q: %v %q %v", says, resp, body, err)
		}
	}
	f("req_abc", "req_abc")
	f("mine", "") // it has taken over the gateway's
	f("", "")
}

// A target that was chosen, and not asked, has answered nothing.
func TestNobodyWasAsked(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") })
	resp, body, err := r.raw(strings.Replace(post(plainBody), "Host: a\r\n", "Host: a\r\nX-RAG: required\r\n", 1))
	if err != nil || resp.StatusCode != 400 || resp.Header.Get("X-Headrace-Target") != "" {
		t.Errorf("%v %q %v", resp, body, err)
	}
	eventually(t, "a line in the log", func() bool { return strings.Contains(r.log.String(), `"status":400`) })
	if log := r.log.String(); strings.Contains(log, `"target"`) {
		t.Errorf("the log says who was asked: %s", log)
	}
	if answered := r.site.Load().targets[0]; testutil.ToFloat64(answered[pipeline.CallerFault]) != 0 {
		t.Error("an answer is counted")
	}
}

func TestRequestIDs(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		return answer(ex, fmt.Sprintf("%q", bytes.Join(ex.Request.Header.PeekAll("X-Request-Id"), []byte("+"))))
	})
	f := func(sent string, kept bool) {
		t.Helper()
		resp, body, err := r.raw(strings.Replace(post(plainBody), "Host: a\r\n", "Host: a\r\nX-Request-Id: "+sent+"\r\n", 1))
		if err != nil {
			t.Fatal(err)
		}
		got := resp.Header.Get("X-Request-Id")
		if (got == sent) != kept || body != fmt.Sprintf("%q", got) || got == "" {
			t.Errorf("sent %q: answered %q, the stages saw %s", sent, got, body)
		}
	}
	f("my-id_1.2:3/4", true)
	f("a b", false)
	f(`a"b`, false)
	f(strings.Repeat("a", 129), false)

	// Of several the first counts, and the upstream sees no other.
	resp, body, err := r.raw(strings.Replace(post(plainBody), "Host: a\r\n", "X-Request-ID: one\r\nHost: a\r\nx-request-id: two\r\nX-Request-Id: one\r\n", 1))
	if err != nil || resp.Header.Get("X-Request-Id") != "one" || body != `"one"` {
		t.Errorf("of three ids: %v %s %v", resp, body, err)
	}
}

func TestStreamsArriveAsSent(t *testing.T) {
	const pause, n = 50 * time.Millisecond, 5
	r := start(t, "", func(ctx context.Context, ex *pipeline.Exchange) error {
		i := 0
		return events(ex, &feed{next: func() ([]byte, error) {
			if i++; i > n {
				return nil, io.EOF
			}
			if i > 1 {
				time.Sleep(pause)
			}
			return fmt.Appendf(nil, "data: {\"i\":%d}\n\n", i), nil
		}})
	})
	c := r.dial()
	_, _ = io.WriteString(c, post(streamBody))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream; charset=utf-8" || resp.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("header %v", resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	var first time.Time
	got := 0
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		if got++; got == 1 {
			first = time.Now()
		}
	}
	if took := time.Since(first); got != n || lines.Err() != nil || took < (n-2)*pause {
		t.Errorf("%d events within %v, %v", got, took, lines.Err())
	}
}

func TestErrors(t *testing.T) {
	var fail error
	r := start(t, "", func(context.Context, *pipeline.Exchange) error { return fail })
	f := func(err error, status int, code string) *http.Response {
		t.Helper()
		fail = err
		return r.wantError(post(plainBody), status, code)
	}
	f(errors.New("10.0.0.1 refused"), 502, "upstream_error")
	f(pipeline.Fail(418, "teapot", errors.New("short and stout")), 418, "teapot")
	f(context.DeadlineExceeded, 504, "upstream_timeout")
	resp := f(&pipeline.Error{Status: 503, Code: "circuit_open", RetryAfter: 1500 * time.Millisecond, Err: io.EOF}, 503, "circuit_open")
	if resp.Header.Get("Retry-After") != "2" || resp.Header.Get("Retry-After-Ms") != "1500" {
		t.Errorf("header %v", resp.Header)
	}
	f(&pipeline.Error{Status: 400, Code: "x", Body: []byte(`{"error":{"message":"theirs","type":"t","param":null,"code":"c"}}`)}, 400, "c")
	r.wantError("GET /v1/empty HTTP/1.1\r\nHost: a\r\n\r\n", 500, "no_answer")
	if _, body, _ := r.raw(post(plainBody)); strings.Contains(body, "10.0.0.1") {
		t.Error("an address reached the client")
	}
}

func TestBadBodies(t *testing.T) {
	called := false
	r := start(t, "limits: { max_body: 1KiB }", func(_ context.Context, ex *pipeline.Exchange) error {
		called = true
		return answer(ex, "{}")
	})
	f := func(body string, status int, code string) {
		t.Helper()
		r.wantError(post(body), status, code)
	}
	f("", 400, "missing_body")
	f("[1]", 400, "invalid_json")
	f(`{"model":"a"`, 400, "invalid_json")
	f(`{"model":"a","model":"b"}`, 400, "invalid_json")
	f(`{"model":"a"} x`, 400, "invalid_json")
	f(`{"messages":[]}`, 400, "missing_field")
	f(`{"model":null}`, 400, "missing_field")
	f(`{"model":1}`, 400, "invalid_type")
	f(`{"model":""}`, 400, "invalid_type")
	f(`{"model":"a","stream":"yes"}`, 400, "invalid_type")
	f(`{"model":"a","api_base":"http://10.0.0.1"}`, 400, "forbidden_field")
	f(`{"model":"a","base\u005furl":"http://10.0.0.1"}`, 400, "forbidden_field")
	f(`{"model":"a","x":"`+strings.Repeat("y", 1024)+`"}`, 413, "request_too_large")
	chunked := "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	r.wantError(chunked+"800\r\n"+strings.Repeat(" ", 0x800)+"\r\n0\r\n\r\n", 413, "request_too_large")
	r.wantError(chunked+"2 \r\n{}\r\n0\r\n\r\n", 400, "malformed_request")
	resp := r.wantError(strings.Replace(post("x"), "Content-Type", "Content-Encoding: gzip\r\nContent-Type", 1), 415, "unsupported_content_encoding")
	if resp.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("415 does not say what is accepted: %v", resp.Header)
	}
	r.wantError("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n", 413, "request_too_large")
	if called {
		t.Error("a bad request reached the provider")
	}
	if resp, _, err := r.raw(chunked + "3d\r\n" + plainBody + "\r\n0\r\n\r\n"); err != nil || resp.StatusCode != 200 {
		t.Errorf("a good chunked request: %v %v", resp, err)
	}
}

func TestRequestsThatNameNoModel(t *testing.T) {
	scripts.Store(t.Name(), script(func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, ex.Model.Name) }))
	text := file(t.Name(), "")
	f := func(path, body string, status int, want string) {
		t.Helper()
		r := startFile(t, func() string { return text })
		resp, got, err := r.raw(strings.Replace(post(body), "/v1/chat/completions", path, 1))
		if err != nil || resp.StatusCode != status || !strings.Contains(got, want) {
			t.Errorf("%s %s: %v %q %v", path, body, resp, got, err)
		}
	}
	f("/v1/responses", `{"prompt":{"id":"pmpt_1"}}`, 200, "*")
	f("/v1/responses", `{"model":null,"input":"a"}`, 200, "*")
	f("/v1/responses", `{"model":"plain"}`, 200, "plain")
	f("/v1/responses", `{"model":""}`, 400, "invalid_type")
	f("/v1/rerank", `{"query":"a","documents":["b"]}`, 200, "*")
	f("/v1/rerank", `{"query":"a","api_base":"http://10.0.0.1"}`, 400, "forbidden_field")
	f("/v1/responses", `{"stream":1}`, 400, "invalid_type")
	f("/v1/embeddings", `{"input":"a"}`, 400, "missing_field")
	text = strings.Replace(text, `  "*": [ { provider: p } ]`+"\n", "", 1)
	f("/v1/responses", `{"input":"a"}`, 400, "missing_field")
}

// TestIncompleteBodies needs a body that ends early never to reach a provider.
func TestIncompleteBodies(t *testing.T) {
	var called atomic.Int32
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		called.Add(1)
		return answer(ex, "{}")
	})
	f := func(request string) {
		t.Helper()
		c := r.dial()
		_, _ = io.WriteString(c, request)
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
		if resp, body, err := readAnswer(bufio.NewReader(c)); err == nil && resp.StatusCode < 400 {
			t.Errorf("answered %d %s", resp.StatusCode, body)
		}
	}
	whole := post(plainBody)
	f(whole[:len(whole)-1])
	f("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3d\r\n" + plainBody + "\r\n")
	f("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3d\r\n" + plainBody + "\r\n0\r\n")
	if n := called.Load(); n != 0 {
		t.Errorf("the provider was called %d times", n)
	}
}

func TestSlowClients(t *testing.T) {
	r := start(t, "timeouts: { header: 200ms, body_idle: 200ms }", func(_ context.Context, ex *pipeline.Exchange) error {
		return answer(ex, "{}")
	})
	f := func(request string) {
		t.Helper()
		began := time.Now()
		r.wantError(request, 408, "request_timeout")
		if took := time.Since(began); took < 100*time.Millisecond || took > 5*time.Second {
			t.Errorf("refused after %v", took)
		}
	}
	whole := post(plainBody)
	f(whole[:len(whole)-5])
	f(whole[:20])
	// The limit is the body's, not that of a head or of a connection at rest, wherever
	// a chunked body stops.
	r = start(t, "timeouts: { header: 20s, keep_alive: 20s, body_idle: 200ms }", func(_ context.Context, ex *pipeline.Exchange) error {
		return answer(ex, "{}")
	})
	const chunked = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, piece := range []string{"", "4", "4\r", "4\r\n", "4\r\n{\"a", "4\r\n{\"ab", "4\r\n{\"ab\r", "4\r\n{\"ab\r\n", "4\r\n{\"ab\r\n0\r\n", "4\r\n{\"ab\r\n0\r\nX: y\r\n"} {
		f(chunked + piece)
	}
	// A body that trickles in is refused although no pause is long.
	c := r.dial()
	_, _ = io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				if _, err := io.WriteString(c, " "); err != nil {
					return
				}
			}
		}
	}()
	resp, body, err := readAnswer(bufio.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	checkError(t, resp, body, 408, "request_timeout")
}

func TestMemoryBudget(t *testing.T) {
	release := make(chan struct{})
	r := start(t, "limits: { body_memory: 1MiB }", func(_ context.Context, ex *pipeline.Exchange) error {
		<-release
		return answer(ex, "{}")
	})
	big := `{"model":"plain","x":"` + strings.Repeat("y", 600<<10) + `"}`
	first := r.dial()
	go io.WriteString(first, post(big))
	eventually(t, "the first body held", func() bool { return r.memory.left.Load() < 512<<10 })
	resp := r.wantError(post(big), 503, "overloaded")
	if resp != nil && resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if resp, _, err := r.raw(post(plainBody[:1])); err != nil || resp.StatusCode != 400 {
		t.Errorf("a small body is refused too: %v %v", resp, err)
	}
	close(release)
	if resp, _, err := readAnswer(bufio.NewReader(first)); err != nil || resp.StatusCode != 200 {
		t.Errorf("the first: %v %v", resp, err)
	}
	eventually(t, "memory given back", func() bool { return r.memory.left.Load() == 1<<20 })
}

func TestPanicsCostOneRequest(t *testing.T) {
	var where string
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		switch where {
		case "call":
			panic("canary-1")
		case "first":
			return events(ex, &feed{next: func() ([]byte, error) { panic("canary-2") }})
		case "later":
			n := 0
			return events(ex, &feed{next: func() ([]byte, error) {
				if n++; n > 1 {
					panic("canary-3")
				}
				return []byte("data: {}\n\n"), nil
			}})
		}
		return answer(ex, "{}")
	})
	for _, where = range []string{"call", "first"} {
		r.wantError(post(plainBody), 500, "internal_error")
	}
	where = "later"
	_, body, err := r.raw(post(streamBody))
	if err == nil || !strings.Contains(body, `"code":"internal_error"`) || strings.Contains(body, "canary") {
		t.Errorf("%q, %v", body, err)
	}
	where = ""
	if resp, _, err := r.raw(post(plainBody)); err != nil || resp.StatusCode != 200 {
		t.Errorf("after the panics: %v %v", resp, err)
	}
	for i := 1; i <= 3; i++ {
		if !strings.Contains(r.log.String(), fmt.Sprintf("canary-%d", i)) {
			t.Errorf("panic %d is not in the log", i)
		}
	}
}

// TestBrokenStreams needs an answer that breaks to look broken.
func TestBrokenStreams(t *testing.T) {
	cut := &pipeline.Error{Status: 502, Code: "upstream_cut", Err: errors.New("the upstream stopped")}
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		switch string(ex.Request.Header.RequestURI()) {
		case "/v1/files/a":
			ex.Response.Header.SetStatusCode(200)
			ex.Response.Header.SetContentType("application/octet-stream")
			ex.Response.Header.SetContentLength(100)
			ex.Response.Body = &feed{next: list(cut, "abc")}
			return nil
		case "/v1/embeddings":
			return events(ex, &feed{next: list(cut)})
		}
		return events(ex, &feed{next: list(cut, "data: {}\n\n")})
	})
	_, body, err := r.raw(post(streamBody))
	if err == nil || !strings.HasPrefix(body, "data: {}\n\ndata: {\"error\":{") || strings.Contains(body, "[DONE]") {
		t.Errorf("a stream cut midway: %q, %v", body, err)
	}
	r.wantError(strings.Replace(post(streamBody), "chat/completions", "embeddings", 1), 502, "upstream_cut")
	_, body, err = r.raw("GET /v1/files/a HTTP/1.1\r\nHost: a\r\n\r\n")
	if err == nil || body != "" && body != "abc" {
		t.Errorf("a file cut midway: %q, %v", body, err)
	}
	eventually(t, "the cut logged", func() bool { return strings.Count(r.log.String(), `"error":"upstream_cut"`) == 3 })
}

func TestPaths(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		return answer(ex, fmt.Sprintf(`{"op":%q,"uri":%q,"method":%q,"n":%d}`, ex.Op, ex.Request.Header.RequestURI(), ex.Request.Header.Method(), len(ex.Request.Body)))
	})
	f := func(method, target, want string) {
		t.Helper()
		body := ""
		if method == "POST" {
			body = plainBody
		}
		_, got, err := r.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", method, target, len(body), body))
		if err != nil || got != want {
			t.Errorf("%s %s: %s %v; want %s", method, target, got, err, want)
		}
	}
	f("POST", "/v1/chat/completions", `{"op":"chat","uri":"/v1/chat/completions","method":"POST","n":61}`)
	f("POST", "/chat/completions?a=b", `{"op":"chat","uri":"/v1/chat/completions?a=b","method":"POST","n":61}`)
	f("POST", "http://x.example/v1/chat/completions?a", `{"op":"chat","uri":"/v1/chat/completions?a","method":"POST","n":61}`)
	f("POST", "/v1/embeddings", `{"op":"embeddings","uri":"/v1/embeddings","method":"POST","n":61}`)
	f("GET", "/v1/chat/completions", `{"op":"other","uri":"/v1/chat/completions","method":"GET","n":0}`)
	f("GET", "/v1/files?limit=0", `{"op":"other","uri":"/v1/files?limit=0","method":"GET","n":0}`)
	f("POST", "/v1/files", `{"op":"other","uri":"/v1/files","method":"POST","n":0}`)
	f("PATCH", "/v1/a%20b/c", `{"op":"other","uri":"/v1/a%20b/c","method":"PATCH","n":0}`)
	// An escape that stands for a plain character is that character, to the upstream too.
	f("GET", "/v1/files/a%2Eb/..c/%2e%2ed%7e%3A%c3%BC?%41", `{"op":"other","uri":"/v1/files/a.b/..c/..d~%3A%c3%BC?%41","method":"GET","n":0}`)
	f("POST", "/v1/ch%61t/%63ompletions", `{"op":"chat","uri":"/v1/chat/completions","method":"POST","n":61}`)
	f("POST", "/%65mbeddings?a", `{"op":"embeddings","uri":"/v1/embeddings?a","method":"POST","n":61}`)
	f("GET", "/v1/files/%2541", `{"op":"other","uri":"/v1/files/%2541","method":"GET","n":0}`)
	// A client that has the version in its base puts it in front again.
	f("POST", "/v1/v1/embeddings?a", `{"op":"embeddings","uri":"/v1/embeddings?a","method":"POST","n":61}`)
	f("POST", "/v1/v2/rerank", `{"op":"rerank","uri":"/v1/rerank","method":"POST","n":61}`)
	f("GET", "/v1/v1/files", `{"op":"other","uri":"/v1/files","method":"GET","n":0}`)
	f("GET", "/v1/v2/files", `{"op":"other","uri":"/v1/v2/files","method":"GET","n":0}`)
	// A slash at the end of an operation's path means nothing.
	f("POST", "/v1/chat/completions/", `{"op":"chat","uri":"/v1/chat/completions/","method":"POST","n":61}`)
	f("POST", "/embeddings/?a", `{"op":"embeddings","uri":"/v1/embeddings/?a","method":"POST","n":61}`)
	f("DELETE", "/v1/models/ft:a", `{"op":"other","uri":"/v1/models/ft:a","method":"DELETE","n":0}`)
	f("DELETE", "/files/a?b", `{"op":"other","uri":"/v1/files/a?b","method":"DELETE","n":0}`)
	f("GET", "http://x.example/responses/a", `{"op":"other","uri":"/v1/responses/a","method":"GET","n":0}`)
	f("GET", "/v1/models/plain", `{"id":"plain","object":"model","created":1700000000,"owned_by":"headrace"}`)
	f("GET", "/models/plain", `{"id":"plain","object":"model","created":1700000000,"owned_by":"headrace"}`)
	f("GET", "/v1/models/a%2Fb", `{"op":"models","uri":"/v1/models/a%2Fb","method":"GET","n":0}`)
	for _, p := range []string{
		"//v1/files", "/v1//files", "/v1/./files", "/v1/../files", "/v1/%2e%2e/files", "/v1/.%2E", "/v1/%2e/files", "/v1/.../files", "/v1/a%2fb", "/v1/a%5Cb", "/v1/%00", "/v1/%zz", "/v1/a%2", "/v1/..",
		"/v1/models/..", "/v1/models/../files", "/models/../files", "/v1/models/..%2Ffiles", "/v1/models/a%2F%2e%2e%2fb", "/v1/models/a%2F/b", "/v1/models//",
		"/openai/deployments/../chat/completions", "/openai/deployments/..%2Fa/chat/completions", "/engines//embeddings",
	} {
		r.wantError("GET "+p+" HTTP/1.1\r\nHost: a\r\n\r\n", 400, "ambiguous_path")
	}
	f("GET", "/v1/models/a%2fb%2Fc", `{"op":"models","uri":"/v1/models/a%2fb%2Fc","method":"GET","n":0}`)
	r.wantError("GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "unknown_path")
	r.wantError("DELETE /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "unknown_path")
	r.wantError("GET /chat HTTP/1.1\r\nHost: a\r\n\r\n", 404, "unknown_path")
}

// TestNowhere needs what no route claims to be told apart, and to say what to do.
func TestNowhere(t *testing.T) {
	scripts.Store(t.Name(), script(func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") }))
	text, _, _ := strings.Cut(file(t.Name(), ""), "  - name: empty")
	r := startFile(t, func() string { return text })
	f := func(method, path string, status int, code, allow, says string) {
		t.Helper()
		request := method + " " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
		resp := r.wantError(request, status, code)
		if _, body, _ := r.raw(request); resp.Header.Get("Allow") != allow || !strings.Contains(body, says) {
			t.Errorf("%s %s: Allow %q, %s", method, path, resp.Header.Get("Allow"), body)
		}
	}
	const wrong, none = "method_not_allowed", "unknown_path"
	f("GET", "/v1/chat/completions", 405, wrong, "POST", "use POST")
	f("PROPFIND", "/v1/embeddings", 405, wrong, "POST", "use POST")
	f("POST", "/v1/models", 405, wrong, "GET, HEAD", "use GET, HEAD")
	f("GET", "/openai/deployments/m/embeddings", 405, wrong, "POST", "use POST")
	f("POST", "/v1/rerank", 404, none, "", "no route leads to POST /v1/rerank") // none is declared
	f("POST", "/v1/files", 404, none, "", "no route leads to POST /v1/files")
	f("POST", "/v2/chat", 404, none, "", "use /v1/chat/completions")
	f("POST", "/v2/embed?a=b", 404, none, "", "use /v1/embeddings")
	f("GET", "/", 404, none, "", "/v1/models")
}

// TestDeployments needs Azure's paths, and those that LiteLLM serves with the model in
// them, to lead where OpenAI's do.
func TestDeployments(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		return answer(ex, fmt.Sprintf("%s %s %s %s %s", ex.Op, ex.Request.Header.Method(), ex.Request.Header.RequestURI(), ex.Request.Model, ex.Request.Body))
	})
	f := func(method, target, body, want string) {
		t.Helper()
		_, got, err := r.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", method, target, len(body), body))
		if err != nil || got != want {
			t.Errorf("%s %s: %s %v; want %s", method, target, got, err, want)
		}
	}
	const version = "?api-version=2024-10-21"
	f("POST", "/openai/deployments/gpt-4o/chat/completions"+version, `{"n":1}`, `chat POST /v1/chat/completions gpt-4o {"n":1,"model":"gpt-4o"}`)
	f("POST", "/openai/deployments/plain/embeddings"+version+"&a=b", `{"model": "plain"}`, `embeddings POST /v1/embeddings?a=b plain {"model": "plain"}`)
	f("POST", "/openai/deployments/a/chat/completions", `{"model":"b"}`, `chat POST /v1/chat/completions a {"model":"a"}`) // the path decides
	f("POST", "/engines/org/name-1/chat/completions?x=1&api-version=2", `{}`, `chat POST /v1/chat/completions?x=1 org/name-1 {"model":"org/name-1"}`)
	f("POST", "/openai/deployments/a%20b%2Fc/embeddings", `{}`, `embeddings POST /v1/embeddings a b/c {"model":"a b/c"}`)
	f("POST", "http://a/openai/deployments/m/images/generations"+version, `{}`, `other POST /v1/images/generations m `)
	f("POST", "/openai/v1/chat/completions", plainBody, `chat POST /v1/chat/completions  `+plainBody)
	f("POST", "/openai/chat/completions", plainBody, `chat POST /v1/chat/completions  `+plainBody)
	f("GET", "/openai/files/f-1/content"+version, "", `other GET /v1/files/f-1/content  `)
	f("GET", "/openai/v1/responses/r?api-version=preview", "", `other GET /v1/responses/r  `)
	f("GET", "/openai/models/plain"+version, "", `{"id":"plain","object":"model","created":1700000000,"owned_by":"headrace"}`)
	for _, p := range []string{"/openai", "/openai/", "/openai/v1", "/openaifiles", "/openai/elsewhere", "/openai/deployments/m", "/openai/deployments/m/elsewhere", "/engines/m", "/openai/deployments/%FF/embeddings"} {
		r.wantError("POST "+p+" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 404, "unknown_path")
	}
	r.wantError("POST /openai/deployments/m/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n[", 400, "invalid_json")
}

// TestEveryPathWithoutVersion needs all of OpenAI's paths to be known without /v1.
func TestEveryPathWithoutVersion(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(harness.Data(t, "http/openai-openapi"), "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(raw)) {
		path, ok := strings.CutPrefix(line, "  /")
		path, _, _ = strings.Cut(path, ":\n")
		path, _, _ = strings.Cut(path, "?")
		if !ok {
			continue
		}
		n++
		got, err := canonical([]byte("/" + path))
		if err != nil || !got.bare && !got.complete() || string(got.path) != "/v1/"+path {
			t.Errorf("/%s: %q %v", path, got.path, err)
		}
	}
	if n < 150 {
		t.Errorf("only %d paths found", n)
	}
}

func TestDeclaredPathsGoBeforeCompletedOnes(t *testing.T) {
	scripts.Store(t.Name(), script(func(_ context.Context, ex *pipeline.Exchange) error {
		return answer(ex, ex.Route+" "+string(ex.Request.Header.RequestURI()))
	}))
	text := strings.Replace(file(t.Name(), ""), "routes:\n", "routes:\n  - { name: own, match: { path: /files/* }, chain: [ ask: {} ] }\n", 1)
	r := startFile(t, func() string { return text })
	f := func(path, want string) {
		t.Helper()
		if _, got, err := r.raw("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"); got != want {
			t.Errorf("%s: %q %v; want %q", path, got, err, want)
		}
	}
	f("/files/a", "own /files/a")
	f("/files", "rest /v1/files")
	f("/v1/files/a", "rest /v1/files/a")
}

// The list is the next target's where the first one fails, and the last failure where all do.
func TestModelsOfTheNextTarget(t *testing.T) {
	answers := map[string]func(*pipeline.Exchange) error{}
	for _, name := range []string{"first", "second"} {
		scripts.Store(t.Name()+name, script(func(_ context.Context, ex *pipeline.Exchange) error { return answers[name](ex) }))
	}
	r := startFile(t, func() string {
		text := strings.Replace(file(t.Name()+"first", ""), `"*": [ { provider: p } ]`, `"*": [ { provider: p }, { provider: q } ]`, 1)
		return strings.Replace(text, "models:", "  q: { script: { name: "+t.Name()+"second } }\nmodels:", 1)
	})
	says := func(status int, body string) func(*pipeline.Exchange) error {
		return func(ex *pipeline.Exchange) error {
			err := answer(ex, body)
			ex.Response.Header.SetStatusCode(status)
			ex.Response.Fault = pipeline.FaultOfStatus(status)
			return err
		}
	}
	down := func(*pipeline.Exchange) error {
		return &pipeline.Error{Status: 502, Code: "upstream_unreachable", Fault: pipeline.UpstreamFault, Err: io.EOF}
	}
	const both, want = `{"data":[{"id":"plain"},{"id":"b"}]}`, `"owned_by":"headrace"},{"id":"b"}]}`
	f := func(first, second func(*pipeline.Exchange) error, target string, status int, want string) {
		t.Helper()
		answers["first"], answers["second"] = first, second
		resp, body, err := r.raw("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if err != nil || resp.StatusCode != status || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %s, %v; want %d %s", target, resp.StatusCode, body, err, status, want)
		}
	}
	f(says(200, both), down, "/v1/models", 200, want)
	for _, bad := range []func(*pipeline.Exchange) error{down, says(401, "{}"), says(503, "{}"), says(200, "<html>")} {
		f(bad, says(200, both), "/v1/models", 200, want)
	}
	f(down, says(200, `{"id":"x"}`), "/v1/models/x", 200, `{"id":"x"}`)
	f(says(404, `{"no":1}`), says(200, `{"id":"x"}`), "/v1/models/x", 404, `{"no":1}`) // an answer
	f(says(503, "{}"), down, "/v1/models", 502, "upstream_unreachable")
	// One that breaks off is none, whatever it was to be.
	cut := func(status int) func(*pipeline.Exchange) error {
		return func(ex *pipeline.Exchange) error {
			err := says(status, "")(ex)
			ex.Response.Body = &feed{next: list(&pipeline.Error{Status: 502, Code: "upstream_cut", Fault: pipeline.UpstreamFault, Err: io.ErrUnexpectedEOF}, `{"id":`)}
			ex.Response.Header.SetContentLength(100)
			return err
		}
	}
	f(cut(200), says(200, `{"id":"x"}`), "/v1/models/x", 200, `{"id":"x"}`)
	f(cut(200), cut(200), "/v1/models/x", 502, "upstream_cut")
	f(cut(206), says(200, both), "/v1/models", 200, want)
}

func TestModelsAreListed(t *testing.T) {
	upstream, encoding, lost := "", "", error(nil)
	var asked string
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		asked = ex.Request.Header.String()
		if err := answer(ex, upstream); err != nil {
			return err
		}
		if encoding != "" {
			ex.Response.Header.SetContentEncoding(encoding)
		}
		if lost != nil {
			ex.Response.Body = &feed{next: list(lost, upstream)}
		}
		return nil
	})
	const own = `{"id":"plain","object":"model","created":1700000000,"owned_by":"headrace"}`
	f := func(theirs, want string) {
		t.Helper()
		upstream = theirs
		head, body, _ := r.raw("GET /v1/models HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, br\r\nIf-None-Match: \"x\"\r\nRange: bytes=0-1\r\n\r\n")
		if head.StatusCode != 200 || body != want {
			t.Errorf("got %d %s\nwant %s", head.StatusCode, body, want)
		}
		if !strings.Contains(asked, "Accept-Encoding: identity\r\n") || strings.Contains(asked, "If-") || strings.Contains(asked, "Range") {
			t.Errorf("the upstream was asked for less than its list:\n%s", asked)
		}
	}
	both := `{"object":"list","extra":1,"data":[{"id":"theirs","object":"model"},{"id":"plain","object":"model"}]}`
	// Not twice, and as /v1/models/plain says: calls of that name go where the file says.
	f(both, `{"object":"list","extra":1,"data":[`+own+`,{"id":"theirs","object":"model"}]}`)
	f(`{"object":"list","data":[]}`, `{"object":"list","data":[`+own+`]}`)
	// The name is another model's owner, not a model.
	f(`{"data":[{"id":"theirs","owned_by":"plain"}]}`, `{"data":[`+own+`,{"id":"theirs","owned_by":"plain"}]}`)
	f(`{"data":[ {"id":"pl\u0061in"} , {"id":"a"}, {"id":"b"} ]}`, `{"data":[`+own+`,{"id":"a"},{"id":"b"}]}`)
	f(`{"models":[]}`, `{"models":[]}`)

	c := r.dial()
	defer c.Close()
	_, _ = io.WriteString(c, "HEAD /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 200 ") || !strings.HasSuffix(string(b), "\r\n\r\n") {
		t.Errorf("HEAD: %s", b)
	}
	get := "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
	upstream = `[1]`
	r.wantError(get, 502, "upstream_protocol")
	upstream = `{"data":["` + strings.Repeat("x", maxModels) + `"]}`
	r.wantError(get, 502, "upstream_protocol")
	upstream, encoding = both, "gzip"
	r.wantError(get, 502, "upstream_protocol")
	encoding, lost = "", &pipeline.Error{Status: 502, Code: "upstream_truncated", Fault: pipeline.UpstreamFault, Err: io.ErrUnexpectedEOF}
	r.wantError(get, 502, "upstream_truncated")
}

func TestEverythingNeedsTheKey(t *testing.T) {
	scripts.Store(t.Name(), script(func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") }))
	r := startFile(t, func() string { return "before: [ key: { key: k } ]\n" + file(t.Name(), "") })
	for _, p := range []string{
		"/v1/chat/completions", "/chat/completions", "/v1/embeddings", "/v1/models", "/v1/models/plain", "/v1/files", "/v1/nothing",
		"/elsewhere", "/", "/metrics", "/debug/pprof/", "http://a/v1/models", "http://a?/health", "http://health", "/health;a", "/health%3f", "/healthy", "/v1/models?/health",
	} {
		for _, m := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
			r.wantError(m+" "+p+" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 401, "invalid_api_key")
		}
	}
	for _, p := range []string{
		"/health/liveliness", "/health/liveness", "/health/readiness", "/health", "/health/", "/health?a=/b", "http://a/health", "HTTP://a:1/ready?b", "/%68ealth", "/version?",
	} {
		resp, body, err := r.raw("GET " + p + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v %s %v", p, resp, body, err)
		}
	}
	if resp, body, err := r.raw("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"); err != nil || resp.StatusCode != 405 || string(body) != `{"detail":"Method Not Allowed"}` {
		t.Errorf("POST /health: %v %s %v", resp, body, err)
	}
	if resp, _, _ := r.raw(strings.Replace(post(plainBody), "Host: a", "Host: a\r\nAuthorization: Bearer k", 1)); resp.StatusCode != 200 {
		t.Errorf("with the key: %v", resp)
	}
}

// TestCorpusOverTheWire sends the malformed corpus to a running server: each
// is refused in OpenAI's shape or dropped, and none reaches a provider as more
// than the valid requests in front of the flaw.
func TestCorpusOverTheWire(t *testing.T) {
	dir := harness.Data(t, "http/gunicorn-requests")
	var called atomic.Int32
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		called.Add(1)
		return answer(ex, "{}")
	})
	files, _ := filepath.Glob(filepath.Join(dir, "invalid", "*.http"))
	for _, file := range files {
		for _, raw := range [][]byte{rawRequest(t, file), withHost(rawRequest(t, file))} {
			if _, err := follow(raw, 1<<20); err == nil {
				continue // what it breaks is a setting we do not have
			}
			c := r.dial()
			_, _ = c.Write(raw)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
			resp, body, err := readAnswer(bufio.NewReader(c))
			if err == nil && resp.StatusCode < 400 {
				t.Errorf("%s: answered %d %s", filepath.Base(file), resp.StatusCode, body)
			}
			if err == nil && !strings.HasPrefix(body, `{"error":{"message":`) {
				t.Errorf("%s: answered %q", filepath.Base(file), body)
			}
			_ = c.Close()
		}
	}
	if n := called.Load(); n != 0 {
		t.Errorf("%d malformed requests reached the provider", n)
	}
}

// TestPipelinedFlaw needs the requests in front of a malformed one to be
// answered, and nothing behind it.
func TestPipelinedFlaw(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error { return answer(ex, "{}") })
	c := r.dial()
	_, _ = io.WriteString(c, post(plainBody)+post(plainBody)+"GET / HTTP/1.1\nHost: a\r\n\r\n"+post(plainBody))
	br := bufio.NewReader(c)
	for i, want := range []int{200, 200, 400} {
		resp, body, err := readAnswer(br)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("answer %d: %v %s %v", i, resp, body, err)
		}
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("the connection goes on: %v", err)
	}
}

func TestBodiesHaveATypeAndNothingElseHas(t *testing.T) {
	status := 200
	var frames []string
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		ex.Response.Header.SetNoDefaultContentType(true)
		ex.Response.Header.SetStatusCode(status)
		ex.Response.Header.SetContentLength(-1)
		ex.Response.Body = &feed{next: list(io.EOF, frames...)}
		return nil
	})
	f := func(code int, body, want string) {
		t.Helper()
		status, frames = code, nil
		if body != "" {
			frames = []string{body}
		}
		resp, got, err := r.raw("GET /v1/files HTTP/1.1\r\nHost: a\r\n\r\n")
		if err != nil || got != body || resp.Header.Get("Content-Type") != want {
			t.Errorf("%d %q: %v %q %v", code, body, resp, got, err)
		}
	}
	f(200, "a", "application/octet-stream")
	f(200, "", "")
	f(204, "", "")
	f(304, "", "")
}

func TestHeadAndOldHTTP(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		if ex.Request.Header.IsHead() {
			ex.Response.Header.SetStatusCode(200)
			ex.Response.Header.SetContentType("text/plain")
			ex.Response.Header.SetContentLength(1234)
			return nil
		}
		if strings.Contains(string(ex.Request.Body), `"stream":true`) {
			return events(ex, &feed{next: list(io.EOF, "data: {}\n\n")})
		}
		return answer(ex, "{}")
	})
	c := r.dial()
	_, _ = io.WriteString(c, "HEAD /v1/files/a HTTP/1.1\r\nHost: a\r\n\r\n"+post(plainBody))
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, &http.Request{Method: "HEAD"})
	if err != nil || resp.ContentLength != 1234 {
		t.Fatalf("HEAD: %v %v", resp, err)
	}
	if resp, body, err := readAnswer(br); err != nil || body != "{}" {
		t.Errorf("after HEAD: %v %q %v", resp, body, err)
	}
	old := func(body string) string {
		return fmt.Sprintf("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	if resp, body, err := r.raw(old(plainBody)); err != nil || resp.StatusCode != 200 || body != "{}" {
		t.Errorf("HTTP/1.0: %v %q %v", resp, body, err)
	}
	r.wantError(old(streamBody), 505, "http_1_0_stream")
}

// TestRefusedHeadsHaveNoBody needs the refusal of a HEAD to be a head only, and none
// but that: a request before it on the connection says nothing about it.
func TestRefusedHeadsHaveNoBody(t *testing.T) {
	r := start(t, "", func(_ context.Context, ex *pipeline.Exchange) error {
		ex.Response.Header.SetStatusCode(200)
		ex.Response.Header.SetContentLength(2)
		return nil
	})
	f := func(request string, body bool) {
		t.Helper()
		c := r.dial()
		_, _ = io.WriteString(c, request)
		raw, err := io.ReadAll(c)
		// What follows the head of the last answer.
		_, rest, _ := strings.Cut(string(raw[max(0, bytes.LastIndex(raw, []byte("HTTP/1.1 4"))):]), "\r\n\r\n")
		if err != nil || (rest != "") != body || !bytes.Contains(raw, []byte("HTTP/1.1 4")) {
			t.Errorf("%q: %q, %v", request, raw, err)
		}
	}
	f("HEAD /v1/a HTTP/1.1\r\nHost: a b\r\n\r\n", false)
	f("HEAD /v1/a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", false)
	f("HEAD /v1/a HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 20<<10)+"\r\n\r\n", false)
	f("HEAD /v1/a HTTP/1.1\r\nHost: a\r\n\r\nHEAD /v1/a HTTP/1.1\r\nX : y\r\n\r\n", false)
	f("HEAD /v1/a HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/a HTTP/1.1\r\nX : y\r\n\r\n", true)
	f("HEAD /v1/a HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/a HTTP/1.1\n\r\n", true)
	f("HEAD /v1/a HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/"+strings.Repeat("x", 20<<10), true)
}
