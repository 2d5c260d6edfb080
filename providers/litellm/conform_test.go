package litellm

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, Component, "url: http://127.0.0.1:9/v1")
}

var silentEnd = pipetest.Fixed[pipeline.Handler]("answer", pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return nil }))

func TestProblems(t *testing.T) {
	pipetest.Problems(t, config.Registry{Component, silentEnd}, "testdata")
}

// TestAuthoritiesAreReadAgain has a reload trust the certificates that are in the file by
// then, though the path of it has not changed.
func TestAuthoritiesAreReadAgain(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"1","choices":[]}`)
	}))
	defer server.Close()
	other, _ := os.ReadFile("testdata/other-ca.pem")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(ca, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func(old *config.Snapshot) *config.Snapshot {
		t.Helper()
		s, err := config.Load(t.Context(), config.Source{File: "test.yaml", Data: []byte(`
providers: { p: { litellm: { url: "` + server.URL + `/v1", ca: "` + ca + `" } } }
models: { "*": [ { provider: p } ] }
routes: [ { name: r, match: { path: /v1/* }, chain: [ answer: {} ] } ]`)},
			config.Registry{Component, silentEnd}, slog.New(slog.DiscardHandler), old)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Release)
		return s
	}
	f := func(s *config.Snapshot, want int) {
		t.Helper()
		status := 200
		if a := ask(t, s.Targets[0].Provider, exchange(pipeline.OpChat, chatBody)); a.err != nil {
			status = problemOf(t, a.err).Status
		}
		if status != want {
			t.Errorf("%d, want %d", status, want)
		}
	}
	write(other)
	before := load(nil)
	f(before, 502)
	write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	after := load(before)
	f(after, 200)
	if again := load(after); again.Targets[0].Provider != after.Targets[0].Provider {
		t.Error("the provider is built anew where nothing has changed")
	}
}
