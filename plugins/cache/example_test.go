package cache_test

import (
	"context"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/cache"
)

// The third request differs from the first in white space and in who asks for
// whom, and gets the same answer; the fourth asks for a fresh one.
func Example() {
	calls := 0
	count := pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		calls++
		ex.Response.Header.SetContentType("application/json")
		ex.Response.SetBody(fmt.Appendf(nil, `{"call":%d}`, calls))
		return nil
	})
	gateway, err := config.Load(context.Background(), config.Source{File: "gateway.yaml", Data: []byte(`
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain:
      - cache: { ttl: 10m }
      - count: {}
`)}, config.Registry{cache.Plugin, pipetest.Fixed[pipeline.Handler]("count", count)}, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Release()
	ask := func(body string) {
		ex := pipeline.Acquire(context.Background())
		defer ex.Release()
		ex.Op = pipeline.OpChat
		ex.Request.Header.SetMethod("POST")
		ex.Request.Body = []byte(body)
		if err := gateway.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
			fmt.Println(err)
			return
		}
		answer, _ := ex.Response.Whole()
		fmt.Printf("%s %s\n", ex.Response.Header.Peek("x-headrace-cache"), answer)
	}
	ask(`{"model":"gpt-4o","temperature":0}`)
	ask(`{"model":"gpt-4o","temperature":1}`)
	ask(`{ "temperature": 0, "model": "gpt-4o", "user": "eve" }`)
	ask(`{"model":"gpt-4o","temperature":0,"cache":{"no-cache":true}}`)
	// Output:
	// miss {"call":1}
	// miss {"call":2}
	// hit {"call":1}
	// bypass {"call":3}
}
