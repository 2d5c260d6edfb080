package ingest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/graphjson"
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
	if got.Collection != "kb" || got.Mode != "replace" || len(got.Chunks) != 2 || got.Chunks[0].DocID != "a.txt" || len(got.Chunks[0].Entities) != 1 || got.Chunks[0].Entities[0].Name != "Weir" {
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

// Documents that are too much for one request together are sent in several; and what
// was not taken mentions nothing.
func TestGatewaySizes(t *testing.T) {
	var sizes []int64
	answer := `{"ok":true,"upserted":1}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sizes = append(sizes, r.ContentLength)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	g := &ingest.Gateway{URL: server.URL, Client: server.Client()}
	var docs []*ingest.Prepared
	for _, id := range []string{"a", "b", "c"} {
		chunk := ingest.Chunk{Text: id, Metadata: []byte(`{"m":"` + strings.Repeat("<", 500<<10) + `"}`), Mentions: []string{"weir"}}
		docs = append(docs, &ingest.Prepared{ID: id, Chunks: []ingest.Chunk{chunk}, Entities: []pipeline.Entity{{ID: "weir"}}})
	}
	w, err := g.Write(t.Context(), docs, nil)
	if err != nil || len(sizes) != 2 || sizes[0] > 8<<20 || w.New != 2 || w.Mentions != 3 {
		t.Errorf("%v, %v, %+v", err, sizes, w)
	}
	answer = `{"errors":["no"]}`
	if w, err := g.Write(t.Context(), docs[:1], nil); err == nil || w.Mentions != 0 {
		t.Errorf("%v, %+v", err, w)
	}
}

// A document that is too much for one request is sent in parts, of which the last one takes
// away what there was behind it; one that has become empty is deleted.
func TestGatewayParts(t *testing.T) {
	var log []string
	graph := 200
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got struct {
			Collection string `json:"collection"`
			Mode       string
			DocID      string `json:"doc_id"`
			Chunks     []struct{ Index int }
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		line := r.URL.Path + " " + got.Collection + got.Mode + got.DocID
		if n := len(got.Chunks); n > 0 {
			line += fmt.Sprintf(" %d from %d", n, got.Chunks[0].Index)
		}
		log = append(log, line)
		if r.URL.Path == "/delete/graph" {
			w.WriteHeader(graph)
		}
		_, _ = io.WriteString(w, `{"ok":true,"deleted":2,"detail":"neo4j_unavailable: the gateway's file sets up no such store"}`)
	}))
	defer server.Close()
	g := &ingest.Gateway{URL: server.URL, Collection: "kb", Client: server.Client()}
	f := func(chunks []ingest.Chunk, want ...string) {
		t.Helper()
		log = nil
		_, err := g.Write(t.Context(), []*ingest.Prepared{{ID: "a", Chunks: chunks}}, nil)
		if diff := cmp.Diff(want, log); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	}
	f(make([]ingest.Chunk, 2001), "/index/chunks kbskip_unchanged 1000 from 0", "/index/chunks kbskip_unchanged 1000 from 1000", "/index/chunks kbreplace 1 from 2000")
	f(make([]ingest.Chunk, 1000), "/index/chunks kbreplace 1000 from 0")
	long := ingest.Chunk{Text: strings.Repeat("x", 3<<20)}
	f([]ingest.Chunk{long, long, {}}, "/index/chunks kbskip_unchanged 1 from 0", "/index/chunks kbreplace 2 from 1")
	f(nil, "/delete/vector kba", "/delete/graph a")
	g.Again = true
	f(make([]ingest.Chunk, 1001), "/index/chunks kbupsert 1000 from 0", "/index/chunks kbupsert 1 from 1000", "/index/chunks kbreplace 1 from 1000")
	graph = 503 // there is none
	f(nil, "/delete/vector kba", "/delete/graph a")
	graph = 500
	if _, err := g.Write(t.Context(), []*ingest.Prepared{{ID: "a"}}, nil); err == nil || !strings.Contains(err.Error(), "500 Internal Server Error") {
		t.Error(err)
	}
}

// What relates the entities of a document is sent to the gateway's graph, after its
// chunks, with the entities that it names.
func TestGatewayRelations(t *testing.T) {
	var paths []string
	var got struct {
		DocID string `json:"doc_id"`
		Data  graphjson.Graph
	}
	relations, refused := 0, false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		switch {
		case r.URL.Path != "/graph/upsert":
			_, _ = io.WriteString(w, `{"ok":true,"upserted":1}`)
			return
		case refused:
			w.WriteHeader(404)
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || got.Data.Validate() != nil {
			t.Errorf("%v %v", err, got.Data.Validate())
		}
		relations += len(got.Data.Edges)
	}))
	defer server.Close()
	g := &ingest.Gateway{URL: server.URL, Collection: "kb", Client: server.Client()}
	d := &ingest.Prepared{
		ID: "a.txt", Chunks: []ingest.Chunk{{Text: "A weir on the Sorrel.", Mentions: []string{"weir"}}},
		Entities:  []pipeline.Entity{{ID: "weir", Type: "Topic", Name: "Weir"}, {ID: "sorrel", Type: "River"}, {ID: "alone", Type: "Topic"}},
		Relations: []pipeline.Relation{{Src: "weir", Dst: "sorrel", Type: "ON", Props: []pipeline.Prop{{Key: "since", Value: []byte("1901")}}}},
	}
	if _, err := g.Write(t.Context(), []*ingest.Prepared{d}, nil); err != nil {
		t.Fatal(err)
	}
	if want := "/index/chunks /graph/upsert"; strings.Join(paths, " ") != want || got.DocID != "a.txt" || len(got.Data.Nodes) != 2 || string(got.Data.Edges[0].Props[0].Value) != "1901" || string(got.Data.Nodes[0].Props[0].Value) != `"Weir"` {
		t.Errorf("%v, sent %+v", paths, got)
	}
	for len(d.Relations) < 4100 {
		d.Relations = append(d.Relations, d.Relations[0])
	}
	paths, relations = nil, 0
	if _, err := g.Write(t.Context(), []*ingest.Prepared{d}, nil); err != nil || len(paths) != 4 || relations != 4100 {
		t.Errorf("%v: %d relations by %v", err, relations, paths)
	}
	refused = true
	if _, err := g.Write(t.Context(), []*ingest.Prepared{d}, nil); err == nil || !strings.Contains(err.Error(), "2000 relations to "+server.URL+"/graph/upsert: 404") {
		t.Errorf("%v", err)
	}
}
