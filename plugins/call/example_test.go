package call_test

import (
	"context"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/call"
)

func Example() {
	small := pipetest.NewProvider(pipetest.Says("the small one"))
	large := pipetest.NewProvider(pipetest.Says("the large one"))
	gateway, err := config.Load(context.Background(), config.Source{File: "gateway.yaml", Data: []byte(`
providers:
  small: { small: {} }
  large: { large: {} }
models:
  "*": [ { provider: small } ]
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain: [ call: {} ]
  - name: difficult
    match: { path: /v1/difficult }
    chain: [ call: { provider: large } ]
`)}, config.Registry{
		call.Plugin,
		pipetest.Fixed[pipeline.Provider]("small", small),
		pipetest.Fixed[pipeline.Provider]("large", large),
	}, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Release()
	for _, route := range gateway.Routes {
		ex := pipeline.Acquire(context.Background())
		ex.Targets = gateway.Models.Any().Targets
		if err := route.Chain.Handle(ex.Context(), ex); err != nil {
			fmt.Println(err)
		}
		answer, _ := ex.Response.Whole()
		fmt.Printf("%s: %s\n", route.Name, answer)
		ex.Release()
	}
	// Output:
	// chat: the small one
	// difficult: the large one
}
