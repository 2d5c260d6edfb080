package e2e

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stub"
)

// raw sends bytes as they are and returns whatever comes back.
func raw(t *testing.T, g *harness.Gateway, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(g.Root, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(c) // a refused connection may be reset
	return string(b)
}

// TestNoWayAround: no spelling of a path and no header lets a request without
// a key reach an upstream, or read anything.
func TestNoWayAround(t *testing.T) {
	t.Parallel()
	up := stub.Start()
	defer up.Close()
	g := harness.Start(t, "gateway.yaml", "HEADRACE_UPSTREAM="+up.URL, harness.KeysSet)
	for _, target := range []string{
		"/v1/models", "/models", "/v1/models/", "/v1//models", "//v1/models", "/v1/./models", "/v1/x/../models", "/v1/%6dodels", "/V1/models",
		"/v1/models?health", "/health/../v1/models", "/health/liveliness/../../v1/models", "/health%2f..%2fv1%2fmodels", "/v1/models;/health",
		"/v1/files", "/v1/chat/completions", "/v1/chat/completions/", "/v1/responses/resp_1", "http://other.example/v1/models", "http:///v1/models", "*",
	} {
		for _, header := range []string{
			"", "Authorization: \r\n", "Authorization: Basic " + harness.Key + "\r\n", "Authorization: Bearer\r\n", "Authorization: Bearer " + harness.Key + "x\r\n",
			"X-Headrace-Skip: auth\r\n", "X-Forwarded-For: 127.0.0.1\r\nX-Original-URL: /health\r\nX-Rewrite-URL: /health\r\n",
			"Authorization: Bearer acme\r\n", "X-API-Key: " + strings.Repeat("k", 4000) + "\r\n",
		} {
			got := raw(t, g, "GET "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+header+"\r\n")
			status, _, _ := strings.Cut(strings.TrimPrefix(got, "HTTP/1.1 "), " ")
			if !strings.HasPrefix(status, "4") && !(target == "*" && status == "204") {
				t.Errorf("GET %s with %q: %.300q", target, header, got)
			}
		}
	}
	if r := up.Requests(); len(r) > 0 {
		t.Errorf("the upstream was asked %d times, first for %s", len(r), r[0].Path)
	}
	if got := raw(t, g, "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+harness.Key+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("with a key: %.300q", got)
	}
}

// TestSecrets: what is secret is in no log, no metric, no profile and no
// error, whatever goes wrong.
func TestSecrets(t *testing.T) {
	t.Parallel()
	up := stub.Start()
	defer up.Close()
	dead := harness.FreeAddress(t)
	secrets := []string{"sk-canary-client-1", "sk-canary-client-2", "sk-canary-upstream-1", "sk-canary-upstream-2", "sk-canary-wrong", "canary-prompt"}
	shipped, err := os.ReadFile(filepath.Join(harness.Root(t), "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, shipped, 0o600); err != nil {
		t.Fatal(err)
	}
	g := harness.Start(t, file,
		"HEADRACE_KEYS=acme=sk-canary-client-1,lab=sk-canary-client-2",
		"HEADRACE_UPSTREAM="+up.URL, "HEADRACE_UPSTREAM_KEY=sk-canary-upstream-1",
		"HEADRACE_UPSTREAM_2=http://"+dead+"/v1", "HEADRACE_UPSTREAM_2_KEY=sk-canary-upstream-2")

	var seen strings.Builder
	for _, key := range []string{"sk-canary-client-1", "sk-canary-wrong"} {
		for _, model := range []string{"echo", "error-400", "error-401", "error-500", "cut", "in-stream"} {
			a := chat(t, g, model, "canary-prompt", "Authorization", "Bearer "+key)
			for name, values := range a.Header {
				seen.WriteString(name + ": " + strings.Join(values, ", ") + "\n")
			}
			if a.StatusCode != 200 { // an answer repeats the prompt: that is its job
				seen.WriteString(a.body + "\n")
			}
		}
		seen.WriteString(raw(t, g, "GET /v1/models HTTP/1.1\r\nHost : x\r\nAuthorization: Bearer "+key+"\r\n\r\n"))
		seen.WriteString(raw(t, g, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+key+"\r\nContent-Length: 30\r\nConnection: close\r\n\r\n{\"model\":canary-prompt,,,,,,,,"))
		seen.WriteString(raw(t, g, "BROKEN "+key+"\r\n\r\n"))
	}
	// A file that cannot be used, with secrets in it.
	bad := strings.Replace(string(shipped), `key: "${HEADRACE_UPSTREAM_KEY:-}"`, `kee: "sk-canary-upstream-1"`, 1)
	if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Signal(t, syscall.SIGHUP)
	harness.Until(t, "the bad file is refused", func() bool { return strings.Contains(g.Log(), "kee") })

	for _, path := range []string{"/metrics", "/health", "/version", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
		seen.WriteString(send(t, g.Admin+path, "").body)
	}
	if strings.Contains(seen.String(), dead) {
		t.Errorf("the address of an upstream is shown: %.3000s", seen.String())
	}
	seen.WriteString(g.Log()) // which names addresses: it is for who runs the gateway
	for _, secret := range secrets {
		if i := strings.Index(seen.String(), secret); i >= 0 {
			t.Errorf("%s is shown: %q", secret, seen.String()[max(0, i-300):min(seen.Len(), i+100)])
		}
	}
}
