package embedder_test

import (
	"context"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/providers/embedder"
)

func Example() {
	c, err := embedder.HashConfig{Dimensions: 256}.Build(context.Background(), config.Env{})
	if err != nil {
		fmt.Println(err)
		return
	}
	vectors, err := c.Embed(context.Background(), []string{"red apples", "green apples", "blue whales"}, pipeline.ForStoring)
	if err != nil {
		fmt.Println(err)
		return
	}
	alike := func(a, b []float32) (dot float32) {
		for i := range a {
			dot += a[i] * b[i]
		}
		return dot
	}
	fmt.Println(c.Model(), alike(vectors[0], vectors[1]) > alike(vectors[0], vectors[2]))
	// Output: hash-v1-256 true
}
