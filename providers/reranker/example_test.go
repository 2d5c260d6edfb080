package reranker_test

import (
	"context"
	"fmt"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/providers/reranker"
)

func Example() {
	r, err := reranker.LexicalConfig{K1: 0.9, B: 0.4}.Build(context.Background(), config.Env{})
	if err != nil {
		fmt.Println(err)
		return
	}
	scores, err := r.Rerank(context.Background(), "where do whales live?", []string{"Apples grow on trees.", "Whales live in the sea."})
	fmt.Println(scores[1] > scores[0], err)
	// Output: true <nil>
}
