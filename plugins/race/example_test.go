package race_test

import (
	"context"
	"fmt"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/race"
)

// The first target takes too long, so the second is asked as well and wins. The
// first is told that it has lost.
func Example() {
	slow := pipetest.NewProvider(pipetest.Answer{Delay: time.Minute, Body: `{"from":"slow"}`})
	fast := pipetest.NewProvider(pipetest.Says(`{"from":"fast"}`))
	components := config.Registry{
		race.Plugin,
		pipetest.Fixed[pipeline.Provider]("slow", slow),
		pipetest.Fixed[pipeline.Provider]("fast", fast),
	}
	s, err := config.Load(context.Background(), config.Source{Data: []byte(`
providers:
  slow: { slow: {} }
  fast: { fast: {} }
models:
  "*": [ { provider: slow }, { provider: fast } ]
routes:
  - name: chat
    match: { path: /v1/chat/completions }
    chain: [ race: { after: 20ms } ]
`)}, components, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Release()

	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	ex.Op = pipeline.OpChat
	ex.Request.Body = []byte(`{"model":"m","messages":[]}`)
	ex.Targets = s.Models.Any().Targets
	if err := s.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
		fmt.Println(err)
		return
	}
	body, _ := ex.Response.Body.Next()
	fmt.Printf("%s by %s after %d attempts\n", body, ex.Target.Name, ex.Attempts())
	// Output: {"from":"fast"} by fast after 2 attempts
}
