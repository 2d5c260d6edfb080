package retrieve_test

import (
	"context"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

func Example() {
	gateway, err := config.Load(context.Background(), config.Source{File: "gateway.yaml", Data: []byte(`
stores:
  kb: { kb: {} }
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain:
      - retrieve: { store: kb, collection: chunks, mode: sparse }
      - answer: {}
`)}, registry(kb(), meaning()), nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Release()
	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	ex.Op = pipeline.OpChat
	ex.Request.Body = []byte(`{"model":"m","messages":[{"role":"user","content":"Where do red apples grow?"}]}`)
	if err := gateway.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
		fmt.Println(err)
	}
	for _, p := range ex.Passages {
		fmt.Println(p.ID, p.Text)
	}
	// Output:
	// p0 red apples grow on trees
	// p1 green apples
}
