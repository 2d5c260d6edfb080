package graph_test

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
      - graph: { store: kb, passages: kb, after: 1 }
      - answer: {}
`)}, registry(kb()), nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Release()
	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	ex.Op = pipeline.OpChat
	ex.Request.Body = []byte(`{"messages":[{"role":"user","content":"What is known about Eve?"}]}`)
	ex.Passages = []pipeline.Passage{{ID: "p0"}, {ID: "p1"}} // as a search would find
	if err := gateway.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
		fmt.Println(err)
	}
	for _, p := range ex.Passages {
		fmt.Println(p.ID, p.Via)
	}
	for _, r := range ex.Retrieval.Graph.Relations {
		fmt.Println(r.Src, r.Type, r.Dst)
	}
	// Output:
	// p0 []
	// p2 [ann]
	// p1 []
	// ann KNOWS ben
	// eve KNOWS dan
}
