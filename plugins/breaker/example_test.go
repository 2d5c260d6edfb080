package breaker_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/breaker"
)

func Example() {
	down := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error {
		fmt.Println("asking")
		return pipeline.Fail(502, "upstream_unreachable", errors.New("the upstream refused the connection"))
	})
	gateway, err := config.Load(context.Background(), config.Source{File: "gateway.yaml", Data: []byte(`
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain:
      - breaker: { failures: 2, cooldown: 30s }
      - down: {}
`)}, config.Registry{breaker.Plugin, pipetest.Fixed[pipeline.Handler]("down", down)}, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Release()
	for range 4 {
		ex := pipeline.Acquire(context.Background())
		err := gateway.Routes[0].Chain.Handle(ex.Context(), ex)
		fmt.Println(err)
		ex.Release()
	}
	// Output:
	// asking
	// upstream_unreachable: the upstream refused the connection
	// asking
	// upstream_unreachable: the upstream refused the connection
	// circuit_open: the upstream keeps failing and is left alone for a while
	// circuit_open: the upstream keeps failing and is left alone for a while
}
