package ingest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// A gateway that has too much to do, or is started again, is asked later; one that
// refuses what it is sent, or has never been there, is not.
func TestGatewayLater(t *testing.T) {
	var mu sync.Mutex // a connection that breaks orders nothing
	var status int
	var answer, after string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if status == 0 {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		w.Header().Set("Retry-After", after)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	docs := []*Prepared{{ID: "a", Chunks: []Chunk{{Text: "a"}}}}
	g := &Gateway{URL: server.URL, Client: server.Client()}
	f := func(s int, says, header string, want bool, wait time.Duration) {
		t.Helper()
		mu.Lock()
		status, answer, after = s, says, header
		mu.Unlock()
		_, err := g.Write(t.Context(), docs, nil)
		if got, ok := later(err); err == nil || ok != want || got != wait {
			t.Errorf("%v: %v, %v; want %v, %v", err, ok, got, want, wait)
		}
	}
	f(0, "", "", false, 0)
	f(429, "busy", "7", true, 7*time.Second)
	f(503, "starting", "", true, 0)
	f(503, `{"detail":"qdrant_unavailable: the gateway's file sets up no such store"}`, "30", false, 30*time.Second)
	f(502, "", "soon", true, 0)
	f(504, "", "99999999999", true, longest)
	f(500, "", "", false, 0)
	f(401, "", "", false, 0)
	f(200, "<html>", "", false, 0)
	f(0, "", "", true, 0) // it was there
}
