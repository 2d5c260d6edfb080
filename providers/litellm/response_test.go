package litellm

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

// reply makes one call whose answer is given.
func reply(t *testing.T, op pipeline.Operation, header string, body ...string) answer {
	t.Helper()
	tr := &transport{header: header, pieces: body}
	c := settings("http://127.0.0.1:4000/v1")
	c.Key = "sk-very-secret-key"
	a := ask(t, tr.onto(build(t, c)), exchange(op, chatBody))
	if tr.calls != 1 || tr.closed != 1 {
		t.Fatalf("%d calls, %d bodies closed", tr.calls, tr.closed)
	}
	return a
}

func TestWholeAnswer(t *testing.T) {
	const body = `{"id":"x","choices":[{"index":0}],"unknown":[1.0]}`
	f := func(header string, pieces ...string) {
		t.Helper()
		a := reply(t, pipeline.OpChat, header, pieces...)
		if a.err != nil || a.body != body || a.frames != 1 || a.header.ContentLength() != len(body) || a.fault != pipeline.NoFault || a.status != 200 {
			t.Fatalf("%v: status %d, %d frames, length %d: %s", a.err, a.status, a.frames, a.header.ContentLength(), a.body)
		}
		if ct := string(a.header.ContentType()); !strings.HasPrefix(ct, "application/json") {
			t.Fatalf("content type %s", ct)
		}
	}
	f("200\nContent-Type: application/json\nContent-Length: 50", body)
	f("200\nContent-Type: application/json", body[:7], body[7:20], body[20:])
	f("200\nContent-Type: application/json; charset=utf-8\nContent-Encoding: identity", body)
	f("200\nContent-Type: text/plain", body)
	f("200", body)
}

func TestAnswersThatAreNone(t *testing.T) {
	f := func(op pipeline.Operation, code, header string, body ...string) {
		t.Helper()
		a := reply(t, op, header, body...)
		if a.err == nil {
			t.Fatalf("%s %q: passed as status %d %s", header, body, a.status, a.body)
		}
		if e := problemOf(t, a.err); e.Status != 502 || e.Code != code || e.Fault != pipeline.UpstreamFault {
			t.Fatalf("%s %q: %+v", header, body, e)
		}
	}
	const html = "<html><body>It works!</body></html>"
	chat, other := pipeline.OpChat, pipeline.OpOther
	f(chat, "upstream_protocol", "200\nContent-Type: text/html", html)
	f(chat, "upstream_protocol", "200\nContent-Type: application/json", `{"choices":[`)
	f(chat, "upstream_protocol", "200\nContent-Type: application/json", "")
	f(chat, "upstream_protocol", "200\nContent-Type: application/json")
	f(chat, "upstream_protocol", "204")
	f(chat, "upstream_protocol", "200\nContent-Type: application/json\nContent-Encoding: gzip", "{}")
	f(chat, "upstream_protocol", "307\nLocation: http://169.254.169.254/", "")
	f(chat, "upstream_protocol", "304")
	f(chat, "upstream_protocol", "302\nX-Headrace-Cache: hit\nRetry-After: 7\nAllow: PUT", "")
	f(other, "upstream_protocol", "302\nLocation: http://169.254.169.254/", "")
	f(pipeline.OpEmbeddings, "upstream_protocol", "200\nContent-Type: text/event-stream", "data: {}\n\ndata: [DONE]\n\n")
	f(chat, "upstream_too_large", "200\nContent-Type: application/json\nContent-Length: 8589934592", "{")
	f(chat, "upstream_too_large", "200\nContent-Type: application/json", strings.Repeat("[", 1<<19), strings.Repeat("[", 1<<19), "]")
}

func TestTransportErrorsArePassedOn(t *testing.T) {
	want := &pipeline.Error{Status: 502, Code: "upstream_cut"}
	tr := &transport{header: "200\nContent-Type: application/json", pieces: []string{`{"a":1}`}, end: want}
	if a := ask(t, tr.onto(build(t, settings("http://h/v1"))), exchange(pipeline.OpChat, chatBody)); a.err != error(want) || tr.closed != 1 {
		t.Fatalf("got %v, %d bodies closed", a.err, tr.closed)
	}
}

func TestResponseHeader(t *testing.T) {
	f := func(op pipeline.Operation, line string, kept bool) {
		t.Helper()
		a := reply(t, op, "200\nContent-Type: application/json\nX-First: 1\n"+line+"\nX-Last: 1", "{}")
		if a.err != nil {
			t.Fatal(a.err)
		}
		name, value, _ := strings.Cut(line, ": ")
		found := false
		for k, v := range a.header.All() {
			found = found || strings.EqualFold(string(k), name) && string(v) == value
		}
		if found != kept {
			t.Fatalf("%v: %s kept: %v", op, line, found)
		}
		if len(a.header.Peek("X-First")) == 0 || len(a.header.Peek("X-Last")) == 0 {
			t.Fatalf("%s took another field with it", line)
		}
	}
	for _, op := range []pipeline.Operation{pipeline.OpChat, pipeline.OpOther} {
		for _, line := range []string{
			"X-Litellm-Call-Id: c", "X-Litellm-Response-Cost: 0.1", "X-Ratelimit-Remaining-Requests: 9", "Openai-Processing-Ms: 12",
			"Openai-Version: 2020-10-01", "Llm_provider-Request-Id: r", "Llm_provider-Llm_provider-Request-Id: r", "Llm_provider-Content-Type: text/plain", "Cache-Control: no-cache", "Vary: Origin", "Etag: x",
			"X-" + strings.Repeat("a", 100) + ": 1",
		} {
			f(op, line, true)
		}
		for _, line := range []string{
			"Set-Cookie: a=b", "Server: uvicorn", "Alt-Svc: h3=\":443\"", "Location: http://10.0.0.1/", "Keep-Alive: timeout=5",
			"Proxy-Authenticate: Basic", "X-Headrace-Cache: hit", "X-Rag-Status: hit", "Access-Control-Allow-Origin: *", "Strict-Transport-Security: max-age=1",
			"Llm_provider-Set-Cookie: a=b", "Via: 1.1 x", "Llm_provider-Transfer-Encoding: chunked", "Llm_provider-Server: nginx",
			"Llm_provider-Www-Authenticate: Basic", "Llm_provider-Access-Control-Allow-Origin: *", "Llm_provider-Proxy-Authenticate: Basic",
			"Llm_provider-Llm_provider-Set-Cookie: a=b", "Llm_provider-Content-Length: 9", "Llm_provider-Content-Encoding: br", "Llm_provider-Content-Range: bytes 0-1/2",
			"Authorization: Bearer k", "X-Api-Key: k", "api-key: k", "Cookie: a=b", "Llm_provider-Authorization: Bearer k", "Llm_provider-X-Goog-Api-Key: k",
			"X-Headrace-" + strings.Repeat("a", 100) + ": 1", "ACCESS-control-" + strings.Repeat("a", 100) + ": 1",
			"X-Debug: Bearer sk-very-secret-key", "Llm_provider-X-Sent: {\"key\":\"sk-very-secret-key\"}",
		} {
			f(op, line, false)
		}
	}
	f(pipeline.OpOther, "Content-Encoding: br", true)
	f(pipeline.OpOther, "Content-Range: bytes 0-1/2", true)
}

func TestErrors(t *testing.T) {
	f := func(op pipeline.Operation, header, body string, status int, fault pipeline.Fault, want string) answer {
		t.Helper()
		a := reply(t, op, header, body)
		if a.err != nil {
			t.Fatalf("%s: %v", body, a.err)
		}
		if a.status != status || a.fault != fault || a.body != want || string(a.header.ContentType()) != "application/json" {
			t.Fatalf("%s\n%s\nstatus %d, fault %v, %s\ngot  %s\nwant %s", header, body, a.status, a.fault, a.header.ContentType(), a.body, want)
		}
		if !json.Valid([]byte(a.body)) {
			t.Fatalf("not JSON: %s", a.body)
		}
		return a
	}
	type fault = pipeline.Fault
	const js = "\nContent-Type: application/json"
	say := func(message, rest string) string { return `{"error":{"message":"` + message + `",` + rest + `}}` }
	is := func(status string, body string, fl fault, want string) {
		t.Helper()
		n := number(status)
		f(pipeline.OpChat, status+js, body, n, fl, want)
	}
	caller, policy, up, over, late := pipeline.CallerFault, pipeline.PolicyFault, pipeline.UpstreamFault, pipeline.OverloadFault, pipeline.TimeoutFault

	// OpenAI's own.
	full := say("no", `"type":"invalid_request_error","param":"messages","code":"bad"`)
	is("400", full, caller, full)
	is("404", say("no model", `"type":"invalid_request_error","param":null,"code":"model_not_found"`), caller, say("no model", `"type":"invalid_request_error","param":null,"code":"model_not_found"`))
	is("400", say("too long", `"type":"invalid_request_error","param":"messages","code":"context_length_exceeded"`), caller, say("too long", `"type":"invalid_request_error","param":"messages","code":"context_length_exceeded"`))
	is("413", full, caller, full)
	is("422", full, caller, full)
	is("401", full, up, full)
	is("402", full, up, full)
	is("403", full, up, full)
	is("408", full, late, full)
	is("429", full, over, full)
	is("500", full, up, full)
	is("502", full, up, full)
	is("503", full, over, full)
	is("504", full, late, full)
	is("529", full, over, full)
	is("400", say("filtered", `"type":null,"param":null,"code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"},"status":400`), policy,
		say("filtered", `"type":"invalid_request_error","param":null,"code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"},"status":400`))
	is("400", say("safety", `"type":"x","param":null,"code":"content_policy_violation"`), policy, say("safety", `"type":"x","param":null,"code":"content_policy_violation"`))

	// LiteLLM's: the code is the status, as a string.
	is("429", say("litellm.RateLimitError: slow", `"type":"throttling_error","param":null,"code":"429"`), over, say("litellm.RateLimitError: slow", `"type":"throttling_error","param":null,"code":"429"`))
	is("400", say("litellm.ContextWindowExceededError: long", `"type":"invalid_request_error","param":null,"code":"400"`), caller, say("litellm.ContextWindowExceededError: long", `"type":"invalid_request_error","param":null,"code":"400"`))
	is("400", say("litellm.BadRequestError: litellm.ContentPolicyViolationError: no", `"type":null,"param":null,"code":"400"`), policy, say("litellm.BadRequestError: litellm.ContentPolicyViolationError: no", `"type":"invalid_request_error","param":null,"code":"400"`))
	is("400", say("No connected db.", `"type":"no_db_connection","param":null,"code":"400"`), up, say("No connected db.", `"type":"no_db_connection","param":null,"code":"400"`))
	is("401", say("Authentication Error", `"type":"auth_error","param":"None","code":"401"`), up, say("Authentication Error", `"type":"auth_error","param":null,"code":"401"`))
	is("400", say("Invalid model", `"type":"invalid_request_error","param":null,"code":"400","provider_specific_fields":{"a":1}`), caller, say("Invalid model", `"type":"invalid_request_error","param":null,"code":"400","provider_specific_fields":{"a":1}`))

	// FastAPI's.
	is("404", `{"detail":"Not Found"}`, caller, say("Not Found", `"type":"not_found_error","param":null,"code":null`))
	is("422", `{"detail":[{"type":"missing","loc":["body","messages",0,"role"],"msg":"Field required","input":{}},{"loc":["body"],"msg":"bad"}]}`, caller,
		say("messages.0.role: Field required; bad", `"type":"invalid_request_error","param":"messages.0.role","code":null`))
	is("422", `{"detail":{"error":"failed","n":1}}`, caller, say("failed", `"type":"invalid_request_error","param":null,"code":null`))
	is("422", `{"detail":{"message":"failed","code":"c","n":1}}`, caller, say("failed", `"type":"invalid_request_error","param":null,"code":"c","n":1`))
	is("500", `{"detail":[]}`, up, say("the upstream refused the request", `"type":"server_error","param":null,"code":null`))

	// Others.
	is("500", `{"error":"boom"}`, up, say("boom", `"type":"server_error","param":null,"code":null`))
	is("429", `{"message":"slow down","type":"rate","request_id":"r"}`, over, say("slow down", `"type":"rate","param":null,"code":null,"request_id":"r"`))
	is("400", `{"object":"error","message":"vllm says no","type":"BadRequestError","param":null,"code":400}`, caller, say("vllm says no", `"type":"BadRequestError","param":null,"code":400`))
	is("529", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, over, say("Overloaded", `"type":"overloaded_error","param":null,"code":null`))
	is("429", `[{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}]`, over, say("quota", `"type":"rate_limit_error","param":null,"code":429,"status":"RESOURCE_EXHAUSTED"`))
	is("500", "data: {\"error\":{\"message\":\"m\"}}\n\n", up, say("m", `"type":"server_error","param":null,"code":null`))
	is("400", `{"error":{"message":"q\"<é>\u2028"}}`, caller, say(`q\"<é>\u2028`, `"type":"invalid_request_error","param":null,"code":null`))

	// What is no JSON.
	status := func(n, kind string) string {
		return say("the upstream answered with status "+n, `"type":"`+kind+`","param":null,"code":"upstream_error"`)
	}
	is("502", "", up, status("502", "server_error"))
	is("503", "<html><h1>Service Unavailable</h1></html>", over, status("503", "server_error"))
	is("500", `{"unknown":true}`, up, status("500", "server_error"))
	is("500", `{"error":{"message":"cut`, up, status("500", "server_error"))
	f(pipeline.OpChat, "500\nContent-Type: text/html", "Internal Server Error", 500, up, status("500", "server_error"))
	f(pipeline.OpChat, "500\nContent-Type: text/plain; charset=utf-8", "Internal Server Error", 500, up, say("Internal Server Error", `"type":"server_error","param":null,"code":null`))

	// A key that is quoted back.
	is("401", say("Incorrect API key provided: sk-very-secret-key.", `"type":null`), up, say("Incorrect API key provided: ***.", `"type":"authentication_error","param":null,"code":null`))

	// An error with the status of a success.
	f(pipeline.OpChat, "200"+js, ` { "error" : {"message":"slow","code":"429"}}`, 429, over, say("slow", `"type":"rate_limit_error","param":null,"code":"429"`))
	f(pipeline.OpChat, "200"+js, `{"error":{"message":"broken"}}`, 502, up, say("broken", `"type":"server_error","param":null,"code":null`))
	for _, fine := range []string{`{"error":null,"choices":[]}`, `{"id":"r","error":{"message":"x"}}`} {
		if a := reply(t, pipeline.OpResponses, "200"+js, fine); a.status != 200 || a.body != fine {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
	}
}

func TestLongMessageIsCut(t *testing.T) {
	a := reply(t, pipeline.OpChat, "400", `{"error":{"message":"`+strings.Repeat("é", 10_000)+`"}}`)
	if len(a.body) > 9<<10 || !json.Valid([]byte(a.body)) || !strings.Contains(a.body, "é…") {
		t.Fatalf("%d bytes: …%s", len(a.body), a.body[len(a.body)-100:])
	}
}

func TestRetryAfter(t *testing.T) {
	f := func(lines, want string) {
		t.Helper()
		a := reply(t, pipeline.OpChat, "429\nX-Ratelimit-Reset-Requests: 1s"+lines, "{}")
		if got := string(a.header.Peek("Retry-After")); got != want {
			t.Fatalf("%q: got %q, want %q", lines, got, want)
		}
		if len(a.header.Peek("X-Ratelimit-Reset-Requests")) == 0 {
			t.Fatal("the rate limit fields are gone")
		}
	}
	f("", "")
	f("\nRetry-After: 2", "2")
	f("\nRetry-After: 0.5", "0.5")
	f("\nRetry-After: Mon, 23 Nov 2026 10:00:00 GMT", "Mon, 23 Nov 2026 10:00:00 GMT")
	f("\nRetry-After: soon", "")
	f("\nllm_provider-retry-after: 7", "7")
	f("\nRetry-After: 2\nllm_provider-retry-after: 7", "2")
	a := reply(t, pipeline.OpChat, "429\nRetry-After-Ms: 250\nX-Ms-Retry-After-Ms: 250", "{}")
	if len(a.header.Peek("Retry-After-Ms")) == 0 || len(a.header.Peek("X-Ms-Retry-After-Ms")) == 0 {
		t.Fatal("milliseconds are gone")
	}
}

func TestPassThrough(t *testing.T) {
	f := func(method, path, header, want string, pieces ...string) answer {
		t.Helper()
		tr := &transport{header: header, pieces: pieces}
		ex := exchange(pipeline.OpOther, "")
		ex.Request.Header.SetMethod(method)
		ex.Request.Header.SetRequestURI(path)
		a := ask(t, tr.onto(build(t, settings("http://h/v1"))), ex)
		if a.err != nil || a.status != number(header[:3]) || a.body != want || a.frames != len(pieces) || tr.closed != 1 {
			t.Fatalf("%v: status %d, %d frames, %q", a.err, a.status, a.frames, a.body)
		}
		return a
	}
	a := f("GET", "/v1/files/f/content", "200\nContent-Type: audio/mpeg\nContent-Encoding: br\nContent-Length: 6", "abcdef", "abc", "def")
	if a.header.ContentLength() != 6 || string(a.header.ContentEncoding()) != "br" || string(a.header.ContentType()) != "audio/mpeg" {
		t.Fatalf("%s", a.header.Header())
	}
	f("GET", "/v1/files", "304\nEtag: x", "")
	a = f("HEAD", "/v1/files", "200\nContent-Length: 7", "")
	if a.header.ContentLength() != 7 {
		t.Fatalf("%s", a.header.Header())
	}
}

// Errors of interfaces that the gateway does not know have OpenAI's shape, or keep their
// own if there is an error object in it.
func TestForeignErrors(t *testing.T) {
	f := func(header, want string, pieces ...string) {
		t.Helper()
		tr := &transport{header: header, pieces: pieces}
		c := settings("http://h/v1")
		c.Key = "sk-very-secret-key"
		a := ask(t, tr.onto(build(t, c)), exchange(pipeline.OpOther, ""))
		if a.err != nil || a.status != number(header[:3]) || a.fault != pipeline.FaultOfStatus(a.status) || a.body != want || tr.closed != 1 ||
			string(a.header.ContentType()) != "application/json" || len(a.header.ContentEncoding()) != 0 || a.header.ContentLength() != len(want) {
			t.Fatalf("%v: status %d, fault %v, %s%q", a.err, a.status, a.fault, a.header.Header(), a.body)
		}
		if got := string(a.header.Peek("Retry-After")); strings.Contains(header, "Retry-After") && got != "7" {
			t.Errorf("Retry-After is %q", got)
		}
	}
	say := func(message, kind, code string) string {
		return `{"error":{"message":"` + message + `","type":"` + kind + `","param":null,"code":` + code + `}}`
	}
	unknown := say("the upstream answered with status 503", "server_error", `"upstream_error"`)
	f("404\nContent-Type: application/json", say("x", "not_found_error", "null"), `{"deta`, `il":"x"}`)
	f("404", say("the upstream answered with status 404", "not_found_error", `"upstream_error"`))
	f("503\nRetry-After: 7", say("x", "server_error", "null"), "x")
	f("503\nContent-Type: text/html", unknown, "<html>")
	f("503\nContent-Encoding: gzip\nRetry-After: 7\nContent-Type: application/json", unknown, "\x1f\x8b\x08")
	f("503\nRetry-After: 7", unknown, strings.Repeat("x", maxProblem), "x")
	f("503\nRetry-After: 7\nContent-Length: 2000000", unknown, "x")
	const anthropic = `{"type":"error","error":{"type":"not_found_error","message":"model: x"},"request_id":"r"}`
	f("404\nContent-Type: application/json", anthropic, anthropic)
	f("401", `{"error":{"message":"Incorrect key ***."}}`, `{"error":{"message":"Incorrect key sk-very-secret-key."}}`)
	f("400", say("Incorrect key ***.", "invalid_request_error", "null"), `{"detail":"Incorrect key sk-very-secret-key."}`)

	// A body that is cut, and one that a HEAD does not have.
	tr := &transport{header: "500\nContent-Length: 9", pieces: []string{"x"}, end: io.ErrUnexpectedEOF}
	if a := ask(t, tr.onto(build(t, settings("http://h/v1"))), exchange(pipeline.OpOther, "")); a.err != nil || a.status != 500 || !strings.Contains(a.body, "status 500") {
		t.Errorf("%v: status %d, %s", a.err, a.status, a.body)
	}
	ex := exchange(pipeline.OpOther, "")
	ex.Request.Header.SetMethod("HEAD")
	tr = &transport{header: "404\nContent-Length: 9"}
	if a := ask(t, tr.onto(build(t, settings("http://h/v1"))), ex); a.err != nil || a.status != 404 || a.body != "" || a.header.ContentLength() != 9 {
		t.Errorf("%v: status %d, %q", a.err, a.status, a.body)
	}
}

// Events of an interface that the gateway does not know arrive whole, whatever they say.
func TestForeignStream(t *testing.T) {
	f := func(want string, wantErr error, pieces ...string) {
		t.Helper()
		a := reply(t, pipeline.OpOther, "200\nContent-Type: text/event-stream", pieces...)
		if a.body != want || a.err != wantErr {
			t.Fatalf("%q: got %q, %v", pieces, a.body, a.err)
		}
	}
	f("event: message_start\ndata: x\n\nevent: message_stop\ndata: {}\n\n", nil, "event: mess", "age_start\ndata: x\n\nevent: message_stop\n", "data: {}\n\n")
	f("data: {}\n\nevent: error\ndata: {\"type\":\"error\"}\n\n", nil, "data: {}\n\nevent: error\ndata: {\"type\":\"error\"}\n\n")
	a := reply(t, pipeline.OpOther, "200\nContent-Type: text/event-stream", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n")
	if e := problemOf(t, a.err); e.Status != 503 || e.Fault != pipeline.OverloadFault || a.body != "" {
		t.Fatalf("%+v after %q", e, a.body)
	}
	for _, head := range []string{"200\nContent-Type: text/event-stream", "201\nContent-Type: text/event-stream", "200\nContent-Type: text/event-stream\nContent-Encoding: identity"} {
		a = reply(t, pipeline.OpOther, head, "data: {}\n\ndata: cu")
		if e := problemOf(t, a.err); e.Code != "upstream_cut" {
			t.Fatalf("%s: %+v", head, e)
		}
	}
	// What is compressed is passed on as it is.
	if a := reply(t, pipeline.OpOther, "200\nContent-Type: text/event-stream\nContent-Encoding: gzip", "\x1f\x8b"); a.err != nil || a.body != "\x1f\x8b" {
		t.Fatalf("%v after %q", a.err, a.body)
	}
}

func TestUpload(t *testing.T) {
	tr := &transport{header: "200", pieces: []string{"ok"}}
	ex := exchange(pipeline.OpOther, "")
	ex.Request.Body, ex.Request.Upload, ex.Request.UploadSize = nil, io.LimitReader(strings.NewReader("0123456789"), 5), 5
	ex.Request.Header.SetContentType("multipart/form-data; boundary=x")
	a := ask(t, tr.onto(build(t, settings("http://h/v1"))), ex)
	if a.err != nil || tr.body != "01234" || string(tr.request.ContentType()) != "multipart/form-data; boundary=x" {
		t.Fatalf("%v: sent %q as %s", a.err, tr.body, tr.request.ContentType())
	}
}

// Whatever an upstream answers with, the client's error is JSON and has a message.
func FuzzProblem(f *testing.F) {
	for _, s := range []string{
		`{"error":{"message":"m","type":"t","param":null,"code":1}}`, `{"error":"x"}`, `{"detail":[{"loc":["body",1],"msg":"m"}]}`,
		`[{"error":{}}]`, `{"error":{"message":1,"type":{},"code":[]}}`, "<html>", "data: {}", "\xff", `{"message":"\ud800"}`, `{"error":{"messAge":0,"x":[]}}`,
	} {
		f.Add(s, 500)
	}
	f.Fuzz(func(t *testing.T, body string, status int) {
		status = 400 + (status&0x7fffffff)%200
		p, ok := readProblem([]byte(body))
		if !ok {
			p = textProblem([]byte(body), nil, status)
		}
		var out struct {
			Error struct {
				Message string
				Type    any
			}
		}
		b := p.json(status, [][]byte{[]byte("sk-very-secret-key")})
		if err := json.Unmarshal(b, &out); err != nil || out.Error.Message == "" || out.Error.Type == nil {
			t.Fatalf("%q: %s: %v", body, b, err)
		}
		if n := p.inBand(); n < 400 || n > 599 {
			t.Fatalf("%q: status %d", body, n)
		}
		p.fault(status)
	})
}
