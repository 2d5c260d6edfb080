package offline

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

// quick answers at once.
var quick = Config{Models: []string{"offline", "org/large"}, MaxWords: 200, Dimensions: 384}

func build(t testing.TB, c Config) pipeline.Provider {
	t.Helper()
	p, err := c.Build(context.Background(), config.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// paths are the operations' own.
var paths = map[pipeline.Operation]string{
	pipeline.OpChat:        "/v1/chat/completions",
	pipeline.OpCompletions: "/v1/completions",
	pipeline.OpEmbeddings:  "/v1/embeddings",
	pipeline.OpResponses:   "/v1/responses",
	pipeline.OpRerank:      "/v1/rerank",
}

func exchange(op pipeline.Operation, body string) *pipeline.Exchange {
	ex := pipeline.Acquire(context.Background())
	ex.Op = op
	ex.Request.Header.SetMethod("POST")
	ex.Request.Header.SetRequestURI(paths[op])
	ex.Request.Body = []byte(body)
	return ex
}

// An answer is what a client would have received.
type answer struct {
	status int
	kind   string
	fault  pipeline.Fault
	frames []string
	err    error // of the stream
}

func (a answer) body() string { return strings.Join(a.frames, "") }

func receive(t testing.TB, p pipeline.Provider, ex *pipeline.Exchange) answer {
	t.Helper()
	defer ex.Release()
	if err := p.Call(ex.Context(), ex); err != nil {
		t.Fatalf("call: %v", err)
	}
	a := answer{status: ex.Response.Header.StatusCode(), kind: string(ex.Response.Header.ContentType()), fault: ex.Response.Fault}
	for {
		frame, err := ex.Response.Body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			a.err = err
			break
		}
		a.frames = append(a.frames, string(frame))
	}
	if n := ex.Response.Header.ContentLength(); n >= 0 && n != len(a.body()) {
		t.Fatalf("content length %d, but the body has %d bytes", n, len(a.body()))
	}
	return a
}

func post(t testing.TB, op pipeline.Operation, body string) answer {
	t.Helper()
	return receive(t, build(t, quick), exchange(op, body))
}

// decode reads JSON into T and fails if it is none.
func decode[T any](t testing.TB, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, body)
	}
	return v
}

// data are the data of a stream's events.
func data(t testing.TB, body string) []string {
	t.Helper()
	var out []string
	for event := range strings.SplitSeq(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		for line := range strings.SplitSeq(event, "\n") {
			if d, ok := strings.CutPrefix(line, "data: "); ok {
				out = append(out, d)
			} else if !strings.HasPrefix(line, "event: ") {
				t.Fatalf("line %q in a stream", line)
			}
		}
	}
	return out
}

// failure is an error answer.
type failure struct {
	Error struct {
		Message, Type string
		Param, Code   *string
	}
}

func TestRefusals(t *testing.T) {
	f := func(op pipeline.Operation, body string, status int, param, code string) {
		t.Helper()
		a := post(t, op, body)
		e := decode[failure](t, a.body()).Error
		got := ""
		if e.Param != nil {
			got = *e.Param
		}
		if a.status != status || got != param || e.Code == nil || *e.Code != code || e.Message == "" || e.Type != "invalid_request_error" {
			t.Fatalf("%s: status %d, %s", body, a.status, a.body())
		}
		if a.fault != pipeline.CallerFault {
			t.Fatalf("%s: fault %v", body, a.fault)
		}
	}
	chat := pipeline.OpChat
	f(chat, `{"model":"m"}`, 400, "messages", "missing_required_parameter")
	f(chat, `{"model":"m","messages":[]}`, 400, "messages", "empty_array")
	f(chat, `{"model":"m","messages":"hello"}`, 400, "messages", "invalid_value")
	f(chat, `{"model":"m","messages":[7]}`, 400, "messages", "invalid_value")
	f(chat, `{"model":"m","messages":[{"role":"user","content":"a"},{"content":"b"}]}`, 400, "messages[1].role", "missing_required_parameter")
	f(chat, `{"model":"m","messages":[{"role":"user","content":"a"}],"n":0}`, 400, "n", "invalid_value")
	f(chat, `{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":0}`, 400, "max_tokens", "invalid_value")
	f(chat, `{"model":"m","messages":[{"role":"user","content":"a"}],"stream_options":{"include_usage":true}}`, 400, "stream_options", "invalid_value")
	f(chat, `{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{}}]}`, 400, "tools[0].function.name", "missing_required_parameter")
	f(chat, `{"model":"m","messages":[{"role":"user","content":"a"}],"tool_choice":{"type":"function","function":{"name":"f"}}}`, 400, "tool_choice", "invalid_value")
	f(chat, `{"model":`, 400, "", "invalid_json")
	f(chat, `{"model":"m","messages":[{"role":"robot","content":"a"}]}`, 400, "messages[0].role", "invalid_value")
	f(chat, `{"model":"m","messages":[{"role":1,"content":"a"}]}`, 400, "messages[0].role", "invalid_value")
	f(chat, `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"user","content":{}}]}`, 400, "messages[1].content", "invalid_value")
	f(chat, `{"model":"m","messages":[{"role":"user","content":"a"}],"stop":["a",1]}`, 400, "stop", "invalid_value")
	wrong := func(op pipeline.Operation, body, param string, values ...string) {
		t.Helper()
		for _, v := range values {
			f(op, body+`,"`+param+`":`+v+`}`, 400, param, "invalid_value")
		}
	}
	for op, body := range map[pipeline.Operation]string{
		chat:                   `{"model":"m","messages":[{"role":"user","content":"a"}]`,
		pipeline.OpCompletions: `{"model":"m","prompt":"a"`,
		pipeline.OpResponses:   `{"model":"m","input":"a"`,
	} {
		wrong(op, body, "temperature", `"x"`, "-1", "2.1", "1e400", "true", "[1]", "{}")
		wrong(op, body, "top_p", `"x"`, "-0.1", "1.1", "false")
		wrong(op, body, "user", "1", "{}")
		if op != pipeline.OpResponses {
			wrong(op, body, "presence_penalty", `"x"`, "-2.1", "3")
			wrong(op, body, "frequency_penalty", `"x"`, "-2.1", "3")
			wrong(op, body, "logit_bias", `"x"`, "[]", `{"1":"x"}`, `{"1":0,"2":101}`, `{"1":null}`)
		}
		if op != pipeline.OpCompletions {
			wrong(op, body, "tools", `"x"`, "{}", "1")
			wrong(op, body, "tool_choice", "1", "[]", "true")
			wrong(op, body, "parallel_tool_calls", `"x"`, "1")
			wrong(op, body, "metadata", `"x"`, "[]")
			wrong(op, body, "top_logprobs", "21", "-1", `"x"`)
		}
	}
	wrong(chat, `{"model":"m","messages":[{"role":"user","content":"a"}]`, "logprobs", "1", `"x"`)
	wrong(pipeline.OpCompletions, `{"model":"m","prompt":"a"`, "logprobs", "6", "-1", "true")
	wrong(chat, `{"model":"m","messages":[{"role":"user","content":"a"}]`, "response_format", "1", `"x"`, "[]")
	wrong(chat, `{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]`, "stream_options", "1", `"x"`, "[]")
	// What is inside of a parameter counts too.
	inside := func(op pipeline.Operation, more, param, code string) {
		t.Helper()
		f(op, map[pipeline.Operation]string{
			chat:                   `{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}],`,
			pipeline.OpResponses:   `{"model":"m","stream":true,"input":"a",`,
			pipeline.OpEmbeddings:  `{"model":"m",`,
			pipeline.OpRerank:      `{"model":"m","query":"q","documents":["d"],`,
			pipeline.OpCompletions: `{"model":"m","stream":true,"prompt":"a",`,
		}[op]+more+"}", 400, param, code)
	}
	for _, op := range []pipeline.Operation{chat, pipeline.OpResponses} {
		inside(op, `"tool_choice":"any"`, "tool_choice", "invalid_value")
		inside(op, `"tool_choice":{}`, "tool_choice.type", "missing_required_parameter")
		inside(op, `"tools":[5]`, "tools[0]", "invalid_value")
		inside(op, `"tools":[{"name":"f","function":{"name":"f"}}]`, "tools[0].type", "missing_required_parameter")
		inside(op, `"metadata":{"a":"b","c":1}`, "metadata", "invalid_value")
	}
	for _, op := range []pipeline.Operation{chat, pipeline.OpCompletions} {
		inside(op, `"stream_options":{"include_usage":"true"}`, "stream_options.include_usage", "invalid_value")
		inside(op, `"stream_options":{"include_obfuscation":1}`, "stream_options.include_obfuscation", "invalid_value")
	}
	inside(chat, `"tools":[{"type":"function","function":{"name":"f","parameters":"{}"}}]`, "tools[0].function.parameters", "invalid_value")
	inside(pipeline.OpResponses, `"tools":[{"type":"web_search"},{"type":"function","name":"f","parameters":[]}]`, "tools[1].parameters", "invalid_value")
	inside(chat, `"tools":[{"type":"custom","custom":{}}]`, "tools[0].custom.name", "missing_required_parameter")
	inside(pipeline.OpResponses, `"tools":[{"type":"shell"},{"type":"function"}]`, "tools[1].name", "missing_required_parameter")
	inside(pipeline.OpResponses, `"tools":[{"type":"custom","name":1}]`, "tools[0].name", "missing_required_parameter")
	for _, op := range []pipeline.Operation{chat, pipeline.OpResponses} {
		inside(op, `"moderation":{}`, "moderation.model", "missing_required_parameter")
		inside(op, `"moderation":{"model":1}`, "moderation.model", "invalid_value")
		inside(op, `"prompt_cache_options":{"prewarm":1}`, "prompt_cache_options.prewarm", "invalid_value")
	}
	inside(chat, `"audio":{"format":"wav"}`, "audio.voice", "missing_required_parameter")
	inside(chat, `"audio":{"format":"wav","voice":[]}`, "audio.voice", "invalid_value")
	inside(chat, `"prediction":{"type":"content"}`, "prediction.content", "missing_required_parameter")
	inside(pipeline.OpResponses, `"prompt":{"id":1}`, "prompt.id", "invalid_value")
	inside(pipeline.OpResponses, `"prompt":{}`, "prompt.id", "missing_required_parameter")
	inside(pipeline.OpResponses, `"reasoning":{"mode":1}`, "reasoning.mode", "invalid_value")
	inside(pipeline.OpResponses, `"context_management":[{"type":"compaction"},5]`, "context_management[1].type", "missing_required_parameter")
	inside(pipeline.OpResponses, `"stream_options":{"include_obfuscation":1}`, "stream_options.include_obfuscation", "invalid_value")
	inside(chat, `"modalities":["text","smell"]`, "modalities[1]", "invalid_value")
	inside(chat, `"modalities":[["text"]]`, "modalities[0]", "invalid_value")
	inside(chat, `"prediction":{"type":7}`, "prediction.type", "invalid_value")
	inside(pipeline.OpResponses, `"include":[null]`, "include[0]", "invalid_value")
	for _, id := range []string{"", "resp_", "resp_1", "resp_00000000000000000", "resp_0123456789abcdeg", strings.Repeat("é", 999)} {
		inside(pipeline.OpResponses, `"previous_response_id":"`+id+`"`, "previous_response_id", "previous_response_not_found")
	}
	inside(chat, `"response_format":{}`, "response_format.type", "missing_required_parameter")
	inside(chat, `"response_format":{"type":"xml"}`, "response_format.type", "invalid_value")
	inside(chat, `"response_format":{"type":"json_schema"}`, "response_format.json_schema", "missing_required_parameter")
	inside(chat, `"response_format":{"type":"json_schema","json_schema":"x"}`, "response_format.json_schema", "invalid_value")
	inside(pipeline.OpResponses, `"text":{"format":{"type":"json_schema","name":"x"}}`, "text.format.schema", "missing_required_parameter")
	inside(pipeline.OpResponses, `"text":{"format":{"type":1}}`, "text.format.type", "invalid_value")
	for op, head := range map[pipeline.Operation]string{
		chat:                 `{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"},`,
		pipeline.OpResponses: `{"model":"m","input":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"input_text","text":"a"},`,
	} {
		at := map[pipeline.Operation]string{chat: "messages", pipeline.OpResponses: "input"}[op] + "[1].content[1]"
		f(op, head+`"b"]}]}`, 400, at, "invalid_value")
		f(op, head+`{"text":"b"}]}]}`, 400, at+".type", "missing_required_parameter")
		f(op, head+`{"type":"text","text":1}]}]}`, 400, at+".text", "invalid_value")
		f(op, head+`{"type":"text"}]}]}`, 400, at+".text", "missing_required_parameter")
	}
	for _, v := range []string{`[1,-1]`, `[[1,2],[3,1.5]]`, `[["a"]]`, `[[1],[-2]]`, `[[true]]`} {
		inside(pipeline.OpEmbeddings, `"input":`+v, "input", "invalid_value")
	}
	for _, v := range []string{`1`, `{}`, `true`, `["a",1]`, `[1,"a"]`, `[1.5]`, `[-1]`, `[[1],2]`, `[[1],["a"]]`, `[null]`, `[{}]`} {
		f(pipeline.OpCompletions, `{"model":"m","prompt":`+v+`}`, 400, "prompt", "invalid_value")
	}
	inside(pipeline.OpRerank, `"return_documents":"yes"`, "return_documents", "invalid_value")
	inside(pipeline.OpRerank, `"max_tokens_per_doc":"9"`, "max_tokens_per_doc", "invalid_value")
	inside(pipeline.OpRerank, `"rank_fields":"text"`, "rank_fields", "invalid_value")
	f(pipeline.OpCompletions, `{"model":"m"}`, 400, "prompt", "missing_required_parameter")
	f(pipeline.OpEmbeddings, `{"model":"m"}`, 400, "input", "missing_required_parameter")
	f(pipeline.OpEmbeddings, `{"model":"m","input":""}`, 400, "input", "invalid_value")
	f(pipeline.OpEmbeddings, `{"model":"m","input":[]}`, 400, "input", "invalid_value")
	f(pipeline.OpEmbeddings, `{"model":"m","input":["a",1]}`, 400, "input", "invalid_value")
	f(pipeline.OpEmbeddings, `{"model":"m","input":[`+strings.Repeat(`"a",`, 2048)+`"a"]}`, 400, "input", "invalid_value")
	f(pipeline.OpEmbeddings, `{"model":"m","input":"a","dimensions":0}`, 400, "dimensions", "invalid_value")
	f(pipeline.OpEmbeddings, `{"model":"m","input":"a","encoding_format":"hex"}`, 400, "encoding_format", "invalid_value")
	f(pipeline.OpResponses, `{"model":"m","input":null}`, 400, "input", "missing_required_parameter")
	f(pipeline.OpResponses, `{"model":"m"}`, 400, "input", "missing_required_parameter")
	f(pipeline.OpRerank, `{"model":"m","query":"q"}`, 400, "documents", "missing_required_parameter")
	f(pipeline.OpRerank, `{"model":"m","documents":["d"]}`, 400, "query", "missing_required_parameter")
	f(pipeline.OpRerank, `{"model":"m","query":"q","documents":[]}`, 400, "documents", "invalid_value")
}

// TestParametersThatFit needs what OpenAI's API takes to be taken, null for everything
// among it.
func TestParametersThatFit(t *testing.T) {
	var nulls strings.Builder
	for _, list := range shapes[pipeline.OpChat] {
		for _, s := range list {
			nulls.WriteString(`,"` + s.param + `":null`)
		}
	}
	for _, more := range []string{
		nulls.String(), `,"temperature":0,"top_p":1,"presence_penalty":-2,"frequency_penalty":2.0,"logit_bias":{"50256":-100},"user":""`,
		`,"tools":[],"tool_choice":"auto","parallel_tool_calls":false,"metadata":{},"store":true,"logprobs":true,"top_logprobs":20,"response_format":{"type":"text"},"stop":["a"]`,
		`,"temperature":2e0,"x_mine":[1]`,
		`,"tools":[{"type":"function","function":{"name":"f","parameters":null}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}},"metadata":{"a":"b"}`,
		`,"stream":true,"stream_options":{"include_usage":null},"response_format":{"type":"json_schema","json_schema":{"name":"x"}}`,
		`,"modalities":["text","audio"],"audio":{"voice":"alloy","format":"wav"},"function_call":{"name":"f"},"prediction":{"type":"content","content":""},"web_search_options":{}`,
		`,"modalities":[],"reasoning_effort":"m\u0061x","service_tier":"priority","prompt_cache_options":{"mode":null}`,
	} {
		if a := post(t, pipeline.OpChat, `{"model":"m","messages":[{"role":"developer","content":null},{"role":"user","content":[{"type":"text","text":"a"}]}]`+more+`}`); a.status != 200 {
			t.Errorf("%s: %s", more, a.body())
		}
	}
	for _, prompt := range []string{`null`, `""`, `[""]`, `["a","b"]`, `[1,2]`, `[[1],[2,3]]`, `[]`} {
		if a := post(t, pipeline.OpCompletions, `{"model":"m","prompt":`+prompt+`,"logit_bias":{"1":-1e2}}`); a.status != 200 {
			t.Errorf("%s: %s", prompt, a.body())
		}
	}
	for _, more := range []string{`"prompt":{"id":"pmpt_1"}`, `"model":"m","conversation":"conv_1"`, `"input":null,"prompt":{"id":"pmpt_1","version":null}`, `"previous_response_id":"resp_0123456789abcdef"`} {
		if a := post(t, pipeline.OpResponses, "{"+more+"}"); a.status != 200 {
			t.Errorf("%s: %s", more, a.body())
		}
	}
	var first struct{ ID string }
	if err := json.Unmarshal([]byte(post(t, pipeline.OpResponses, `{"model":"m","input":"a"}`).body()), &first); err != nil {
		t.Fatal(err)
	}
	if a := post(t, pipeline.OpResponses, `{"model":"m","input":"b","previous_response_id":"`+first.ID+`"}`); a.status != 200 || !strings.Contains(a.body(), `"previous_response_id":"`+first.ID+`"`) {
		t.Errorf("%s: %s", first.ID, a.body())
	}
}

func TestUnknownPath(t *testing.T) {
	ex := exchange(pipeline.OpOther, "")
	ex.Request.Header.SetRequestURI("/v1/files?limit=1")
	a := receive(t, build(t, quick), ex)
	e := decode[failure](t, a.body()).Error
	if a.status != 404 || *e.Code != "unknown_url" || e.Param != nil || !strings.Contains(e.Message, "POST /v1/files.") {
		t.Fatalf("status %d: %s", a.status, a.body())
	}
}

// TestWrongMethod needs a path that is known to say what it is for.
func TestWrongMethod(t *testing.T) {
	f := func(method, path, allow string) {
		t.Helper()
		ex := exchange(pipeline.OpOther, "")
		ex.Request.Header.SetMethod(method)
		ex.Request.Header.SetRequestURI(path)
		p := build(t, quick)
		if err := p.Call(ex.Context(), ex); err != nil {
			t.Fatal(err)
		}
		if h := &ex.Response.Header; h.StatusCode() != 405 || string(h.Peek("Allow")) != allow {
			t.Errorf("%s %s: %d, Allow %q", method, path, h.StatusCode(), h.Peek("Allow"))
		}
		ex.Release()
	}
	f("GET", "/v1/chat/completions?limit=1", "POST")
	f("PUT", "/v1/embeddings", "POST")
	f("POST", "/v1/models", "GET, HEAD")
}

func TestModels(t *testing.T) {
	f := func(path string, status int, holds string) {
		t.Helper()
		ex := exchange(pipeline.OpModels, "")
		ex.Request.Header.SetMethod("GET")
		ex.Request.Header.SetRequestURI(path)
		a := receive(t, build(t, quick), ex)
		decode[any](t, a.body())
		if a.status != status || !strings.Contains(a.body(), holds) {
			t.Fatalf("%s: status %d, %s", path, a.status, a.body())
		}
	}
	f("/v1/models", 200, `"data":[{"id":"offline","object":"model"`)
	f("/v1/models", 200, `{"id":"org/large"`)
	f("/v1/models/offline", 200, `{"id":"offline","object":"model"`)
	f("/v1/models/org%2Flarge", 200, `{"id":"org/large"`)
	f("/v1/models/nope", 404, `"code":"model_not_found"`)
}

const hello = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`

func TestSameRequestSameAnswer(t *testing.T) {
	p := build(t, quick)
	one := receive(t, p, exchange(pipeline.OpChat, hello)).body()
	if two := receive(t, p, exchange(pipeline.OpChat, hello)).body(); one != two {
		t.Fatalf("%s\n%s", one, two)
	}
	id := func(s string) any { return decode[map[string]any](t, s)["id"] }
	if other := receive(t, p, exchange(pipeline.OpChat, strings.Replace(hello, "hello", "hullo", 1))).body(); id(one) == id(other) {
		t.Fatalf("another request has the same id: %s", other)
	}
}

// The latency of a call is measured on a clock that stands still while anybody
// works.
func timed(t *testing.T, p pipeline.Provider) time.Duration {
	t.Helper()
	began := time.Now()
	receive(t, p, exchange(pipeline.OpChat, hello))
	return time.Since(began)
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := quick
		c.Latency, c.Slow, c.SlowShare = 20*time.Millisecond, 400*time.Millisecond, 0.05
		p := build(t, c)
		slow := 0
		for range 1000 {
			switch d := timed(t, p); d {
			case c.Slow:
				slow++
			case c.Latency:
			default:
				t.Fatalf("an answer took %v", d)
			}
		}
		if slow < 30 || slow > 70 {
			t.Fatalf("%d of 1000 answers were slow", slow)
		}
	})
}

func TestErrorShare(t *testing.T) {
	c := quick
	c.ErrorShare = 0.1
	run := func() (failed string) {
		p := build(t, c)
		for range 400 {
			a := receive(t, p, exchange(pipeline.OpChat, hello))
			if a.status == 200 {
				failed += "."
				continue
			}
			failed += "x"
			if e := decode[failure](t, a.body()).Error; a.status != 500 || e.Type != "server_error" || a.fault != pipeline.UpstreamFault {
				t.Fatalf("status %d: %s", a.status, a.body())
			}
		}
		return failed
	}
	one := run()
	if n := strings.Count(one, "x"); n < 20 || n > 60 {
		t.Fatalf("%d of 400 failed", n)
	}
	if two := run(); one != two {
		t.Fatal("with the same seed other requests failed")
	}
	c.Seed = 7
	if run() == one {
		t.Fatal("with another seed the same requests failed")
	}
}

func TestWordsArriveOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := quick
		c.Latency, c.WordDelay = 20*time.Millisecond, 10*time.Millisecond
		ex := exchange(pipeline.OpChat, strings.Replace(hello, `"model"`, `"stream":true,"model"`, 1))
		defer ex.Release()
		began := time.Now()
		if err := build(t, c).Call(ex.Context(), ex); err != nil {
			t.Fatal(err)
		}
		var at []time.Duration
		for {
			if _, err := ex.Response.Body.Next(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			at = append(at, time.Since(began)/time.Millisecond)
		}
		// "This is the offline model. You said: hello" and the end of the stream.
		want := []time.Duration{20, 30, 40, 50, 60, 70, 80, 90, 90}
		if len(at) != len(want) {
			t.Fatalf("frames at %d", at)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Fatalf("frames at %d", at)
			}
		}
	})
}

func TestEndOfContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := quick
		c.Latency, c.WordDelay = time.Hour, time.Hour
		p := build(t, c)
		f := func(ctx context.Context, want error) {
			t.Helper()
			ex := exchange(pipeline.OpChat, hello)
			defer ex.Release()
			if err := p.Call(ctx, ex); !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
		}
		scope := new(pipeline.Scope)
		time.AfterFunc(time.Second, func() { scope.Cancel(pipeline.ErrLost) })
		f(scope, pipeline.ErrLost)
		f(scope, pipeline.ErrLost) // it has ended already
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		f(ctx, context.DeadlineExceeded)

		// In the middle of a stream, and then the call is fit for reuse.
		c.Latency = 0
		p = build(t, c)
		for range 3 {
			ex := exchange(pipeline.OpChat, `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`)
			if err := p.Call(ex.Context(), ex); err != nil {
				t.Fatal(err)
			}
			if _, err := ex.Response.Body.Next(); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
			for range 2 {
				if _, err := ex.Response.Body.Next(); !errors.Is(err, pipeline.ErrClientGone) {
					t.Fatalf("got %v", err)
				}
			}
			ex.Release()
		}
	})
}

func TestChatAllocatesNothing(t *testing.T) {
	if pipetest.Race {
		t.Skip("the race detector makes pools forget")
	}
	p := build(t, quick)
	ex := exchange(pipeline.OpChat, hello)
	defer ex.Release()
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
	if n := testing.AllocsPerRun(200, run); n > 0 {
		t.Fatalf("a chat completion costs %v allocations", n)
	}
	ex.Request.Body = []byte(strings.Replace(hello, `"model"`, `"stream":true,"model"`, 1))
	run()
	if n := testing.AllocsPerRun(200, run); n > 0 {
		t.Fatalf("a streamed chat completion costs %v allocations", n)
	}
}

func BenchmarkChat(b *testing.B) {
	p := build(b, quick)
	ex := exchange(pipeline.OpChat, hello)
	defer ex.Release()
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Call(ex.Context(), ex); err != nil {
			b.Fatal(err)
		}
		_, _ = ex.Response.Body.Next()
		ex.Response.CloseBody()
	}
}
