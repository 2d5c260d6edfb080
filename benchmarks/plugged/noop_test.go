package main

import (
	"context"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// Being a plugin costs no allocation, however many there are.
func TestNoAllocations(t *testing.T) {
	var chain pipeline.Chain
	for range 10 {
		h, err := Config{}.Build(context.Background(), config.Env{})
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, h)
	}
	reached := 0
	chain = append(chain, pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error {
		reached++
		return nil
	}))
	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	n := testing.AllocsPerRun(100, func() {
		if err := chain.Handle(ex.Context(), ex); err != nil {
			t.Error(err)
		}
	})
	if n != 0 || reached == 0 {
		t.Errorf("%v allocations a request, want none; reached the end %d times", n, reached)
	}
}

func BenchmarkTenNoops(b *testing.B) {
	var chain pipeline.Chain
	for range 10 {
		chain = append(chain, handler{})
	}
	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	b.ReportAllocs()
	for b.Loop() {
		_ = chain.Handle(ex.Context(), ex)
	}
}
