package all_test

import (
	"context"
	"fmt"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/all"
)

// finds returns a stage that takes its time to find one passage.
func finds(id string, takes time.Duration) pipeline.Handler {
	return pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		time.Sleep(takes)
		ex.Passages = append(ex.Passages, pipeline.Passage{ID: id})
		return nil
	})
}

func Example() {
	gateway, err := config.Load(context.Background(), config.Source{File: "gateway.yaml", Data: []byte(`
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain:
      - all:
          timeout: 10s
          branches:
            - [ documents: {} ]
            - [ facts: {} ]
`)}, config.Registry{
		all.Plugin,
		pipetest.Fixed("documents", finds("a document", 20*time.Millisecond)),
		pipetest.Fixed("facts", finds("a fact", 0)),
	}, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Release()
	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	if err := gateway.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
		fmt.Println(err)
	}
	for _, p := range ex.Passages {
		fmt.Println(p.ID) // in the order of the file, although the facts were first
	}
	// Output:
	// a document
	// a fact
}
