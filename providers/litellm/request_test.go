package litellm

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

func TestValidate(t *testing.T) {
	f := func(c Config, want string) {
		t.Helper()
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Fatalf("%s: got %v, want %q", c.URL, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Fatalf("a password is in the problem: %v", err)
		}
	}
	url := func(s string) Config { return Config{URL: s} }
	f(url("https://api.openai.com/v1"), "")
	f(url("http://127.0.0.1:4000"), "")
	f(url("http://[::1]:4000/v1/"), "")
	f(url("ftp://host/v1"), "does not begin with http")
	f(url("api.openai.com/v1"), "does not begin with http")
	f(url("https://"), "has no host")
	f(url("https://user:pw@host/v1"), "user name or password")
	f(url("user:pw@host/v1"), "does not begin with http")
	f(url("https://host/v1#x"), "fragment")
	f(url("https://host//v1"), "empty part")
	f(url("https://ho st/v1"), "not a valid address")
	f(Config{URL: "http://h", RerankURL: "h"}, "rerank_url:")
	f(Config{URL: "http://h", Azure: &Azure{Deployment: "d"}}, "api_version")
	f(Config{URL: "http://h", Key: "sk-secret\n"}, "control character")
	f(Config{URL: "http://h", Headers: map[string]config.Secret{"X-A": "b"}}, "")
	f(Config{URL: "http://h", Headers: map[string]config.Secret{"x-api-key": "b"}}, "")
	f(Config{URL: "http://h", Headers: map[string]config.Secret{"Host": "b"}}, "Host is the gateway's own")
	f(Config{URL: "http://h", Headers: map[string]config.Secret{"transfer-encoding": "b"}}, "gateway's own")
	f(Config{URL: "http://h", Headers: map[string]config.Secret{"X A": "b"}}, "not the name of a header field")
	if err := (Config{URL: "http://h", Key: "sk-secret\n"}).Validate(); strings.Contains(err.Error(), "sk-secret") {
		t.Fatalf("the key is in the problem: %v", err)
	}
}

func TestTarget(t *testing.T) {
	f := func(c Config, op pipeline.Operation, path, want string) {
		t.Helper()
		c.MaxConnections, c.MaxResponse = 1, 1<<10
		tr := &transport{header: "200\nContent-Type: application/json", pieces: []string{"{}"}}
		ex := exchange(op, chatBody)
		if path != "" {
			ex.Request.Header.SetRequestURI(path)
		}
		if a := ask(t, tr.onto(build(t, c)), ex); a.err != nil {
			t.Fatal(a.err)
		}
		if got := fmt.Sprintf("%s %s", tr.request.Host(), tr.request.RequestURI()); got != want {
			t.Fatalf("%s + %s: got %s, want %s", c.URL, path, got, want)
		}
	}
	plain := Config{URL: "http://127.0.0.1:4000/v1"}
	f(plain, pipeline.OpChat, "", "127.0.0.1:4000 /v1/chat/completions")
	f(plain, pipeline.OpChat, "/v1/chat/completions?a=b%20c&d", "127.0.0.1:4000 /v1/chat/completions?a=b%20c&d")
	f(plain, pipeline.OpCompletions, "", "127.0.0.1:4000 /v1/completions")
	f(plain, pipeline.OpEmbeddings, "", "127.0.0.1:4000 /v1/embeddings")
	f(plain, pipeline.OpResponses, "", "127.0.0.1:4000 /v1/responses")
	f(plain, pipeline.OpRerank, "/v2/rerank", "127.0.0.1:4000 /v1/rerank")
	f(plain, pipeline.OpModels, "/v1/models/org%2Fname", "127.0.0.1:4000 /v1/models/org%2Fname")
	f(plain, pipeline.OpOther, "/v1/files?limit=0", "127.0.0.1:4000 /v1/files?limit=0")
	f(plain, pipeline.OpOther, "/v1/responses/resp_1/input_items", "127.0.0.1:4000 /v1/responses/resp_1/input_items")
	f(plain, pipeline.OpOther, "/v1internal", "127.0.0.1:4000 /v1/v1internal")
	f(Config{URL: "https://host"}, pipeline.OpChat, "", "host /chat/completions")
	f(Config{URL: "https://host:8443/a/b/v1/"}, pipeline.OpOther, "/v1/files", "host:8443 /a/b/v1/files")
	f(Config{URL: "https://host/v1?tenant=a"}, pipeline.OpOther, "/v1/files?limit=0", "host /v1/files?tenant=a&limit=0")
	f(Config{URL: "https://host/v1?tenant=a"}, pipeline.OpChat, "", "host /v1/chat/completions?tenant=a")

	azure := Config{URL: "https://r.openai.azure.com/", Azure: &Azure{APIVersion: "2024-10-21"}}
	f(azure, pipeline.OpChat, "", "r.openai.azure.com /openai/deployments/gpt/chat/completions?api-version=2024-10-21")
	f(azure, pipeline.OpEmbeddings, "/v1/embeddings?x=y", "r.openai.azure.com /openai/deployments/gpt/embeddings?api-version=2024-10-21&x=y")
	f(azure, pipeline.OpResponses, "", "r.openai.azure.com /openai/responses?api-version=2024-10-21")
	f(azure, pipeline.OpOther, "/v1/files", "r.openai.azure.com /openai/files?api-version=2024-10-21")
	f(azure, pipeline.OpOther, "/v1/audio/speech", "r.openai.azure.com /openai/audio/speech?api-version=2024-10-21")
	azure.URL = "https://r.openai.azure.com/openai"
	azure.Azure = &Azure{APIVersion: "2024-10-21", Deployment: "eu/large"}
	f(azure, pipeline.OpChat, "", "r.openai.azure.com /openai/deployments/eu%2Flarge/chat/completions?api-version=2024-10-21")
	f(azure, pipeline.OpOther, "/v1/audio/speech", "r.openai.azure.com /openai/deployments/eu%2Flarge/audio/speech?api-version=2024-10-21")
	f(Config{URL: "https://r.openai.azure.com/openai/v1", Azure: &Azure{}}, pipeline.OpChat, "", "r.openai.azure.com /openai/v1/chat/completions")

	both := Config{URL: "http://127.0.0.1:4000/v1", RerankURL: "http://127.0.0.1:9000/v2"}
	f(both, pipeline.OpRerank, "", "127.0.0.1:9000 /v2/rerank")
	f(both, pipeline.OpChat, "", "127.0.0.1:4000 /v1/chat/completions")
}

// A model's name must not lead out of the deployments.
func TestModelNameInPath(t *testing.T) {
	for _, name := range []string{"..", ".", ""} {
		tr := new(transport)
		p := tr.onto(build(t, Config{URL: "https://r.openai.azure.com", Azure: &Azure{APIVersion: "1"}, MaxConnections: 1}))
		a := ask(t, p, exchange(pipeline.OpChat, `{"model":"`+name+`","messages":[]}`))
		if e := problemOf(t, a.err); e.Status != 404 || e.Code != "model_not_found" || tr.calls != 0 {
			t.Fatalf("model %q: %v, %d calls", name, a.err, tr.calls)
		}
	}
}

func TestTwoServersOneOrTwoTransports(t *testing.T) {
	f := func(rerank string, same bool) {
		t.Helper()
		c := settings("http://127.0.0.1:4000/v1")
		c.RerankURL = rerank
		if p := build(t, c); (p.main.transport == p.ranker.transport) != same {
			t.Fatalf("%s: one transport: %v", rerank, !same)
		}
	}
	f("http://127.0.0.1:4000/v2", true)
	f("http://127.0.0.1:4001/v1", false)
	f("https://127.0.0.1:4000/v1", false)
}

func TestRequestHeader(t *testing.T) {
	f := func(op pipeline.Operation, sent, want []string) {
		t.Helper()
		c := settings("http://127.0.0.1:4000/v1")
		c.Key, c.Organization = "sk-own", "org-own"
		c.Headers = map[string]config.Secret{"x-team": "gateway"}
		tr := &transport{header: "200\nContent-Type: application/json", pieces: []string{"{}"}}
		ex := exchange(op, chatBody)
		head := "POST " + paths[op] + " HTTP/1.1\r\nHost: h\r\n" + strings.Join(append([]string{"Content-Type: application/json"}, sent...), "\r\n") + "\r\n\r\n"
		if err := ex.Request.Header.Read(bufio.NewReader(strings.NewReader(head))); err != nil {
			t.Fatal(err)
		}
		p := build(t, c)
		asLines := call{p: p, op: op}
		asLines.requestLines(&ex.Request.Header, p.main)
		if a := ask(t, tr.onto(p), ex); a.err != nil {
			t.Fatal(a.err)
		}
		own := []string{"Authorization: Bearer sk-own", "Openai-Organization: org-own", "X-Team: gateway", "Content-Type: application/json", "User-Agent: headrace", "Host: 127.0.0.1:4000"}
		if op.HasModel() {
			own = append(own, "Accept-Encoding: identity")
		}
		for _, w := range want {
			if strings.HasPrefix(w, "User-Agent") {
				own = slices.DeleteFunc(own, func(s string) bool { return strings.HasPrefix(s, "User-Agent") })
			}
		}
		want = append(slices.Clone(want), own...)
		var got []string
		for k, v := range tr.request.All() {
			got = append(got, fmt.Sprintf("%s: %s", k, v))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%v %q\ngot  %q\nwant %q", op, sent, got, want)
		}
		got = strings.Split(strings.TrimSuffix(string(asLines.lines), "\r\n"), "\r\n")
		got = append(got, "Host: "+string(asLines.req.Header.Host()))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%v %q, as lines\ngot  %q\nwant %q", op, sent, got, want)
		}
	}
	kept := func(lines ...string) {
		t.Helper()
		f(pipeline.OpChat, lines, lines)
		f(pipeline.OpOther, lines, lines)
	}
	dropped := func(lines ...string) {
		t.Helper()
		f(pipeline.OpChat, lines, nil)
		f(pipeline.OpOther, lines, nil)
	}
	kept()
	kept("Openai-Beta: assistants=v2", "Openai-Project: p", "Accept: application/json", "User-Agent: sdk/1", "Idempotency-Key: k",
		"X-Stainless-Lang: go", "Traceparent: 00-1-2-01", "X-Request-Id: r1", "X-Litellm-Call-Id: c", "Anthropic-Version: 1", "X-Custom: a", "X-Custom: b")
	dropped("Authorization: Bearer sk-client")
	dropped("x-api-key: sk-client", "api-key: sk-client", "x-goog-api-key: sk", "x-litellm-api-key: sk", "Cookie: a=b")
	dropped("Proxy-Authorization: x", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "TE: trailers", "Upgrade: websocket", "Expect: 100-continue")
	dropped("Forwarded: for=1", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "X-Real-Ip: 1", "Via: 1.1 x", "X-Original-Url: /admin", "X-Rewrite-Url: /x")
	dropped("X-Portkey-Custom-Host: http://evil", "Helicone-Target-Url: http://evil", "X-Api-Base: http://evil", "X-Base-Url: http://evil")
	dropped("X-Headrace-Skip: cache", "X-Headrace-Anything: 1", "X-Rag: off")
	dropped("Openai-Organization: org-client", "X-Team: client")
	dropped("X_Underscore: 1", "X-Under_score: 1")
	dropped("Origin: https://a", "Referer: https://a", "Sec-Fetch-Mode: cors")
	dropped("X-Secret-Hop: 1", "Connection: x-secret-hop, close")
	dropped("X-Secret-Hop: 1", "X-Hop: 2", "Connection: x-secret-hop", "Connection: keep-alive, x-hop")
	dropped("Connection: authorization, x-team, host, content-length, user-agent")
	only := func(lines ...string) { // where the body is not read
		t.Helper()
		f(pipeline.OpChat, lines, nil)
		f(pipeline.OpOther, lines, lines)
	}
	only("Accept-Encoding: gzip, br")
	only("Cache-Control: no-cache", "Range: bytes=0-9", "If-None-Match: x", "If-Modified-Since: Mon, 23 Nov 2026 00:00:00 GMT")
}

func TestNoKey(t *testing.T) {
	tr := &transport{header: "200", pieces: []string{"{}"}}
	ex := exchange(pipeline.OpChat, chatBody)
	ex.Request.Header.Set("Authorization", "Bearer sk-client")
	ask(t, tr.onto(build(t, settings("http://h/v1"))), ex)
	if got := tr.request.Peek("Authorization"); len(got) > 0 {
		t.Fatalf("the client's key went to the upstream: %s", got)
	}
}

func TestAzureKey(t *testing.T) {
	c := settings("http://h/v1")
	c.Key, c.Azure = "az-key", &Azure{}
	tr := &transport{header: "200", pieces: []string{"{}"}}
	ask(t, tr.onto(build(t, c)), exchange(pipeline.OpChat, chatBody))
	if got := string(tr.request.Peek("Api-Key")) + "|" + string(tr.request.Peek("Authorization")); got != "az-key|" {
		t.Fatalf("sent %s", got)
	}
}

// Organization and project are the gateway's to name, unless it names none.
func TestAccount(t *testing.T) {
	f := func(organization, project string, headers map[string]config.Secret, want string) {
		t.Helper()
		c := settings("http://h/v1")
		c.Organization, c.Project, c.Headers = organization, project, headers
		tr := &transport{header: "200", pieces: []string{"{}"}}
		ex := exchange(pipeline.OpChat, chatBody)
		ex.Request.Header.Set("Openai-Organization", "client's")
		ex.Request.Header.Set("Openai-Project", "client's")
		ask(t, tr.onto(build(t, c)), ex)
		if got := string(tr.request.Peek("Openai-Organization")) + " " + string(tr.request.Peek("Openai-Project")); got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	f("", "", nil, "client's client's")
	f("ours", "", nil, "ours client's")
	f("", "ours", nil, "client's ours")
	f("ours", "ours", map[string]config.Secret{"openai-project": "written out"}, "ours written out")
}

// An address without a port has that of its scheme.
func TestAddress(t *testing.T) {
	f := func(base, address, host string, secure bool) {
		t.Helper()
		e, err := parseBase(base)
		if err != nil || e.address != address || e.host != host || e.secure != secure {
			t.Errorf("%s is at %+v, %v; want %s", base, e, err, address)
		}
	}
	f("http://h/v1", "h:80", "h", false)
	f("https://h/v1", "h:443", "h", true)
	f("HTTPS://h/v1", "h:443", "h", true)
	f("https://h:8443", "h:8443", "h:8443", true)
	f("http://[::1]/v1", "[::1]:80", "[::1]", false)
	f("https://[::1]:1/v1", "[::1]:1", "[::1]:1", true)
	for _, bad := range []string{"h/v1", "ftp://h", "https:///v1", "https://u@h", "https://h#", "https://h/v1#f", "https://h//v1", "https://h:x"} {
		if _, err := parseBase(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestBody(t *testing.T) {
	f := func(target *pipeline.Target, model *pipeline.Model, body, want string) {
		t.Helper()
		tr := &transport{header: "200", pieces: []string{"{}"}}
		ex := exchange(pipeline.OpChat, body)
		ex.Target, ex.Model = target, model
		if a := ask(t, tr.onto(build(t, settings("http://h/v1"))), ex); a.err != nil {
			t.Fatal(a.err)
		}
		if tr.body != want {
			t.Fatalf("got  %s\nwant %s", tr.body, want)
		}
	}
	same := func(target *pipeline.Target, model *pipeline.Model, body string) {
		t.Helper()
		f(target, model, body, body)
	}
	const odd = `{ "model" : "a" , "unknown": [1.0, 1e5], "messages":[ {"role":"user","content":"é"} ] }`
	any := &pipeline.Model{Name: "*"}
	same(nil, nil, odd)
	same(&pipeline.Target{}, any, odd)
	same(&pipeline.Target{Model: "*"}, any, odd)
	same(&pipeline.Target{Model: "a"}, any, odd)
	f(&pipeline.Target{Model: "b\"c"}, any, odd, strings.Replace(odd, `"a"`, `"b\"c"`, 1))
	f(&pipeline.Target{Model: "*"}, &pipeline.Model{Name: "openai/*"}, `{"model":"openai/gpt"}`, `{"model":"gpt"}`)
	f(nil, nil, `{"model":"a","cache":{"ttl":5},"n":1,"rag":{"enabled":true}}`, `{"model":"a","n":1}`)
	f(&pipeline.Target{Model: "b"}, any, `{"x":1}`, `{"x":1,"model":"b"}`)
	same(&pipeline.Target{Model: "openai/*"}, any, `{"x":1}`)
	f(&pipeline.Target{Model: "b"}, any, `{"cache":{},"model":"a","x":1}`, `{"model":"b","x":1}`)
}

func TestInvalidBody(t *testing.T) {
	tr := new(transport)
	a := ask(t, tr.onto(build(t, settings("http://h/v1"))), exchange(pipeline.OpChat, `{"model":`))
	if e := problemOf(t, a.err); e.Status != 400 || tr.calls != 0 {
		t.Fatalf("%v, %d calls", a.err, tr.calls)
	}
}

func TestWait(t *testing.T) {
	f := func(request pipeline.Wait, target *pipeline.Target, want pipeline.Wait) {
		t.Helper()
		tr := &transport{header: "200", pieces: []string{"{}"}}
		ex := exchange(pipeline.OpChat, chatBody)
		ex.Request.Wait, ex.Target = request, target
		ask(t, tr.onto(build(t, settings("http://h/v1"))), ex)
		if tr.wait != want {
			t.Fatalf("got %+v, want %+v", tr.wait, want)
		}
	}
	target := &pipeline.Target{FirstByte: time.Second, Idle: 2 * time.Second}
	f(pipeline.Wait{}, nil, pipeline.Wait{})
	f(pipeline.Wait{}, target, pipeline.Wait{FirstByte: time.Second, Idle: 2 * time.Second})
	f(pipeline.Wait{FirstByte: time.Minute, Total: time.Hour}, target, pipeline.Wait{FirstByte: time.Minute, Idle: 2 * time.Second, Total: time.Hour})
}

// A pooled call must bring nothing of an earlier one along.
func TestCallsAreCleanWhenReused(t *testing.T) {
	tr := &transport{header: "200", pieces: []string{"{}"}}
	p := tr.onto(build(t, settings("http://h/v1")))
	one := exchange(pipeline.OpChat, `{"model":"a","cache":{}}`)
	one.Request.Header.Set("X-First", "1")
	one.Request.Header.SetUserAgent("first")
	ask(t, p, one)
	up := exchange(pipeline.OpOther, "")
	up.Request.Body, up.Request.Upload, up.Request.UploadSize = nil, bytes.NewReader([]byte("file")), 4
	up.Request.Header.SetMethod("PUT")
	ask(t, p, up)
	if tr.body != "file" || tr.request.Peek("X-First") != nil || string(tr.request.Method()) != "PUT" || string(tr.request.UserAgent()) != "headrace" {
		t.Fatalf("%s %s", tr.body, tr.request.Header())
	}
	ask(t, p, exchange(pipeline.OpChat, chatBody))
	if tr.body != chatBody {
		t.Fatalf("%s", tr.body)
	}
}
