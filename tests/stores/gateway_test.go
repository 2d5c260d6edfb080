package stores

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stores/qdrantserver"
)

// retrieved is the part of an answer of /retrieve that is looked at here.
type retrieved struct {
	Hits     []struct{ Text string }
	Degraded []string
	Subgraph struct {
		Nodes []struct{ ID string }
		Edges []struct{ Type string }
	}
}

// examples/stores.yaml is the shipped file but for its stores.
func TestFileIsTheSame(t *testing.T) {
	read := func(name string, change ...string) (v map[string]any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(harness.Root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(change); i += 2 {
			if !strings.Contains(string(text), change[i]) {
				t.Errorf("%s has no %q", name, change[i])
			}
		}
		if err := yaml.Unmarshal([]byte(strings.NewReplacer(change...).Replace(string(text))), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	want := read("gateway.yaml", "graph: { store: kb,", "graph: { store: facts,", "graph: kb }", "graph: facts }", "serve_query: {}", "serve_query: { graph: facts }")
	got := read("examples/stores.yaml")
	for _, name := range []string{"kb", "facts"} {
		delete(want["stores"].(map[string]any), name)
		delete(got["stores"].(map[string]any), name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gateway.yaml (-) and examples/stores.yaml (+) differ in more than their stores:\n%s", diff)
	}
}

// The gateway with examples/stores.yaml: what one store cannot give is left out
// and said to be, and the other's part still comes in time.
func TestGateway(t *testing.T) {
	harness.Suite(t)
	graph := runNeo4j(t, port(t), t.TempDir(), "a-good-password")
	vectors := &qdrantserver.Server{Backend: &qdrantserver.Memory{}, Key: "k"}
	if err := vectors.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vectors.Stop)
	g := harness.Start(t, "examples/stores.yaml",
		"QDRANT_URL="+vectors.URL(), "QDRANT_API_KEY=k", "NEO4J_URI="+graph.address, "NEO4J_PASSWORD=a-good-password")
	post := func(path, body string) (int, string) { return g.Post(t, path, body) }
	must := func(path, body string) string {
		t.Helper()
		status, answer := post(path, body)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, answer)
		}
		return answer
	}
	retrieve := func() (int, retrieved) {
		t.Helper()
		began := time.Now()
		status, body := post("/retrieve", `{"query": "Who founded Acme?", "collection": "kb", "max_hops": 1}`)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("retrieval took %v", took)
		}
		var r retrieved
		if status == http.StatusOK {
			if err := json.Unmarshal([]byte(body), &r); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
		}
		return status, r
	}
	must("/index/chunks", `{"collection": "kb", "chunks": [
		{"doc_id": "d1", "text": "Acme was founded by Ann in 1990.", "entities": ["Acme", "Ann"]},
		{"doc_id": "d2", "text": "Ann grew up by the sea.", "entities": ["Ann"]}]}`)
	must("/graph/upsert", `{"data": {"nodes": [{"id": "Acme", "type": "Org", "props": []}, {"id": "Ann", "type": "Person", "props": []}],
		"edges": [{"src": "Acme", "dst": "Ann", "type": "FOUNDED_BY", "props": []}]}, "doc_id": "d1"}`)

	t.Run("both", func(t *testing.T) {
		// A server that has just started plans each statement for the first time.
		var status int
		var r retrieved
		harness.Until(t, "the graph answers in time", func() bool {
			status, r = retrieve()
			return status != 200 || len(r.Degraded) == 0
		})
		if status != 200 || len(r.Degraded) != 0 || len(r.Hits) < 1 || !strings.Contains(r.Hits[0].Text, "founded by Ann") ||
			len(r.Subgraph.Edges) != 1 {
			t.Errorf("%d %+v", status, r)
		}
	})
	t.Run("cypher", func(t *testing.T) {
		if got := must("/graph/query", `{"query": "MATCH (p:Person) RETURN p.id AS id"}`); !strings.Contains(got, `"Ann"`) {
			t.Error(got)
		}
		if status, body := post("/graph/query", `{"query": "MATCH (p:Person) SET p.id = 1"}`); status != 400 {
			t.Errorf("%d %s", status, body)
		}
	})
	t.Run("no vectors", func(t *testing.T) {
		vectors.Stop()
		status, r := retrieve()
		if status == 200 && !strings.HasPrefix(fmt.Sprint(r.Degraded), "[retrieve:") || status != 200 && status != 503 {
			t.Errorf("%d %+v", status, r)
		}
		if err := vectors.Start(); err != nil {
			t.Fatal(err)
		}
		harness.Until(t, "all is well again", func() bool {
			status, r := retrieve()
			return status == 200 && len(r.Degraded) == 0 && len(r.Hits) > 0
		})
	})
	t.Run("graph frozen", func(t *testing.T) {
		graph.signal(t, syscall.SIGSTOP)
		status, r := retrieve()
		if status != 200 || len(r.Hits) == 0 || fmt.Sprint(r.Degraded) != "[graph:timeout]" {
			t.Errorf("%d %+v", status, r)
		}
		graph.signal(t, syscall.SIGCONT)
		harness.Until(t, "all is well again", func() bool {
			status, r := retrieve()
			return status == 200 && len(r.Degraded) == 0
		})
	})
}
