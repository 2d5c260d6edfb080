// Package litellm runs the gateway in front of the real LiteLLM proxy.
package litellm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stub"
)

const masterKey = "sk-litellm-master"

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}

// startLiteLLM runs the proxy until the test ends and returns its base URL.
func startLiteLLM(t *testing.T, upstream *stub.Server) string {
	t.Helper()
	program := harness.Tool(t, "litellm/bin/litellm")
	config, err := filepath.Abs("config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	address := harness.FreeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	cmd := exec.Command(program, "--config", config, "--host", "127.0.0.1", "--port", port)
	cmd.Dir = t.TempDir()
	cmd.Env = append(harness.CleanEnv(),
		"LITELLM_MASTER_KEY="+masterKey,
		"STUB_URL="+upstream.URL,
		"STUB_RERANK_URL="+strings.TrimSuffix(upstream.URL, "/v1")+"/v2/rerank",
		// Nothing may be fetched: lists and prices come from the package.
		"LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS=True", "LITELLM_LOCAL_BLOG_POSTS=True",
		"LITELLM_LOCAL_POLICY_TEMPLATES=True", "LITELLM_LOCAL_AUTOROUTER_PRESETS=True", "LITELLM_TELEMETRY=False",
		"LITELLM_LOG=ERROR", "DISABLE_ADMIN_UI=True", "NO_DOCS=True",
	)
	log := &harness.Log{}
	cmd.Stdout, cmd.Stderr = log, log
	// LiteLLM may start processes of its own: the whole group is ended.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-done
		}
	})
	if err := harness.Await(done, "http://"+address+"/health/liveliness"); err != nil {
		t.Fatalf("LiteLLM does not answer: %v\n%s", err, log)
	}
	return "http://" + address + "/v1"
}

func TestLiteLLM(t *testing.T) {
	harness.Suite(t)
	upstream := stub.Start()
	t.Cleanup(upstream.Close)
	url := startLiteLLM(t, upstream)
	for _, file := range []string{"gateway.yaml", "examples/plain.yaml"} {
		t.Run(file, func(t *testing.T) {
			upstream.Reset()
			g := harness.Start(t, file, "HEADRACE_UPSTREAM="+url, "HEADRACE_UPSTREAM_KEY="+masterKey)
			suite{g, upstream}.run(t)
		})
	}
}

// A suite is what is asked of one gateway.
type suite struct {
	g        *harness.Gateway
	upstream *stub.Server
}

func (s suite) run(t *testing.T) {
	t.Run("chat", s.chat)
	t.Run("stream", s.stream)
	t.Run("tools", s.tools)
	t.Run("embeddings", s.embeddings)
	t.Run("rerank", s.rerank)
	t.Run("responses", s.responses)
	t.Run("models", s.models)
	t.Run("errors", s.errors)
	t.Run("retry after", s.retryAfter)
	t.Run("departed client", s.departed)
	t.Run("broken stream", s.broken)
	t.Run("refused here", s.refused)
}

// post sends a body and returns the answer, read whole.
func (s suite) post(t *testing.T, path, body string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Post(s.g.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", path, body, err)
	}
	return resp, string(b)
}

// want fails the test unless the answer has the status and holds every text.
func (s suite) want(t *testing.T, path, body string, status int, texts ...string) *http.Response {
	t.Helper()
	resp, got := s.post(t, path, body)
	if resp.StatusCode != status {
		t.Errorf("%s %s: status %d, want %d: %s", path, body, resp.StatusCode, status, got)
	}
	for _, text := range texts {
		if !strings.Contains(got, text) {
			t.Errorf("%s %s: no %s in %s", path, body, text, got)
		}
	}
	return resp
}

func (s suite) chat(t *testing.T) {
	resp := s.want(t, "/chat/completions", `{"model":"canned","messages":[{"role":"user","content":"hi"}]}`, 200, "This is a canned answer.")
	if resp.Header.Get("X-Request-Id") == "" {
		t.Error("an answer without x-request-id")
	}
	s.want(t, "/chat/completions", `{"model":"stub-echo","messages":[{"role":"user","content":"through both"}]}`, 200, "through both")
}

func (s suite) stream(t *testing.T) {
	for _, model := range []string{"canned", "stub-echo"} {
		resp, got := s.post(t, "/chat/completions", `{"model":"`+model+`","stream":true,"messages":[{"role":"user","content":"This is a canned answer."}]}`)
		if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
			t.Errorf("content type %q", kind)
		}
		if text := contents(t, got); text != "This is a canned answer." {
			t.Errorf("%s: the pieces give %q in %s", model, text, got)
		}
		if !strings.HasSuffix(got, "data: [DONE]\n\n") {
			t.Errorf("%s: no [DONE] at the end of %s", model, got)
		}
	}
}

// contents joins the text of a stream of chat chunks.
func contents(t *testing.T, stream string) string {
	t.Helper()
	var text strings.Builder
	for lines := bufio.NewScanner(strings.NewReader(stream)); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Errorf("not JSON: %s", data)
		}
		for _, c := range chunk.Choices {
			text.WriteString(c.Delta.Content)
		}
	}
	return text.String()
}

func (s suite) tools(t *testing.T) {
	const tools = `"messages":[{"role":"user","content":"weather"}],"tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}}]`
	for _, model := range []string{"canned-tools", "stub-tool"} {
		s.want(t, "/chat/completions", `{"model":"`+model+`",`+tools+`}`, 200, `"get_weather"`, "Paris")
	}
	// LiteLLM's own canned tool call is lost when it streams.
	s.want(t, "/chat/completions", `{"model":"stub-tool","stream":true,`+tools+`}`, 200, `"get_weather"`, `{\"ci`, `ris\"}`, "[DONE]")
}

func (s suite) embeddings(t *testing.T) {
	s.want(t, "/embeddings", `{"model":"canned-embed","input":"x"}`, 200, "0.1", "0.3")
	_, got := s.post(t, "/embeddings", `{"model":"stub-embed","input":["a","b"]}`)
	var list struct {
		Data []struct{ Embedding []float64 }
	}
	if err := json.Unmarshal([]byte(got), &list); err != nil || len(list.Data) != 2 || len(list.Data[1].Embedding) != 8 || list.Data[1].Embedding[0] != 1 {
		t.Errorf("got %s, %v", got, err)
	}
}

func (s suite) rerank(t *testing.T) {
	s.want(t, "/rerank", `{"model":"stub-rerank","query":"q","documents":["a","b"]}`, 200, `"relevance_score"`)
}

func (s suite) responses(t *testing.T) {
	s.want(t, "/responses", `{"model":"canned","input":"hi"}`, 200, "This is a canned answer.")
	s.want(t, "/responses", `{"model":"stub-echo","input":"hi there","stream":true}`, 200, "response.created", `"delta":"hi th"`, "response.completed")
	// LiteLLM cannot stream a canned response, and says so in a stream of events with status 500.
	resp := s.want(t, "/responses", `{"model":"canned","input":"hi","stream":true}`, 500, `{"error":{`)
	if kind := resp.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("an error as %q", kind)
	}
}

func (s suite) models(t *testing.T) {
	resp, err := http.Get(s.g.URL + "/models")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || !strings.Contains(string(b), `"canned-tools"`) {
		t.Errorf("got %d %s", resp.StatusCode, b)
	}
}

func (s suite) errors(t *testing.T) {
	f := func(body string, status int, texts ...string) {
		t.Helper()
		resp, got := s.post(t, "/chat/completions", body)
		var e struct {
			Error struct {
				Message, Type string
				Param, Code   *string
			}
		}
		if err := json.Unmarshal([]byte(got), &e); err != nil || e.Error.Message == "" || e.Error.Type == "" {
			t.Errorf("%s: not an error object: %s", body, got)
		}
		for _, key := range []string{`"message"`, `"type"`, `"param"`, `"code"`} {
			if !strings.Contains(got, key) {
				t.Errorf("%s: no %s in %s", body, key, got)
			}
		}
		if resp.StatusCode != status {
			t.Errorf("%s: status %d, want %d: %s", body, resp.StatusCode, status, got)
		}
		for _, text := range texts {
			if !strings.Contains(got, text) {
				t.Errorf("%s: no %s in %s", body, text, got)
			}
		}
	}
	const messages = `"messages":[{"role":"user","content":"x"}]}`
	f(`{"model":"canned-500",`+messages, 500, "InternalServerError")
	f(`{"model":"canned-context",`+messages, 400, "ContextWindowExceededError")
	f(`{"model":"nope",`+messages, 400, "nope")
	f(`{"model":"stub-error-404",`+messages, 404, "stub was asked")
	f(`{"model":"canned"}`, 400, `"messages"`)
	f(`{"model":"canned",`, 400)

	// A stranger to LiteLLM: its answers reach the client as what they are.
	resp, got := s.post(t, "/no/such/thing", `{}`)
	if resp.StatusCode != 404 {
		t.Errorf("unknown path: %d %s", resp.StatusCode, got)
	}
}

func (s suite) retryAfter(t *testing.T) {
	const messages = `"messages":[{"role":"user","content":"x"}]}`
	s.want(t, "/chat/completions", `{"model":"canned-429",`+messages, 429, `"error"`)
	// LiteLLM hands the upstream's wait on under a name that no client reads.
	resp := s.want(t, "/chat/completions", `{"model":"stub-error-429",`+messages, 429, `"error"`)
	if got := resp.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After is %q, want 1; the answer had %v", got, resp.Header)
	}
}

// departed leaves before the answer, and in the middle of a stream: what
// LiteLLM itself calls must be told.
func (s suite) departed(t *testing.T) {
	f := func(model string, stream bool) {
		t.Helper()
		text := fmt.Sprintf("%s leaves %d", model, time.Now().UnixNano())
		mine := func() *stub.Record {
			for _, r := range s.upstream.Requests() {
				if strings.Contains(r.Body, text) {
					return &r
				}
			}
			return nil
		}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		body := `{"model":"stub-` + model + `","stream":` + strconv.FormatBool(stream) + `,"messages":[{"role":"user","content":"` + text + `"}]}`
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.g.URL+"/chat/completions", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}()
		harness.Until(t, "the request reaches the end of the line", func() bool { return mine() != nil })
		leave()
		<-ended
		harness.Until(t, model+": the end of the line is told that the client left", func() bool { r := mine(); return r.Done && r.Left })
	}
	f("hang", false)
	f("drip", true)
	f("stall", true)
}

// broken looks at a stream that the far upstream gives up in the middle.
func (s suite) broken(t *testing.T) {
	resp, err := http.Post(s.g.URL+"/chat/completions", "application/json",
		strings.NewReader(`{"model":"stub-in-stream","stream":true,"messages":[{"role":"user","content":"one two three"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	got := string(b)
	if !strings.Contains(got, `data: {"error"`) || strings.Contains(got, `"finish_reason":"stop"`) || strings.Contains(got, "[DONE]") {
		t.Errorf("a stream with an error in it came as %s", got)
	}
	if err == nil {
		t.Error("a stream that broke off was ended like a whole one")
	}
}

// refused looks at requests that need no upstream to be refused.
func (s suite) refused(t *testing.T) {
	s.want(t, "/chat/completions", `not json`, 400, `"invalid_request_error"`, `"invalid_json"`)
	s.want(t, "/embeddings", `{"model":"canned-embed","model":"other","input":"x"}`, 400, `"invalid_json"`)
}
