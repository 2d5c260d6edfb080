package contexts_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/rag"
	"github.com/headrace/headrace/plugins/contexts"
)

var registry = config.Registry{contexts.Plugin, contexts.Store}

const file = `
stores: { kept: { context_store: {} } }
routes: [ { name: contexts, match: { path: /v1/rag/contexts/* }, chain: [ contexts: { store: kept } ] } ]
`

func TestContexts(t *testing.T) {
	s := pipetest.Load(t, registry, file)
	store, ok := config.Lookup[*rag.Contexts](s, "kept")
	if !ok {
		t.Fatal("no store was built")
	}
	id := rag.NewContextID()
	store.Put("acme", id, []byte(`{"id":"x"}`))
	f := func(tenant, path string, want string) {
		t.Helper()
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		ex.Tenant = tenant
		ex.Request.Header.SetRequestURI(path)
		err := s.Routes[0].Chain.Handle(ex.Context(), ex)
		if want == "" {
			if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 404 || e.Code != "context_not_found" {
				t.Errorf("%s for %q: got %v; want 404", path, tenant, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := pipetest.ReadAll(t, ex); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f("acme", "/v1/rag/contexts/"+id, `{"id":"x"}`)
	f("acme", "/v1/rag/contexts/"+id+"?a=b", `{"id":"x"}`)
	f("other", "/v1/rag/contexts/"+id, "")
	f("", "/v1/rag/contexts/"+id, "")
	f("acme", "/v1/rag/contexts/", "")
	f("acme", "/v1/rag/contexts/"+rag.NewContextID(), "")
}

func TestConform(t *testing.T) {
	pipetest.Conform(t, contexts.Plugin, "store: kept", pipetest.Fixed[*rag.Contexts]("kept", rag.NewContexts(1<<20, 1)))
	pipetest.Conform(t, contexts.Store, "")
}

func TestFiles(t *testing.T) { pipetest.Problems(t, registry, "testdata") }

func Example() {
	gateway, err := config.Load(context.Background(), config.Source{File: "gateway.yaml", Data: []byte(file)}, registry, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Release()
	store, _ := config.Lookup[*rag.Contexts](gateway, "kept")
	id := rag.NewContextID()
	store.Put(rag.DefaultTenant, id, []byte(`{"object":"rag.context"}`)) // as prompt does
	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	ex.Request.Header.SetRequestURI("/v1/rag/contexts/" + id)
	if err := gateway.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
		fmt.Println(err)
	}
	body, _ := ex.Response.Whole()
	fmt.Println(string(body))
	// Output: {"object":"rag.context"}
}
