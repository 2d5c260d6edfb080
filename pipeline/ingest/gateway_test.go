package ingest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/headrace/headrace/pipeline/ingest"
)

func TestGateway(t *testing.T) {
	var got struct {
		Collection, Mode string
		Chunks           []struct {
			DocID    string `json:"doc_id"`
			Text     string
			Entities []struct{ ID, Type, Name string }
		}
	}
	status, answer := 200, `{"ok":true,"upserted":1,"skipped":1}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/index/chunks" || r.Header.Get("Authorization") != "Bearer k" || json.Unmarshal(b, &got) != nil {
			t.Errorf("%s %q %s", r.URL, r.Header.Get("Authorization"), b)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	fsys := fstest.MapFS{"a.txt": {Data: []byte("A weir.")}, "b.txt": {Data: []byte("No dam.")}}
	g := &ingest.Gateway{URL: server.URL + "/v1/", Key: "k", Collection: "kb", Client: server.Client()}
	p, err := ingest.Run(t.Context(), files(fsys), g, options("Weir"))
	if err != nil || p.New != 1 || p.Unchanged != 1 || p.Mentions != 1 || len(p.Failed) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if got.Collection != "kb" || got.Mode != "skip_unchanged" || len(got.Chunks) != 2 || got.Chunks[0].DocID != "a.txt" || len(got.Chunks[0].Entities) != 1 || got.Chunks[0].Entities[0].Name != "Weir" {
		t.Errorf("sent %+v", got)
	}
	f := func(s int, a, want string) {
		t.Helper()
		status, answer = s, a
		p, err := ingest.Run(t.Context(), files(fsys), g, options())
		if err != nil || len(p.Failed) != 2 || !strings.Contains(p.Failed[0].Error(), want) {
			t.Errorf("%v, %v", p.Failed, err)
		}
	}
	f(401, `{"error":"who are you"}`, "401 Unauthorized: {\"error\":\"who are you\"}")
	f(200, `<html>`, "not what a gateway says")
	f(200, `{"errors":[{"index":0,"message":"too long"}]}`, "too long")
}
