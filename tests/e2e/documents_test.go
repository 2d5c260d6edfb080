package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/headrace/headrace/tests/harness"
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
