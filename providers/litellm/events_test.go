package litellm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/pipetest"
)

const events200 = "200\nContent-Type: text/event-stream; charset=utf-8"

// streamed makes one call whose answer is a stream, in pieces of every size: the result
// must not depend on it. It returns what the client got.
func streamed(t *testing.T, op pipeline.Operation, request, body string, end error) (string, error) {
	t.Helper()
	var first answer
	for _, size := range []int{len(body) + 1, 1, 2, 3, 7, 64} {
		var pieces []string
		for rest := body; len(rest) > 0; {
			n := min(size, len(rest))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		tr := &transport{header: events200, pieces: pieces, end: end}
		a := ask(t, tr.onto(build(t, settings("http://h/v1"))), exchange(op, request))
		if tr.closed != 1 || a.status != 200 {
			t.Fatalf("status %d, %v, %d bodies closed", a.status, a.err, tr.closed)
		}
		if size > len(body) {
			first = a
			continue
		}
		if a.body != first.body || (a.err == nil) != (first.err == nil) || a.err != nil && a.err.Error() != first.err.Error() {
			t.Fatalf("in pieces of %d: %q, %v\nat once: %q, %v", size, a.body, a.err, first.body, first.err)
		}
	}
	return first.body, first.err
}

// Pieces of streams.
const (
	role   = `data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}` + "\n\n"
	word   = `data: {"id":"c","choices":[{"index":0,"delta":{"content":"say \"finish_reason\":\"x\" and \"error\""},"finish_reason": null}]}` + "\n\n"
	finish = `data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason" : "stop"}]}` + "\n\n"
	used   = `data: {"id":"c","choices":[{"index":0,"delta":{}}],"usage":{"total_tokens":3}}` + "\n\n" // as LiteLLM writes it
	done   = "data: [DONE]\n\n"
	ping   = ": ping\n\n"
)

func TestStreams(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		for _, op := range []pipeline.Operation{pipeline.OpChat, pipeline.OpCompletions} {
			if got, err := streamed(t, op, streamBody, body, nil); got != want || err != nil {
				t.Fatalf("%q\ngot  %q, %v\nwant %q", body, got, err, want)
			}
		}
	}
	same := func(body string) { t.Helper(); f(body, body) }
	same(role + word + finish + done)
	same(role + word + finish + used + done)
	same(role + ping + word + finish + done)
	same(strings.ReplaceAll(role+word+finish+done, "data: ", "data:"))
	same("event: x\nid: 1\n" + role + finish + done)
	f(ping+ping+role+finish+done, role+finish+done)                // nothing before the first event
	f(role+finish, role+finish+done)                               // the mark is supplied
	f(role+finish+used+ping, role+finish+used+ping+done)           // behind all that came
	f(role+word+finish+done+"data: {}\n\n", role+word+finish+done) // nothing follows it
	f(role+word+done, role+word+done)                              // the mark alone is enough
}

func TestStreamsThatAreNotWhole(t *testing.T) {
	f := func(body, want string, status int, code string, fault pipeline.Fault) {
		t.Helper()
		got, err := streamed(t, pipeline.OpChat, streamBody, body, nil)
		if err == nil {
			t.Fatalf("%q: a clean end after %q", body, got)
		}
		if e := problemOf(t, err); got != want || e.Status != status || e.Code != code || e.Fault != fault {
			t.Fatalf("%q\ngot  %q, %+v\nwant %q", body, got, e, want)
		}
	}
	up := pipeline.UpstreamFault
	f("", "", 502, "upstream_error", up)
	f(ping, "", 502, "upstream_error", up)
	f(done, "", 502, "upstream_error", up)
	f("data:\n\n", "", 502, "upstream_error", up)
	f(role+word, role+word, 502, "upstream_cut", up)
	f(role+word[:20], role, 502, "upstream_cut", up)
	f(role+finish+word[:20], role+finish, 502, "upstream_cut", up)
	f(role+"data: {\"cut\n\n"+finish+done, role, 502, "upstream_protocol", up)
	f("data: <html>\n\n", "", 502, "upstream_protocol", up)
	f(role+"data: "+strings.Repeat("x", 100<<10), role, 502, "upstream_too_large", up)

	// An error of the transport stays what it is, whatever came before.
	late := &pipeline.Error{Status: 504, Code: "upstream_timeout"}
	for _, body := range []string{"", role, role + finish} {
		if got, err := streamed(t, pipeline.OpChat, streamBody, body, late); got != body || err != error(late) {
			t.Fatalf("%q: %q, %v", body, got, err)
		}
	}
	// But after the mark nobody reads on.
	if got, err := streamed(t, pipeline.OpChat, streamBody, role+finish+done, late); got != role+finish+done || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestEveryChoiceMustFinish(t *testing.T) {
	ends := func(index string) string { return strings.Replace(finish, `"index":0`, `"index":`+index, 1) }
	f := func(op pipeline.Operation, request, body string, whole bool) {
		t.Helper()
		got, err := streamed(t, op, request, body, nil)
		if want := body; whole && (err != nil || got != want+done) || !whole && (err == nil || got != want) {
			t.Errorf("%s: got %q, %v; whole: %v", request, got, err, whole)
		}
	}
	const two = `{"model":"m","n":2,"messages":[],"stream":true}`
	f(pipeline.OpChat, two, role+finish+ends("1"), true)
	f(pipeline.OpChat, two, role+ends("1")+ends("0"), true)
	f(pipeline.OpChat, two, role+`data: {"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":"length"}]}`+"\n\n", true)
	f(pipeline.OpChat, two, role+finish, false)
	f(pipeline.OpChat, two, role+finish+finish, false) // said twice
	f(pipeline.OpChat, two, role+ends("1")+`data: {"choices":[{"index":1,"finish_reason":"stop"}],"usage":{}}`+"\n\n", false)
	f(pipeline.OpChat, `{"model":"m","messages":[],"stream":true}`, role+finish, true)
	f(pipeline.OpChat, `{"model":"m","n":"x","messages":[],"stream":true}`, role+finish, true)

	// One for each prompt, and each of these n times.
	for prompt, count := range map[string]int{`"a"`: 1, `["a","b"]`: 2, `[[1,2],[3],[4]]`: 3, `[1,2,3]`: 1, `[]`: 1} {
		for n := 1; n <= 2; n++ {
			request := fmt.Sprintf(`{"model":"m","prompt":%s,"n":%d,"stream":true}`, prompt, n)
			body := role
			for i := range count * n {
				f(pipeline.OpCompletions, request, body, false)
				body += ends(fmt.Sprint(i))
			}
			f(pipeline.OpCompletions, request, body, true)
		}
	}
}

func TestErrorsInStreams(t *testing.T) {
	f := func(event string, status int, fault pipeline.Fault, want string) {
		t.Helper()
		for _, before := range []string{"", ping, role, role + word} {
			got, err := streamed(t, pipeline.OpChat, streamBody, before+event+done, nil)
			if err == nil {
				t.Fatalf("%q: a clean end after %q", event, got)
			}
			e := problemOf(t, err)
			if got != strings.TrimPrefix(before, ping) || e.Status != status || e.Fault != fault || string(e.Body) != want {
				t.Fatalf("%q after %q: got %q, status %d, fault %v\ngot  %s\nwant %s", event, before, got, e.Status, e.Fault, e.Body, want)
			}
		}
	}
	data := func(s string) string { return "data: " + s + "\n\n" }
	say := func(message, rest string) string { return `{"error":{"message":"` + message + `",` + rest + `}}` }
	up, over, caller := pipeline.UpstreamFault, pipeline.OverloadFault, pipeline.CallerFault
	f(data(`{"error": {"message": "litellm.APIConnectionError: x", "type": null, "param": null, "code": "500"}}`), 502, up,
		say("litellm.APIConnectionError: x", `"type":"server_error","param":null,"code":"500"`))
	f(data(`{"error":{"message":"slow","type":"rate_limit_error","param":null,"code":429}}`), 429, over, say("slow", `"type":"rate_limit_error","param":null,"code":429`))
	f(data(`{"error":{"message":"slow","code":"rate_limit_exceeded"}}`), 429, over, say("slow", `"type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"`))
	f(data(`{"id":"x","choices":[],"error":{"message":"busy","type":"overloaded_error"}}`), 503, over, say("busy", `"type":"overloaded_error","param":null,"code":null`))
	f(data(`{"error":{"message":"long","code":"context_length_exceeded"}}`), 400, caller, say("long", `"type":"invalid_request_error","param":null,"code":"context_length_exceeded"`))
	f(data(`{"error":{"message":"no","code":"content_filter"}}`), 400, pipeline.PolicyFault, say("no", `"type":"invalid_request_error","param":null,"code":"content_filter"`))
	f(data(`{"error":{"message":"late","code":504}}`), 504, pipeline.TimeoutFault, say("late", `"type":"server_error","param":null,"code":504`))
	f(data(`{"error":"text"}`), 502, up, say("text", `"type":"server_error","param":null,"code":null`))
	f("event: error\n"+data(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), 503, over, say("Overloaded", `"type":"overloaded_error","param":null,"code":null`))
	f("event: error\n"+data(`{"status":"bad"}`), 502, up, say("the upstream reported an error", `"type":"server_error","param":null,"code":null`))

	// What only looks like one.
	for _, fine := range []string{`{"id":"c","error":null,"choices":[]}`, `{"choices":[{"delta":{"content":"error"}}],"meta":{"error":"x"}}`} {
		if got, err := streamed(t, pipeline.OpChat, streamBody, data(fine)+done, nil); err != nil || got != data(fine)+done {
			t.Fatalf("%s: %q, %v", fine, got, err)
		}
	}
}

// An event that tells of an error and cannot be held back shows no key.
func TestSecretsInEvents(t *testing.T) {
	ev := func(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }
	f := func(op pipeline.Operation, first, last string) {
		t.Helper()
		const secret = "sk-very-secret-key"
		c := settings("http://h/v1")
		c.Key = secret
		tr := &transport{header: events200, pieces: []string{first + last[:len(last)/2], last[len(last)/2:]}}
		a := ask(t, tr.onto(build(t, c)), exchange(op, `{"model":"m","input":"x","stream":true}`))
		if want := first + strings.ReplaceAll(last, secret, strings.Repeat("*", len(secret))); a.err != nil || a.body != want {
			t.Errorf("got %q, %v; want %q", a.body, a.err, want)
		}
	}
	f(pipeline.OpResponses, ev("response.created", `{"type":"response.created","response":{"error":null}}`),
		ev("response.failed", `{"type":"response.failed","response":{"error":{"code":"server_error","message":"bad key sk-very-secret-key, sk-very-secret-key"}}}`))
	f(pipeline.OpOther, ev("message_start", `{}`), ev("error", `{"type":"error","error":{"type":"api_error","message":"bad key sk-very-secret-key"}}`))
	f(pipeline.OpOther, ev("message_start", `{}`), ev("error", `no JSON, but sk-very-secret-key`))
}

func TestStreamedResponses(t *testing.T) {
	const request = `{"model":"m","input":"x","stream":true}`
	ev := func(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }
	created := ev("response.created", `{"type":"response.created","response":{"error":null},"sequence_number":0}`)
	delta := ev("response.output_text.delta", `{"type":"response.output_text.delta","delta":"\"response.completed\""}`)
	f := func(body, want, code string) {
		t.Helper()
		got, err := streamed(t, pipeline.OpResponses, request, body, nil)
		if got != want || (code == "") != (err == nil) || err != nil && problemOf(t, err).Code != code {
			t.Fatalf("%q\ngot  %q, %v\nwant %q", body, got, err, want)
		}
	}
	for _, end := range []string{"completed", "failed", "incomplete"} {
		last := ev("response."+end, `{"type":"response.`+end+`","response":{"error":{"code":"server_error","message":"x"}}}`)
		f(created+delta+last, created+delta+last, "")
		f(created+delta+last+done, created+delta+last, "") // LiteLLM sends the mark of the other interface
		unnamed := `data: {"type":"response.` + end + `"}` + "\n\n"
		f(created+unnamed, created+unnamed, "")
	}
	f(created+delta, created+delta, "upstream_cut")
	failed := ev("response.failed", `{"type":"response.failed","response":{"error":null}}`)
	for _, data := range []string{
		`{"type":"error","code":"server_error","message":"x","param":null,"sequence_number":3}`,
		`{"type":"error","error":{"code":"server_error","message":"x"},"sequence_number":3}`,
	} {
		for _, tells := range []string{ev("error", data), "data: " + data + "\n\n"} {
			f(created+tells, created+tells, "")
			f(created+tells+failed, created+tells+failed, "")
			f(tells, "", "upstream_error")
		}
	}
	f(created+`data: {"error":{"message":"x"}}`+"\n\n", created, "upstream_error")
	f("", "", "upstream_error")
}

// An error that quotes the gateway's key is not passed on as it came.
func TestStreamedResponsesHoldNoSecret(t *testing.T) {
	c := settings("http://h/v1")
	c.Key = "sk-canary"
	tr := &transport{header: events200, pieces: []string{role, `data: {"type":"error","message":"no such key: sk-canary"}` + "\n\n"}}
	a := ask(t, tr.onto(build(t, c)), exchange(pipeline.OpResponses, `{"model":"m","stream":true}`))
	if e := problemOf(t, a.err); a.body != role || strings.Contains(string(e.Body), "canary") {
		t.Fatalf("%q, %s", a.body, e.Body)
	}
}

// A stream of an interface that is not known may be empty.
func TestForeignStreams(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		if got, err := streamed(t, pipeline.OpOther, "", body, nil); err != nil || got != want {
			t.Fatalf("%q: got %q, %v", body, got, err)
		}
	}
	f("", "")
	f(ping, "")
	f("data: {not JSON\n\n", "data: {not JSON\n\n")
	f("event: a\ndata: b\n\n"+ping, "event: a\ndata: b\n\n"+ping)
}

func TestInvalidEventsCanPass(t *testing.T) {
	c := settings("http://h/v1")
	c.InvalidEvents = pass
	body := role + "data: {\"broken\n\n" + finish + done
	tr := &transport{header: events200, pieces: []string{body}}
	if a := ask(t, tr.onto(build(t, c)), exchange(pipeline.OpChat, streamBody)); a.err != nil || a.body != body {
		t.Fatalf("%q, %v", a.body, a.err)
	}
}

// An answer in one piece to a request for a stream becomes one, as the official client
// reads it; an error stays an error.
func TestJSONToAStreamRequest(t *testing.T) {
	f := func(op pipeline.Operation, request, header, body string, status int, want string) {
		t.Helper()
		tr := &transport{header: header + "\nContent-Type: application/json\nContent-Length: " + fmt.Sprint(len(body)), pieces: []string{body}}
		a := ask(t, tr.onto(build(t, settings("http://h/v1"))), exchange(op, request))
		if a.err != nil || a.status != status || a.frames != 1 || a.body != want {
			t.Errorf("status %d, %v\ngot  %q\nwant %q", a.status, a.err, a.body, want)
		}
		if events := strings.HasPrefix(string(a.header.ContentType()), "text/event-stream"); events != (status == 200) || events && a.header.ContentLength() >= 0 {
			t.Errorf("%s", a.header.Header())
		}
	}
	const counted = `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`
	f(pipeline.OpChat, streamBody, "200", `{"id":"c","object":"chat.completion","choices":[]}`, 200, `data: {"id":"c","object":"chat.completion.chunk","choices":[]}`+"\n\n"+done)
	answer := `{"id":"c", "object":"chat.completion","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":"a\nb","tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{}"}},{"index":7,"id":"y"}]},"logprobs":null,"finish_reason":"tool_calls"},{"index":1,"message":{"role":"assistant","content":"c"},"finish_reason":"stop"}],"usage":{"total_tokens":3},"x":[1]}`
	chunk := `data: {"id":"c","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":"a\nb","tool_calls":[{"index":0,"id":"x","type":"function","function":{"name":"f","arguments":"{}"}},{"index":1,"id":"y"}]},"logprobs":null,"finish_reason":"tool_calls"},{"index":1,"delta":{"role":"assistant","content":"c"},"finish_reason":"stop"}],"x":[1]}` + "\n\n"
	f(pipeline.OpChat, streamBody, "200", answer, 200, chunk+done)
	f(pipeline.OpChat, counted, "200", answer, 200, chunk+`data: {"id":"c","object":"chat.completion.chunk","created":1,"choices":[],"usage":{"total_tokens":3},"x":[1]}`+"\n\n"+done)
	f(pipeline.OpCompletions, `{"model":"m","prompt":"x","stream":true}`, "200", `{"object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":"stop"}]}`, 200,
		`data: {"object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":"stop"}]}`+"\n\n"+done)
	const slow = `{"error":{"message":"slow","type":"t","param":null,"code":null}}`
	f(pipeline.OpChat, streamBody, "429", slow, 429, slow)

	f(pipeline.OpChat, streamBody, "200", `{"choices":[{},{"message":null},{"message":{}},{"message":{"tool_calls":[]}}]}`, 200,
		`data: {"choices":[{},{"delta":{}},{"delta":{}},{"delta":{"tool_calls":[]}}]}`+"\n\n"+done)

	// What cannot be made a stream, and a stream that nobody asked for.
	g := func(op pipeline.Operation, request, kind, body string) {
		t.Helper()
		a := asked(t, op, request, "200\nContent-Type: "+kind, body)
		if e := problemOf(t, a.err); e.Status != 502 || e.Code != "upstream_protocol" || e.Fault != pipeline.UpstreamFault || a.body != "" {
			t.Errorf("%s: %q, %v", body, a.body, a.err)
		}
	}
	g(pipeline.OpChat, streamBody, "application/json", `{"a":1}`)
	g(pipeline.OpResponses, `{"model":"m","input":"x","stream":true}`, "application/json", `{"id":"r","output":[]}`)
	g(pipeline.OpChat, chatBody, "text/event-stream", role+finish+done)
	g(pipeline.OpResponses, `{"model":"m","input":"x"}`, "text/event-stream", "data: {}\n\n")
}

// asked makes one call with a body of the test's own.
func asked(t *testing.T, op pipeline.Operation, request, header, body string) answer {
	t.Helper()
	tr := &transport{header: header, pieces: []string{body}}
	return ask(t, tr.onto(build(t, settings("http://h/v1"))), exchange(op, request))
}

func TestContentTypeOfStreams(t *testing.T) {
	for _, ct := range []string{"text/event-stream", "Text/Event-Stream", "text/event-stream;charset=utf-8", "text/event-stream ; x=y"} {
		tr := &transport{header: "200\nContent-Type: " + ct, pieces: []string{role, finish, done}}
		if a := ask(t, tr.onto(build(t, settings("http://h/v1"))), exchange(pipeline.OpChat, streamBody)); a.err != nil || a.body != role+finish+done || a.header.ContentLength() >= 0 {
			t.Fatalf("%s: %q, %v", ct, a.body, a.err)
		}
	}
}

func TestCallAllocatesNothing(t *testing.T) {
	if pipetest.Race {
		t.Skip("the race detector makes pools forget")
	}
	f := func(name string, ex *pipeline.Exchange, tr *frugal) {
		t.Helper()
		defer ex.Release()
		c := settings("http://127.0.0.1:4000/v1")
		c.Key = "sk-1"
		p := build(t, c)
		p.main.transport = tr
		run := func() {
			if err := p.Call(ex.Context(), ex); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := ex.Response.Body.Next(); err != nil {
					break
				}
			}
			ex.Response.CloseBody()
		}
		run()
		if n := testing.AllocsPerRun(100, run); n > 0 {
			t.Errorf("%s costs %v allocations", name, n)
		}
	}
	headers := func(ex *pipeline.Exchange) *pipeline.Exchange {
		for _, n := range []string{"Accept", "User-Agent", "X-Stainless-Lang", "X-Stainless-Os", "X-Request-Id", "Authorization", "Accept-Encoding"} {
			ex.Request.Header.Set(n, "some value")
		}
		return ex
	}
	json := []byte(`{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`)
	f("a call", headers(exchange(pipeline.OpChat, chatBody)), &frugal{kind: "application/json", pieces: [][]byte{json[:20], json[20:]}})
	named := headers(exchange(pipeline.OpChat, chatBody))
	named.Target = &pipeline.Target{Model: "gpt-4o"}
	f("a call with another model name", named, &frugal{kind: "application/json", pieces: [][]byte{json}})
	f("a stream", headers(exchange(pipeline.OpChat, streamBody)), &frugal{kind: "text/event-stream", pieces: [][]byte{[]byte(role), []byte(word + word), []byte(finish + done)}})
}

// frugal is a transport that allocates nothing.
type frugal struct {
	kind   string
	pieces [][]byte
	at     int
}

func (q *frugal) RoundTrip(_ context.Context, _ *pipeline.Request, resp *pipeline.Response) error {
	resp.Header.Reset()
	resp.Header.SetStatusCode(200)
	resp.Header.SetContentType(q.kind)
	resp.Header.Set("Server", "x")
	resp.Header.Set("X-Ratelimit-Remaining-Requests", "9")
	resp.Header.SetContentLength(-1)
	q.at = 0
	resp.Body = q
	return nil
}

func (q *frugal) Next() ([]byte, error) {
	if q.at == len(q.pieces) {
		return nil, io.EOF
	}
	q.at++
	return q.pieces[q.at-1], nil
}

func (q *frugal) Close() error { return nil }

// However an upstream's bytes fall, a clean end means that the answer was whole.
func FuzzStream(f *testing.F) {
	f.Add(role+word+finish+done, 3)
	f.Add(role+"data: {\"error\":{}}\n\n", 1)
	f.Add(ping+finish, 100)
	f.Add("data: 1\ndata: 2\r\n\r\ndata: [DONE]", 2)
	f.Fuzz(func(t *testing.T, body string, size int) {
		size = 1 + (size&0x7fffffff)%256
		tr := &transport{header: events200}
		for rest := body; len(rest) > 0; {
			n := min(size, len(rest))
			tr.pieces = append(tr.pieces, rest[:n])
			rest = rest[n:]
		}
		a := ask(t, tr.onto(build(t, settings("http://h/v1"))), exchange(pipeline.OpChat, streamBody))
		if a.err == nil && !strings.Contains(a.body, "[DONE]") {
			t.Fatalf("%q ends cleanly with %q", body, a.body)
		}
		if _, ok := errors.AsType[*pipeline.Error](a.err); a.err != nil && !ok {
			t.Fatalf("%q: %v", body, a.err)
		}
	})
}
