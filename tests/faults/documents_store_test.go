package faults

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	rpc "google.golang.org/grpc/status"

	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stores/qdrantserver"
)

// TestDocumentsStore: a store that is down, hangs or is slow.
func TestDocumentsStore(t *testing.T) {
	t.Parallel()
	server := &qdrantserver.Server{Backend: &qdrantserver.Memory{}}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	server.Stop() // its address stays
	t.Cleanup(server.Stop)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	passages := `  passages: { qdrant: { url: "` + server.URL() + `" } }` + "\n"
	r := newRoom(t, passages, "passages", "kb")
	f := func(label, graphless string, there bool, most time.Duration) {
		t.Helper()
		for _, model := range []string{"kb-answer", "kb-dense", "kb-fail"} {
			for _, required := range []string{"on", "required"} {
				name := r.name("store")
				a := r.ask("chat", model, "", name, false, "X-RAG", required)
				status, want := 200, "hit"
				switch {
				case !there && (model == "kb-fail" || required == "required"), graphless != "" && model == "kb-fail":
					status, want = 503, ""
				case !there || graphless != "":
					want = "degraded"
				}
				if a.status != status || a.header.Get("X-RAG-Status") != want || status == 503 && a.header.Get("Retry-After") == "" || a.took > most {
					t.Errorf("%s, %s, %s: want %d %s, got %v", label, model, required, status, want, a)
				}
				if status == 200 && there {
					r.faithful(t, a, name)
				}
				if n := len(r.l.requests("C", name)); (n == 0) != (status == 503) {
					t.Errorf("%s, %s, %s: the model was asked %d times", label, model, required, n)
				}
			}
		}
		a := r.post("/v1/retrieve", fmt.Sprintf(`{"query":"spillway gate N:%s","collection":"kb"}`, r.name("s")))
		if there != (a.status == 200) || !there && (a.status != 503 || a.header.Get("Retry-After") == "") || strings.Contains(a.body, `"degraded":["graph:`) != (there && graphless != "") {
			t.Errorf("%s: %v", label, a)
		}
	}
	lag := time.Second // 50 ms is the aim; the machine may be busy
	f("down at the start", "", false, lag)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, "the store is found", func() bool {
		return r.post("/index/chunks", `{"collection":"first","chunks":[{"doc_id":"n","text":"x"}]}`).status == 200
	})
	r.fill(t, "acme")
	f("well", "", true, lag)
	server.SetBefore(func(ctx context.Context, _ string) error {
		<-ctx.Done()
		return ctx.Err()
	})
	f("hanging", "", false, limitRetrieve+lag)
	for _, code := range []codes.Code{codes.Unavailable, codes.Internal, codes.ResourceExhausted, codes.Unauthenticated} {
		server.SetBefore(func(context.Context, string) error { return rpc.Error(code, canaryBytes) })
		f(code.String(), "", false, lag)
	}
	server.SetBefore(func(context.Context, string) error {
		time.Sleep(20 * time.Millisecond)
		return nil
	})
	f("slow", "", true, lag)
	server.SetBefore(nil)
	server.Stop()
	f("down", "", false, lag)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for label, address := range map[string]string{"error": harness.FreeAddress(t), "timeout": silent.Addr().String()} {
		r = newRoom(t, passages+`  knowledge: { neo4j: { uri: "bolt://`+address+`", user: neo4j, password: x, write_timeout: 100ms } }`+"\n", "passages", "knowledge")
		harness.Until(t, "the store is found", func() bool {
			return r.post("/v1/retrieve", fmt.Sprintf(`{"query":"spillway gate N:%s","collection":"kb"}`, r.name("s"))).status == 200
		})
		f("graph: "+label, label, true, limitGraph+lag)
	}
}
