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
