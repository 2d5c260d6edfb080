package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// A script is what the scripted provider does with a request.
type script func(ctx context.Context, ex *pipeline.Exchange) error

// scripts holds the script of each test's provider, by the name in its file.
var scripts sync.Map

type scriptConfig struct {
	// Name is the key in scripts.
	Name string `yaml:"name"`
}

func (c scriptConfig) Build(context.Context, config.Env) (pipeline.Provider, error) { return c, nil }

func (c scriptConfig) Call(ctx context.Context, ex *pipeline.Exchange) error {
	f, _ := scripts.Load(c.Name)
	return f.(script)(ctx, ex)
}

type askConfig struct{}

func (askConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		if len(ex.Targets) == 0 {
			return pipeline.Fail(404, "no_target", io.EOF)
		}
		ex.Target = ex.Targets[0]
		return pipeline.CallTarget.Handle(ctx, ex, nil)
	}), nil
}

type muteConfig struct{}

func (muteConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		return next.Handle(ctx, ex)
	}), nil
}

type keyConfig struct {
	// Key is the one that is let through.
	Key string `yaml:"key"`
}

type keyGuard string

func (c keyConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return keyGuard(c.Key), nil
}

func (k keyGuard) Guards() bool { return true }

func (k keyGuard) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	if string(ex.Request.Header.Peek("Authorization")) != "Bearer "+string(k) {
		return pipeline.Fail(401, "invalid_api_key", io.EOF)
	}
	return next.Handle(ctx, ex)
}

var registry = config.Registry{
	config.Define[pipeline.Provider]("script", scriptConfig{}, ""),
	config.Define[pipeline.Handler]("ask", askConfig{}, ""),
	config.Define[pipeline.Handler]("mute", muteConfig{}, ""),
	config.Define[pipeline.Handler]("key", keyConfig{}, ""),
}

// file is a configuration in which every model is the script. extra is put in
// the section server.
func file(name, extra string) string {
	return fmt.Sprintf(`
server:
  listen: 127.0.0.1:0
  admin: 127.0.0.1:0
  access_log: all
%s
providers:
  p: { script: { name: %q } }
models:
  "*": [ { provider: p } ]
  plain: [ { provider: p } ]
routes:
  - name: chat
    match: { paths: [ /v1/chat/completions, /v1/embeddings ] }
    chain: [ ask: {} ]
  - name: empty
    match: { path: /v1/empty }
    chain: [ mute: {} ]
  - name: rest
    match: { path: /v1/* }
    chain: [ ask: {} ]
`, indent(extra), name)
}

func indent(s string) string {
	if s == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ")
}

// A rig is a running server.
type rig struct {
	*Server
	t    *testing.T
	addr string
	log  *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs a server whose provider is f, with extra in its server section.
func start(t *testing.T, extra string, f script) *rig {
	t.Helper()
	scripts.Store(t.Name(), f)
	return startFile(t, func() string { return file(t.Name(), extra) })
}

func startFile(t *testing.T, text func() string) *rig {
	t.Helper()
	before := pipeline.Live()
	log := new(safeBuffer)
	s, err := New(t.Context(), Options{
		Log: slog.New(slog.NewJSONHandler(log, nil)), Access: log, Version: "test",
		Load: func(ctx context.Context, old *config.Snapshot) (*config.Snapshot, error) {
			return config.Load(ctx, config.Source{File: "test.yaml", Data: []byte(text())}, registry, slog.New(slog.DiscardHandler), old)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	r := &rig{Server: s, t: t, addr: s.Addr().String(), log: log}
	t.Cleanup(func() {
		if !s.draining.Load() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = s.Shutdown(ctx)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		eventually(t, "no live exchange", func() bool { return pipeline.Live() <= before })
	})
	return r
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// dial opens a raw connection to the data listener.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// raw sends bytes on a connection of their own and reads the first answer.
func (r *rig) raw(request string) (*http.Response, string, error) {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	go io.WriteString(c, request)
	return readAnswer(bufio.NewReader(c))
}

func readAnswer(br *bufio.Reader) (*http.Response, string, error) {
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return resp, string(body), err
}

// post is a chat request with the body given.
func post(body string) string {
	return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

const plainBody = `{"model":"plain","messages":[{"role":"user","content":"hi"}]}`

const streamBody = `{"model":"plain","stream":true,"messages":[{"role":"user","content":"hi"}]}`

// wantError checks status, code and shape of an error answer.
func (r *rig) wantError(request string, status int, code string) *http.Response {
	r.t.Helper()
	resp, body, err := r.raw(request)
	if err != nil {
		r.t.Errorf("no whole answer: %v", err)
		return nil
	}
	checkError(r.t, resp, body, status, code)
	return resp
}

func checkError(t *testing.T, resp *http.Response, body string, status int, code string) {
	t.Helper()
	var e struct {
		Error struct {
			Message, Type string
			Param, Code   *string
		}
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Errorf("%d %q is no JSON: %v", resp.StatusCode, body, err)
		return
	}
	got := "null"
	if e.Error.Code != nil {
		got = *e.Error.Code
	}
	if resp.StatusCode != status || got != code || e.Error.Message == "" || e.Error.Type == "" {
		t.Errorf("got %d %s, want %d with code %s", resp.StatusCode, body, status, code)
	}
	if resp.Header.Get("X-Request-Id") == "" {
		t.Error("an error without X-Request-Id")
	}
}

// answer is a whole JSON answer.
func answer(ex *pipeline.Exchange, body string) error {
	ex.Response.Header.SetStatusCode(200)
	ex.Response.Header.SetContentType("application/json")
	ex.Response.SetBody([]byte(body))
	return nil
}

// A feed is a stream that yields what next does.
type feed struct {
	next   func() ([]byte, error)
	closed func()
}

func (f *feed) Next() ([]byte, error) { return f.next() }

func (f *feed) Close() error {
	if f.closed != nil {
		f.closed()
	}
	return nil
}

// events answers with a stream of server-sent events.
func events(ex *pipeline.Exchange, f *feed) error {
	ex.Response.Header.SetStatusCode(200)
	ex.Response.Header.SetContentType("text/event-stream; charset=utf-8")
	ex.Response.Header.SetContentLength(-1)
	ex.Response.Body = f
	return nil
}

// list yields frames, then err.
func list(err error, frames ...string) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(frames) == 0 {
			return nil, err
		}
		f := frames[0]
		frames = frames[1:]
		return []byte(f), nil
	}
}
