package auth_test

import (
	"context"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/auth"
)

func Example() {
	greet := pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		fmt.Println("hello,", ex.Tenant)
		return nil
	})
	gateway, err := config.Load(context.Background(), config.Source{File: "gateway.yaml", Data: []byte(`
before:
  - auth: { keys: "acme=sk-1,globex=sk-2" }
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain: [ greet: {} ]
`)}, config.Registry{auth.Plugin, pipetest.Fixed[pipeline.Handler]("greet", greet)}, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Release()
	chain := append(gateway.Before[:1:1], gateway.Routes[0].Chain...)
	ask := func(name, value string) {
		ex := pipeline.Acquire(context.Background())
		defer ex.Release()
		ex.Request.Header.Set(name, value)
		if err := chain.Handle(ex.Context(), ex); err != nil {
			fmt.Println(err)
		}
	}
	ask("Authorization", "Bearer sk-1")
	ask("X-API-Key", "sk-2")
	ask("Authorization", "Bearer sk-3")
	// Output:
	// hello, acme
	// hello, globex
	// invalid_api_key: the API key is not known here
}
