package rerank_test

import (
	"context"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

func Example() {
	gateway, err := config.Load(context.Background(), config.Source{File: "gateway.yaml", Data: []byte(`
stores:
  judge: { judge: {} }
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain:
      - rerank: { with: judge, keep: 1 }
      - answer: {}
`)}, registry(longest()), nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Release()
	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	ex.Op = pipeline.OpChat
	ex.Request.Body = []byte(`{"messages":[{"role":"user","content":"Which is the longest?"}]}`)
	ex.Passages = []pipeline.Passage{{Text: "short"}, {Text: "rather longer"}}
	if err := gateway.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
		fmt.Println(err)
	}
	for _, p := range ex.Passages {
		fmt.Println(p.Text)
	}
	// Output: rather longer
}
