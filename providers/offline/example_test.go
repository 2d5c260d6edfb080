package offline_test

import (
	"context"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/providers/offline"
)

// The model repeats what the user said, or calls the tool that the user names.
func Example() {
	provider, err := offline.Config{Models: []string{"offline"}, MaxWords: 100, Dimensions: 64}.Build(context.Background(), config.Env{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ask := func(request string) {
		ex := pipeline.Acquire(context.Background())
		defer ex.Release()
		ex.Op = pipeline.OpChat
		ex.Request.Header.SetMethod("POST")
		ex.Request.Body = []byte(request)
		if err := provider.Call(ex.Context(), ex); err != nil {
			fmt.Println(err)
			return
		}
		answer, err := ex.Response.Body.Next()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(message(answer))
	}
	ask(`{"model":"m","messages":[{"role":"user","content":"Good morning!"}]}`)
	ask(`{"model":"m","messages":[{"role":"user","content":"use lookup"}],"tools":[{"type":"function","function":{"name":"lookup"}}]}`)
	// Output:
	// "This is the offline model. You said: Good morning!"
	// lookup({})
}
