package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stub"
)

// The shipped file keeps answers from documents until one of the documents changes, and
// gives none without documents where they are required.
func TestAnswersFromDocuments(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, "gateway.yaml")
	index := func(text string) {
		t.Helper()
		if a := send(t, g.Root+"/index/chunks", fmt.Sprintf(`{"collection":"kb","chunks":[{"doc_id":"handbook","chunk_id":"gate","text":%q}]}`, text)); a.StatusCode != 200 {
			t.Fatal(a)
		}
	}
	ask := func(kept, text string) {
		t.Helper()
		a := send(t, g.Root+"/v1/chat/completions", question("kb-answer", "Who opens the spillway gate of the dam?", false))
		if a.StatusCode != 200 || a.Header.Get("X-Headrace-Cache") != kept || a.Header.Get("X-RAG-Status") != "hit" ||
			!strings.Contains(a.body, text) || !strings.Contains(a.body, `"url_citation"`) {
			t.Errorf("want %s from the cache with %q, got %v", kept, text, a)
		}
		if c := send(t, g.Root+"/v1/rag/contexts/"+a.Header.Get("X-RAG-Context-Id"), ""); !strings.Contains(c.body, text) {
			t.Errorf("the context of the answer: %v", c)
		}
	}
	for path, body := range map[string]string{
		"/v1/chat/completions": question("offline", unique(), true), "/v1/completions": `{"model":"m","prompt":"x"}`, "/v1/responses": `{"model":"m","input":"x"}`,
	} {
		if a := send(t, g.Root+path, body, "X-RAG", "required"); a.StatusCode != 400 || !strings.Contains(a.body, "this model has none") {
			t.Errorf("%s: an answer was required from documents that there are not: %v", path, a)
		}
	}
	if a := send(t, g.Root+"/v1/embeddings", `{"model":"m","input":"x"}`, "X-RAG", "required"); a.StatusCode != 200 {
		t.Error(a)
	}
	if a := send(t, g.Root+"/graph/probe", `{"model":"m"}`, "X-RAG", "required"); a.StatusCode != 200 {
		t.Error(a)
	}
	index("The crew of the dam opens the spillway gate.")
	ask("miss", "The crew of the dam")
	ask("hit", "The crew of the dam")
	index("The warden alone opens the spillway gate.")
	ask("miss", "The warden alone")
	ask("hit", "The warden alone")
}

// kb-answer is whichever model of the upstream the environment names.
func TestAnswerModel(t *testing.T) {
	t.Parallel()
	up := stub.Start()
	defer up.Close()
	for _, want := range []string{"rag-answer", "echo"} {
		env := []string{"HEADRACE_UPSTREAM=" + up.URL}
		if want == "echo" {
			env = append(env, "HEADRACE_ANSWER_MODEL=echo")
		}
		g := harness.Start(t, "gateway.yaml", env...)
		a := send(t, g.Root+"/v1/chat/completions", question("kb-answer", "hello", false))
		if sent := up.Requests(); a.StatusCode != 200 || len(sent) == 0 || sent[len(sent)-1].Model != want {
			t.Errorf("want %s, sent %+v: %v", want, sent, a)
		}
	}
}

// A chunk that is indexed again names what it names now.
func TestEntitiesAnew(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, "gateway.yaml")
	index := func(chunks string) {
		t.Helper()
		if a := send(t, g.Root+"/index/chunks", `{"collection":"kb","chunks":[`+chunks+`]}`); a.StatusCode != 200 || !strings.Contains(a.body, `"errors":[]`) {
			t.Fatal(a)
		}
	}
	leads := func(want bool) {
		t.Helper()
		a := send(t, g.Root+"/retrieve", `{"query":"spillway gate","collection":"kb","mode":"sparse"}`)
		if a.StatusCode != 200 || strings.Contains(a.body, "Ann lives by the sea") != want {
			t.Errorf("want that the gate leads to Ann: %v, got %v", want, a)
		}
	}
	const other = `{"doc_id":"b","chunk_id":"1","text":"Ann lives by the sea.","entities":["Ann"]}`
	index(`{"doc_id":"a","chunk_id":"1","text":"The spillway gate is old.","entities":["Ann","Bob"]},` + other)
	leads(true)
	index(`{"doc_id":"a","chunk_id":"1","text":"The spillway gate is new.","entities":["Bob"]}`)
	leads(false)
	index(`{"doc_id":"a","chunk_id":"1","text":"The spillway gate is new.","entities":["Ann"]}`)
	leads(true)
	index(`{"doc_id":"a","chunk_id":"1","text":"The spillway gate is new."}`)
	leads(true)
	index(`{"doc_id":"a","chunk_id":"1","text":"The spillway gate is new.","entities":[]}`)
	leads(false)
}

// A collection that one model has filled is not searched with another's vectors, though
// they have the same length: that would find anything.
func TestAnotherModel(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	const text = `
server: { listen: "${HEADRACE_LISTEN}", admin: "${HEADRACE_ADMIN}" }
providers:
  up: { offline: {} }
stores:
  kb: { embedded: {} }
  old: { embedder: { provider: up, model: old } }
  new: { embedder: { provider: up, model: new } }
  renamed: { embedder: { provider: up, model: new, space: old } }
models: { "*": [ { provider: up } ] }
routes:
  - { name: index, match: { path: /index/old }, chain: [ serve_index: { store: kb, embedder: old } ] }
  - { name: index new, match: { path: /index/new }, chain: [ serve_index: { store: kb, embedder: new } ] }
  - { name: search, match: { path: /search/old }, chain: [ serve_search: { store: kb, embedder: old } ] }
  - { name: search new, match: { path: /search/new }, chain: [ serve_search: { store: kb, embedder: new } ] }
  - { name: search renamed, match: { path: /search/renamed }, chain: [ serve_search: { store: kb, embedder: renamed } ] }
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := harness.Start(t, file)
	f := func(path, body string, status int, want string) {
		t.Helper()
		if a := send(t, g.Root+path, body); a.StatusCode != status || !strings.Contains(a.body, want) {
			t.Errorf("%s: want %d with %q, got %v", path, status, want, a)
		}
	}
	const chunk = `{"chunks":[{"doc_id":"a","text":"The spillway gate is old."}]}`
	f("/index/old", chunk, 200, `"upserted":1`)
	f("/index/new", chunk, 409, "set `space: old`")
	const dense = `{"query":"spillway gate","mode":"dense"}`
	f("/search/old", dense, 200, "The spillway gate is old.")
	f("/search/renamed", dense, 200, "The spillway gate is old.")
	f("/search/new", dense, 409, `are of the model \"old\", not \"new\"`)
	f("/search/new", `{"query":"spillway gate"}`, 200, "The spillway gate is old.") // by words
}

// Through a running gateway documents become what their files are, as they do without one:
// shorter, empty, with another graph.
func TestIngestThroughGateway(t *testing.T) {
	t.Parallel()
	g := harness.Start(t, "gateway.yaml")
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ingest := func(want string, args ...string) {
		t.Helper()
		cmd := exec.Command(harness.Binary(t), append([]string{"ingest", "--url", g.Root, "--size", "60", "--overlap", "0", "--graph", "titles", dir}, args...)...)
		cmd.Env = harness.CleanEnv()
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v %s; want %s", err, out, want)
		}
	}
	finds := func(word string, want bool) {
		t.Helper()
		a := send(t, g.Root+"/search", `{"collection":"kb","mode":"sparse","query":"`+word+`"}`)
		if a.StatusCode != 200 || strings.Contains(a.body, word) != want {
			t.Errorf("%s is to be found: %v, got %v", word, want, a)
		}
	}
	leads := func(want bool) {
		t.Helper()
		a := send(t, g.Root+"/retrieve", `{"query":"penstock","collection":"kb","mode":"sparse"}`)
		if a.StatusCode != 200 || strings.Contains(a.body, "oak piles") != want {
			t.Errorf("the penstock leads to the weir: %v, got %v", want, a)
		}
	}
	write("weir.md", "# Old Weir\n\nThe dam stands on oak piles. Nobody knows for how long they will hold.\n\nIt was built by monks in a summer without rain.\n")
	write("mill.txt", "The penstock begins behind the Old Weir. It feeds two wheels.")
	ingest("5 chunks written, 0 unchanged")
	finds("monks", true)
	leads(true)
	ingest("0 chunks written, 5 unchanged")
	leads(true)
	ingest("5 chunks written", "--again")
	write("weir.md", "# Old Weir\n\nThe dam stands on oak piles. Nobody knows for how long they will hold.\n")
	ingest("0 chunks written")
	finds("monks", false)
	leads(true)
	write("mill.txt", "The penstock begins behind the new gate. It feeds two wheels.")
	ingest("1 chunks written")
	leads(false)
	write("mill.txt", "")
	ingest("0 chunks written")
	finds("penstock", false)

	var long strings.Builder
	for i := range 1100 {
		fmt.Fprintf(&long, "Paragraph number%d says nothing that any other says.\n\n", i)
	}
	write("mill.txt", long.String())
	ingest("1100 chunks written")
	finds("number1099", true)
	ingest("0 chunks written")
	write("mill.txt", long.String()[:strings.Index(long.String(), "Paragraph number1050 ")])
	ingest("0 chunks written")
	finds("number1049", true)
	finds("number1099", false)
}
