package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/plugins/standard"
)

// at runs the command line without going anywhere.
func at(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	var o, e buffer
	status = run(standard.Components(), args, &o, &e)
	return status, o.String(), e.String()
}

const storing = `
server: { listen: 127.0.0.1:0 }
providers: { p: { offline: {} } }
stores: { kb: { embedded: { path: PATH } } }
models: { "*": [ { provider: p } ], answer: { chain: rag, targets: [ { provider: p } ] } }
chains: { rag: [ { retrieve: { store: kb, collection: kb, mode: sparse } }, { prompt: {} }, { call: {} } ] }
routes: [ { name: r, match: { path: /v1/* }, chain: [ call: {} ] } ]
`

// What was ingested is found by a chain of the same file; the same again costs
// nothing; and files that cannot be read fail the command, but nothing else.
func TestIngest(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "gateway.yaml", strings.Replace(storing, "PATH", filepath.Join(dir, "data"), 1))
	write(t, dir, "gateway.yaml.memory", strings.Replace(storing, "path: PATH", "", 1))
	docs := filepath.Join(dir, "docs")
	if err := os.Mkdir(docs, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, docs, "weir.md", "# Weir\n\nA weir is a low dam across the River Sorrel.")
	write(t, docs, "sorrel.txt", "The Sorrel rises on the moor.")
	write(t, docs, "logo.png", "\x89PNG")
	file := filepath.Join(dir, "gateway.yaml")
	f := func(wantStatus int, wantOut, wantErr string, args ...string) {
		t.Helper()
		status, out, errOut := at(t, append([]string{"ingest", "--config", file}, args...)...)
		if status != wantStatus || !strings.Contains(out, wantOut) || !strings.Contains(errOut, wantErr) {
			t.Errorf("%v: %d\n%s\n%s", args, status, out, errOut)
		}
	}
	f(0, "2 documents: 2 chunks written, 0 unchanged, 1 mentions", "skipped: "+filepath.Join(docs, "logo.png"), "--graph", "titles", docs)
	f(0, "0 chunks written, 2 unchanged", "", docs)
	f(0, "0 chunks written, 1 unchanged", "", filepath.Join(docs, "weir.md"))
	write(t, docs, "bad.txt", "\xff")
	f(1, "2 unchanged", "failed: "+filepath.Join(docs, "bad.txt")+": is not text in UTF-8: byte 0xFF in line 1; save it as UTF-8\nheadrace: 1 of 3 files failed", docs)
	f(1, "", "name files or folders")
	f(1, "", "name files or folders", "--sample", docs)
	f(1, "", "nowhere", filepath.Join(dir, "nowhere"))
	f(1, "", `--url "localhost:8080" is no address of a gateway; write it as http://`, "--url", "localhost:8080", docs)
	f(1, "", `--url "127.0.0.1:8080" is no address`, "--url", "127.0.0.1:8080", docs)
	f(1, "", "--tenant has no effect with --url", "--url", "http://127.0.0.1:1", "--tenant", "acme", docs)
	f(1, "", "--graph-store have no effect with --url", "--url", "http://127.0.0.1:1", "--store", "kb", docs)
	f(1, "", "titles, triples:FILE or extract", "--graph", "magic", docs)
	f(1, "", `--store "other" is no store of passages; there is: kb`, "--store", "other", docs)
	status, _, errOut := at(t, "ingest", "--config", file+".memory", docs)
	if status != 1 || !strings.Contains(errOut, "keeps everything in memory") {
		t.Errorf("a store in memory: %d %s", status, errOut)
	}
	f(1, "", "--overlap 100: a chunk shares less than the 100 characters", "--size", "100", "--overlap", "100", docs)
	f(1, "", "--size 49: ", "--size", "49", docs)
	f(1, "", "--batch 0: ", "--batch", "0", docs)
	f(1, "", "--parallel 0: ", "--parallel", "0", docs)
	f(1, "", `--collection "": `, "--collection", "", docs)
	f(1, "", `--tenant "": `, "--tenant", "", docs)
	empty := filepath.Join(docs, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	f(0, "0 documents", "nothing to read: "+empty, empty)
	f(0, "28 documents: 28 chunks written", "", "--sample", "--graph", "titles", "--collection", "sample", "--size", "4000")

	write(t, dir, "questions.jsonl", `{"question":"What is a low dam?","gold":["weir.md"]}`)
	var out string
	status, out, errOut = at(t, "eval", "--config", file, "--collection", "kb", "--chain", "answer", "--set", filepath.Join(dir, "questions.jsonl"))
	if status != 0 || !strings.Contains(out, "answer  100.0  100.0  100.0  100.0   1.000") {
		t.Errorf("eval: %d\n%s\n%s", status, out, errOut)
	}
	for _, args := range [][]string{{"--collection", "kd"}, {"--collection", "kb", "--tenant", "other"}} {
		args = append(args, "--config", file, "--chain", "answer", "--set", filepath.Join(dir, "questions.jsonl"))
		if status, _, errOut = at(t, append([]string{"eval"}, args...)...); status != 1 || !strings.Contains(errOut, "there is nothing of tenant") {
			t.Errorf("%v: %d %s", args, status, errOut)
		}
	}
	// A set of one's own is indexed for chains of one's own.
	write(t, docs, "questions.jsonl", `{"question":"What is a low dam?","gold":["weir.md"]}`)
	write(t, docs, "bad.txt", "good")
	status, out, errOut = at(t, "eval", "--config", file+".memory", "--collection", "own", "--index", "--chain", "answer", "--set", docs)
	if status != 0 || !strings.Contains(out, "1 questions, 3 passages") || !strings.Contains(out, "answer  100.0  100.0  100.0  100.0   1.000") {
		t.Errorf("eval: %d\n%s\n%s", status, out, errOut)
	}
	write(t, docs, "questions.jsonl", `{"question":"What is a low dam?","gold":["weir.md","weir"]}`)
	status, _, errOut = at(t, "eval", "--set", docs, "--chain", "sparse")
	if status != 0 || !strings.Contains(errOut, `1 gold documents are not in the set and count as not found; the first: "weir"`) {
		t.Errorf("eval: %d %s", status, errOut)
	}
}

// One process owns the file of a store; another is told what to do.
func TestIngestLocked(t *testing.T) {
	dir := t.TempDir()
	text := strings.Replace(storing, "stores: {", "stores: { also: { embedded: { path: PATH } },", 1)
	write(t, dir, "gateway.yaml", strings.ReplaceAll(text, "PATH", filepath.Join(dir, "data")))
	write(t, dir, "a.txt", "a")
	status, _, errOut := at(t, "ingest", "--config", filepath.Join(dir, "gateway.yaml"), filepath.Join(dir, "a.txt"))
	if status != 1 || !strings.Contains(errOut, "write through it with --url") {
		t.Errorf("%d %s", status, errOut)
	}
}

func evaluate(t *testing.T, args ...string) map[string][5]float64 {
	t.Helper()
	status, out, errOut := at(t, append([]string{"eval", "--json"}, args...)...)
	var r report
	if err := json.Unmarshal([]byte(out), &r); status != 0 || err != nil {
		t.Fatalf("eval %v: %d %v\n%s\n%s", args, status, err, out, errOut)
	}
	scores := map[string][5]float64{}
	for _, c := range r.Chains {
		if c.Degraded > 0 || len(c.Stages) == 0 || c.Questions != r.Questions {
			t.Errorf("%s: %d of %d questions degraded, stages %v", c.Chain, c.Degraded, c.Questions, c.Stages)
		}
		s := c.Scores
		scores[c.Chain] = [5]float64{s.Recall2, s.Recall5, s.Recall10, s.All10, s.NDCG10}
	}
	return scores
}

// The built-in sample needs nothing, and scores the same every time.
func TestEval(t *testing.T) {
	got := evaluate(t)
	if len(got) != 5 || got["sparse"][1] < 0.9 || got["hybrid+graph+rerank"][2] < 0.9 {
		t.Errorf("scores: %v", got)
	}
	again := evaluate(t, "--chain", "hybrid+graph+rerank")
	if diff := cmp.Diff(got["hybrid+graph+rerank"], again["hybrid+graph+rerank"]); diff != "" {
		t.Error(diff)
	}
	status, out, _ := at(t, "eval", "--chain", "sparse+graph", "--limit", "3")
	if status != 0 || !strings.Contains(out, "sample: 3 questions, 28 passages") || !strings.Contains(out, "sparse+graph") || strings.Contains(out, "hybrid") {
		t.Errorf("%d %s", status, out)
	}
	f := func(want string, args ...string) {
		t.Helper()
		if status, _, errOut := at(t, append([]string{"eval"}, args...)...); status != 1 || !strings.Contains(errOut, want) {
			t.Errorf("%v: %d %s", args, status, errOut)
		}
	}
	f(`no chain "magic"; there is: sparse, sparse+graph`, "--chain", "magic")
	f("go together", "--collection", "kb")
	f("--index goes with --config", "--index")
	f("nowhere", "--set", "nowhere")
	f("--limit -1: ", "--limit=-1")
	dir := t.TempDir()
	f("--set "+dir+": its format is not told by the names of its files: headrace has questions.jsonl, ", "--set", dir)
}

const extracting = `
server: { listen: 127.0.0.1:0 }
providers: { p: { litellm: { url: URL } } }
stores: { kb: { embedded: { path: PATH } } }
models: { "*": [ { provider: p } ] }
routes:
  - { name: extract, match: { path: /graph/extract }, chain: [ serve_extract: { chain: [ slow, fast ], max_attempts: 1 }, call: {} ] }
`

// Models are raced for the graph of each chunk that has changed, and for no other; the
// slow one is let go of. What a model finds is there for retrieval, and what nobody
// could be asked about is written when somebody can be.
func TestIngestExtracts(t *testing.T) {
	var asked, cancelled, failing atomic.Int32
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		said := `{"nodes":[{"id":"b","type":"Person","props":[{"key":"name","value":"Bob"}]},{"id":"acme","type":"Company","props":[]}],"edges":[{"src":"b","dst":"acme","type":"EMPLOYED_AT","props":[]}]}`
		switch {
		case failing.Load() > 0:
			w.WriteHeader(500)
			return
		case strings.Contains(string(b), "weather"):
			said = "I see nobody."
		case strings.Contains(string(b), `"model":"slow"`):
			select {
			case <-r.Context().Done():
				cancelled.Add(1)
			case <-time.After(20 * time.Second):
				t.Error("the slow model was waited for")
			}
			return
		case strings.Contains(string(b), "Zed"):
			said = `{"nodes":[{"id":"zed","type":"Person","props":[]},{"id":"acme","type":"Company","props":[]}],"edges":[{"src":"zed","dst":"acme","type":"LEFT","props":[]},{"src":"zed","dst":"nobody","type":"MET","props":[]}]}`
		}
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}]}`, said)
	}))
	defer up.Close()
	dir := t.TempDir()
	write(t, dir, "gateway.yaml", strings.NewReplacer("PATH", filepath.Join(dir, "data"), "URL", up.URL+"/v1").Replace(extracting))
	docs := filepath.Join(dir, "docs")
	if err := os.Mkdir(docs, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, docs, "people.txt", "Bob works at Acme.")
	f := func(calls int32, wantStatus int, want string) {
		t.Helper()
		asked.Store(0)
		status, out, errOut := at(t, "ingest", "--config", filepath.Join(dir, "gateway.yaml"), "--graph", "extract", docs)
		if status != wantStatus || !strings.Contains(out+errOut, want) || asked.Load() != calls {
			t.Errorf("%d, %d calls, want %d and %d with %q\n%s\n%s", status, asked.Load(), wantStatus, calls, want, out, errOut)
		}
	}
	failing.Store(1)
	f(0, 1, `people.txt: extract a graph from chunk 1 of "people.txt"`)
	failing.Store(0)
	f(1, 0, "1 documents: 1 chunks written, 0 unchanged, 2 mentions")
	f(0, 0, "0 chunks written, 1 unchanged")
	write(t, docs, "sky.txt", "The weather is fine.")
	f(4, 0, "1 chunks in which no model found a graph")
	f(0, 0, "0 chunks written, 2 unchanged")
	write(t, docs, "zed.txt", "Zed left Acme.")
	f(1, 0, "1 relations left out, as their subject, type or object is missing or no name")
	for deadline := time.Now().Add(5 * time.Second); cancelled.Load() < 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the slow model was not let go of")
		}
	}

	src, err := source(filepath.Join(dir, "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(t.Context(), src, standard.Components(), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	graph, _ := config.Lookup[pipeline.GraphStore](s, "kb")
	found, err := graph.Expand(t.Context(), pipeline.ExpandQuery{Tenant: "default", Seeds: []pipeline.Seed{{ID: "bob", Weight: 1}}, Hops: 1, Fanout: 10, HubCap: 10, MaxSeeds: 10, MaxNodes: 10, MaxEdges: 10})
	if err != nil || len(found.Relations) != 1 || found.Relations[0].Type != "EMPLOYED_AT" || found.Relations[0].Dst != "acme" {
		t.Errorf("%+v %v", found, err)
	}
	status, _, errOut := at(t, "ingest", "--config", filepath.Join(dir, "gateway.yaml"), "--graph", "extract", "--url", up.URL, docs)
	if status != 1 || !strings.Contains(errOut, "leave out --url") {
		t.Errorf("%d %s", status, errOut)
	}
}
