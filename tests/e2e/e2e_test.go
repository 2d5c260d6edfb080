// Package e2e runs the real binary and talks to it over HTTP, as a stranger
// who has read the README would.
package e2e

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stub"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}

// An answer is a response that has been read whole.
type answer struct {
	*http.Response
	body string
}

func (a answer) String() string { return fmt.Sprintf("%s\n%v\n%.2000s", a.Status, a.Header, a.body) }

// send sends a request whose header is given in pairs. method is GET where
// body is empty.
func send(t *testing.T, url, body string, header ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the answer of %s: %v\n%.2000s", url, err, b)
	}
	return answer{resp, string(b)}
}

var serial atomic.Int64

// unique is a text that no other request holds.
func unique() string {
	return "text " + strconv.FormatInt(time.Now().UnixNano(), 36) + " " + strconv.FormatInt(serial.Add(1), 10)
}

// question is the body of a chat request.
func question(model, text string, stream bool) string {
	b, err := json.Marshal(map[string]any{
		"model": model, "stream": stream, "messages": []any{map[string]any{"role": "user", "content": text}},
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(b)
}

func chat(t *testing.T, g *harness.Gateway, model, text string, header ...string) answer {
	t.Helper()
	return send(t, g.URL+"/chat/completions", question(model, text, false), header...)
}

// content is the text of a chat answer.
func (a answer) content(t *testing.T) string {
	t.Helper()
	var r struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal([]byte(a.body), &r); err != nil || len(r.Choices) == 0 {
		t.Fatalf("not a chat answer: %v", a)
	}
	return r.Choices[0].Message.Content
}

// command runs the binary to its end and returns its output and exit status.
func command(t *testing.T, env []string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(harness.CleanEnv(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, "")

	a := chat(t, g, "gpt-4o-mini", "say this back")
	if a.StatusCode != 200 || !strings.Contains(a.content(t), "say this back") {
		t.Errorf("chat: %v", a)
	}
	if a.Header.Get("X-Request-Id") == "" || a.Header.Get("X-Headrace-Target") == "" {
		t.Errorf("an answer without x-request-id or x-headrace-target: %v", a)
	}
	var models struct{ Data []json.RawMessage }
	if a := send(t, g.URL+"/models", ""); json.Unmarshal([]byte(a.body), &models) != nil || len(models.Data) < 2 {
		t.Errorf("models: %v", a)
	}
	for _, listed := range models.Data {
		var m struct{ ID string }
		if err := json.Unmarshal(listed, &m); err != nil {
			t.Fatal(err)
		}
		if a := send(t, g.URL+"/models/"+m.ID, ""); a.body != string(listed) {
			t.Errorf("listed as %s, and alone: %v", listed, a)
		}
	}
	// Routes answer with and without /v1.
	if a := send(t, g.Root+"/chat/completions", question("m", "without v1", false)); a.StatusCode != 200 {
		t.Errorf("without /v1: %v", a)
	}
	a = send(t, g.URL+"/chat/completions", question("m", "one two three", true))
	if kind := a.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") || !strings.HasSuffix(a.body, "data: [DONE]\n\n") {
		t.Errorf("stream: %v", a)
	}
	if a := send(t, g.URL+"/models", ""); a.StatusCode != 200 || !strings.Contains(a.body, `"offline"`) {
		t.Errorf("models: %v", a)
	}
	for _, path := range []string{"/health", "/health/liveliness", "/health/readiness"} {
		if a := send(t, g.Root+path, ""); a.StatusCode != 200 {
			t.Errorf("%s: %v", path, a)
		}
	}
	if a := send(t, g.Admin+"/metrics", ""); a.StatusCode != 200 || !strings.Contains(a.body, "headrace_") {
		t.Errorf("metrics: %v", a)
	}
	for path, want := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof": "goroutine", "/debug/pprof/cmdline": "headrace"} {
		if a := send(t, g.Admin+path, ""); a.StatusCode != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %v", path, a)
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/cmdline"} {
		if a := send(t, g.Root+path, ""); a.StatusCode == 200 {
			t.Errorf("%s is on the address that clients see", path)
		}
	}
}

// TestHedgeOnDefaults: of a hundred requests to the shipped file some meet the
// slow model, and the other one answers in its place.
func TestHedgeOnDefaults(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, "gateway.yaml")
	raced, slow := 0, 0
	for range 100 {
		began := time.Now()
		a := chat(t, g, "m", unique(), "X-Headrace-Skip", "cache")
		if a.StatusCode != 200 {
			t.Fatal(a)
		}
		if a.Header.Get("X-Headrace-Attempts") == "2" {
			raced++
		}
		if time.Since(began) > 390*time.Millisecond {
			slow++
		}
	}
	if raced == 0 {
		t.Errorf("no request was raced, and %d were slow", slow)
	}
	t.Logf("%d of 100 were raced, %d were slow", raced, slow)
}

func TestCache(t *testing.T) {
	t.Parallel()
	up := stub.Start()
	defer up.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+up.URL)
	text := unique()
	f := func(want string, calls int, header ...string) {
		t.Helper()
		a := chat(t, g, "echo", text, header...)
		got := a.Header.Get("X-Headrace-Cache")
		if n := len(up.Requests()); got != want || n != calls || a.content(t) != text {
			t.Errorf("cache %q after %d calls, want %q after %d: %v", got, n, want, calls, a)
		}
	}
	f("miss", 1)
	f("hit", 1)
	f("bypass", 2, "X-Headrace-Skip", "cache")
	f("bypass", 3, "X-Headrace-Skip", "race, cache")
	f("hit", 3)
}

// TestOneUpstream: with one upstream nothing is ever sent twice, whatever it
// answers and however long it takes.
func TestOneUpstream(t *testing.T) {
	t.Parallel()
	up := stub.Start()
	defer up.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+up.URL)
	for i, model := range []string{"echo", "error-500", "error-429", "error-400", "echo"} {
		chat(t, g, model, unique())
		if n := len(up.Requests()); n != i+1 {
			t.Errorf("%d requests made %d calls", i+1, n)
		}
	}
}

// TestRace: the second upstream answers when the first does not begin to, and
// the first is told that nobody waits any more.
func TestRace(t *testing.T) {
	t.Parallel()
	first, second := stub.Start(), stub.Start()
	defer first.Close()
	defer second.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+first.URL, "HEADRACE_UPSTREAM_2="+second.URL)
	// The race learns what is usual before anything is unusual.
	for range 60 {
		if a := chat(t, g, "echo", unique()); a.StatusCode != 200 {
			t.Fatal(a)
		}
	}
	for _, stream := range []bool{false, true} {
		first.Reset()
		first.Behave("hang")
		text := unique()
		a := send(t, g.URL+"/chat/completions", question("echo", text, stream))
		last := text[strings.LastIndexByte(text, ' ')+1:]
		if a.StatusCode != 200 || !strings.Contains(a.body, last) || !strings.Contains(a.Header.Get("X-Headrace-Target"), "upstream_2") {
			t.Errorf("stream %t: %v", stream, a)
		}
		harness.Until(t, "the loser is told", func() bool {
			r := first.Requests()
			return len(r) == 1 && r[0].Left && r[0].Done
		})
	}
}

// TestFailover: an upstream that fails is followed by the other at once, and
// after some failures it is not asked any more.
func TestFailover(t *testing.T) {
	t.Parallel()
	first, second := stub.Start(), stub.Start()
	defer first.Close()
	defer second.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+first.URL, "HEADRACE_UPSTREAM_2="+second.URL)
	first.Behave("error-500")
	for range 20 {
		text := unique()
		if a := chat(t, g, "echo", text); a.StatusCode != 200 || a.content(t) != text {
			t.Errorf("the second upstream could have answered: %v", a)
		}
	}
	if n := len(first.Requests()); n > 6 {
		t.Errorf("the failing upstream was asked %d times; its breaker should have opened after 5 failures", n)
	}
	if n := len(second.Requests()); n != 20 {
		t.Errorf("the second upstream was asked %d times for 20 requests", n)
	}
	// What is wrong with the request itself is not tried elsewhere.
	second.Reset()
	if a := chat(t, g, "error-400", unique()); a.StatusCode != 400 {
		t.Errorf("got %v", a)
	}
	if n := len(second.Requests()); n != 1 {
		t.Errorf("a wrong request was sent %d times", n)
	}
}

// TestRerankOfAModel: at the replaced service's path too, a model that is named is asked.
func TestRerankOfAModel(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, "gateway.yaml")
	for _, model := range []string{"", `"model":"m",`} {
		a := send(t, g.Root+"/rerank", `{`+model+`"query":"capital of France","documents":["Berlin","Paris is the capital of France"],"top_n":1}`, "Content-Type", "application/json")
		if a.StatusCode != 200 || !strings.Contains(a.body, `"results":[{"index":1,`) {
			t.Errorf("%s: %v", model, a)
		}
	}
}

// TestEverythingElse: what no route knows goes to the upstream as it is.
func TestEverythingElse(t *testing.T) {
	t.Parallel()
	up := stub.Start()
	defer up.Close()
	for _, file := range []string{"gateway.yaml", "examples/plain.yaml"} {
		g := harness.Start(t, file, "HEADRACE_UPSTREAM="+up.URL, "HEADRACE_UPSTREAM_KEY=sk-up")
		up.Reset()
		a := send(t, g.URL+"/batches?limit=2&after=x%2Fy", "", "Authorization", "Bearer sk-client", "OpenAI-Beta", "x=v2")
		if a.StatusCode != 404 || !strings.Contains(a.body, "unknown_url") {
			t.Errorf("%s: %v", file, a)
		}
		r := up.Requests()
		if len(r) != 1 || r[0].Path != "/v1/batches" || r[0].Query != "limit=2&after=x%2Fy" {
			t.Fatalf("%s: the upstream got %+v", file, r)
		}
		if got := http.Header(r[0].Header); got.Get("Authorization") != "Bearer sk-up" || got.Get("OpenAI-Beta") != "x=v2" {
			t.Errorf("%s: the upstream got %v", file, got)
		}
		if a := send(t, g.URL+"/files/file-1/content", ""); len(a.body) != 64*4096*4 {
			t.Errorf("%s: %d bytes of a file", file, len(a.body))
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"gateway.yaml", "examples/plain.yaml"} {
		g := harness.Start(t, file, harness.KeysSet)
		for _, path := range []string{"/v1/models", "/v1/files", "/models", "/v1/models/offline", "/v1//models", "/nothing"} {
			if a := send(t, g.Root+path, ""); a.StatusCode != 401 && a.StatusCode != 400 {
				t.Errorf("%s%s without a key: %v", file, path, a)
			}
		}
		if a := chat(t, g, "m", "hi"); a.StatusCode != 401 || !strings.Contains(a.body, `"authentication_error"`) || a.Header.Get("WWW-Authenticate") != `Bearer realm="headrace"` {
			t.Errorf("%s without a key: %v", file, a)
		}
		if a := chat(t, g, "m", "hi", "Authorization", "Bearer "+harness.Key, "X-Headrace-Skip", "auth"); a.StatusCode != 200 {
			t.Errorf("%s with a key: %v", file, a)
		}
		if a := chat(t, g, "m", "hi", "X-Headrace-Skip", "auth"); a.StatusCode != 401 {
			t.Errorf("%s: authentication can be left out: %v", file, a)
		}
		if a := send(t, g.Root+"/health", ""); a.StatusCode != 200 {
			t.Errorf("%s: health asks for a key: %v", file, a)
		}
	}
}

// TestOpen: an address that others can reach needs keys.
func TestOpen(t *testing.T) {
	t.Parallel()
	listen := "HEADRACE_LISTEN=0.0.0.0:" + strings.TrimPrefix(harness.FreeAddress(t), "127.0.0.1:")
	for _, file := range []string{"gateway.yaml", "examples/plain.yaml"} {
		out, status := command(t, []string{listen, "HEADRACE_ADMIN=" + harness.FreeAddress(t)}, "run", "--config", filepath.Join(harness.Root(t), file))
		if status == 0 || !strings.Contains(out, "open") {
			t.Errorf("%s: exit %d: %s", file, status, out)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	root := harness.Root(t)
	const up, up2 = "HEADRACE_UPSTREAM=http://127.0.0.1:9/v1", "HEADRACE_UPSTREAM_2=https://api.example.com/v1"
	for _, file := range []string{"gateway.yaml", "examples/plain.yaml"} {
		for _, env := range [][]string{nil, {up}, {up, up2}, {up, up2, harness.KeysSet, "HEADRACE_TIMEOUT=5s"}, {up2}} {
			if out, status := command(t, env, "check", "--config", filepath.Join(root, file)); status != 0 {
				t.Errorf("%s with %v: %s", file, env, out)
			}
		}
		if out, status := command(t, []string{up, "HEADRACE_TIMEOUT=soon"}, "check", "--config", filepath.Join(root, file)); status == 0 || !strings.Contains(out, "soon") {
			t.Errorf("%s with a timeout that is none: exit %d: %s", file, status, out)
		}
	}
	if out, status := command(t, nil, "check"); status != 0 {
		t.Errorf("the built-in copy: %s", out)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("routes:\n  - match: { path: /v1/* }\n    chain:\n      - cahce: {}\n      - call: { provder: x }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := command(t, nil, "check", "--config", bad)
	for _, want := range []string{":4:", "cache", ":5:", "provider"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if status == 0 {
		t.Error("a file with problems passes the check")
	}
}

// TestStagesOff: each stage can be left out of the shipped file as the README
// says, and out of one request.
func TestStagesOff(t *testing.T) {
	t.Parallel()
	first, second := stub.Start(), stub.Start()
	defer first.Close()
	defer second.Close()
	shipped, err := os.ReadFile(filepath.Join(harness.Root(t), "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const (
		cache = "      - cache: { store: answers, ttl: 10m }\n"
		race  = "      - race:\n          after: p95\n          floor: 50ms          # never sooner than this\n          budget: 10%          # of all requests, at most, are sent a second time\n"
		each  = "          each:\n            - breaker: { failures: 5, cooldown: 10s }\n"
	)
	start := func(cut, put string) *harness.Gateway {
		t.Helper()
		text := string(shipped)
		if cut != "" {
			// Comments stand between the lines of race and each.
			for _, part := range strings.SplitAfter(cut, "\n") {
				if !strings.Contains(text, part) {
					t.Fatalf("gateway.yaml has no line %q", part)
				}
				text, put = strings.Replace(text, part, put, 1), ""
			}
		}
		file := filepath.Join(t.TempDir(), "gateway.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		first.Reset()
		second.Reset()
		return harness.Start(t, file, "HEADRACE_UPSTREAM="+first.URL, "HEADRACE_UPSTREAM_2="+second.URL)
	}

	g, text := start(cache, ""), unique()
	for range 2 {
		if a := chat(t, g, "echo", text); a.StatusCode != 200 || a.Header.Get("X-Headrace-Cache") != "" {
			t.Errorf("without a cache: %v", a)
		}
	}
	if n := len(first.Requests()); n != 2 {
		t.Errorf("without a cache the upstream was asked %d times for two requests", n)
	}

	g = start(race+each, "      - call: {}\n")
	first.Behave("error-500")
	if a := chat(t, g, "echo", unique()); a.StatusCode != 500 || len(second.Requests()) != 0 {
		t.Errorf("without a race the second upstream was asked: %v", a)
	}

	g = start(each, "")
	first.Behave("error-500")
	for range 10 {
		if a := chat(t, g, "echo", unique(), "X-Headrace-Skip", "race"); a.StatusCode != 500 {
			t.Errorf("without a breaker: %v", a)
		}
	}
	if n := len(first.Requests()); n != 10 {
		t.Errorf("without a breaker the first upstream was asked %d times for ten requests", n)
	}

	g = start("", "")
	first.Behave("error-500")
	if a := chat(t, g, "echo", unique(), "X-Headrace-Skip", "race"); a.StatusCode != 500 || len(second.Requests()) != 0 {
		t.Errorf("a request that leaves the race out: %v", a)
	}
	if a := chat(t, g, "echo", unique()); a.StatusCode != 200 {
		t.Errorf("a request that does not: %v", a)
	}
}

// TestReadme: every YAML block of the documents is a file that loads.
func TestReadme(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"README.md", "DESIGN.md", "CONTRIBUTING.md"} {
		data, err := os.ReadFile(filepath.Join(harness.Root(t), file))
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range blocks(string(data), "yaml") {
			name := filepath.Join(t.TempDir(), "block.yaml")
			if err := os.WriteFile(name, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, status := command(t, nil, "check", "--config", name); status != 0 {
				t.Errorf("%s, block %d:\n%s\n%s", file, i+1, block, out)
			}
		}
	}
}

// blocks returns the fenced code blocks of a language.
func blocks(markdown, language string) (out []string) {
	var b *strings.Builder
	for lines := bufio.NewScanner(strings.NewReader(markdown)); lines.Scan(); {
		switch line := lines.Text(); {
		case b == nil && line == "```"+language:
			b = &strings.Builder{}
		case b != nil && line == "```":
			out, b = append(out, b.String()), nil
		case b != nil:
			b.WriteString(line + "\n")
		}
	}
	return out
}

// TestLargeBodies: a prompt that the gateway reads has a bound; a file that
// streams through has another.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	up := stub.Start()
	defer up.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+up.URL)
	// Asking first, the client hears of it before it has sent anything.
	if a := chat(t, g, "echo", strings.Repeat("x", 33<<20), "Expect", "100-continue"); a.StatusCode != 413 || !strings.Contains(a.body, "request_too_large") {
		t.Errorf("got %v", a)
	}
	up.Reset()
	resp, err := http.Post(g.URL+"/files", "application/octet-stream", bytes.NewReader(make([]byte, 40<<20)))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if r := up.Requests(); len(r) != 1 || r[0].Size != 40<<20 {
		t.Errorf("the upstream got %d requests", len(r))
	}
}
