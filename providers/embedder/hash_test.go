package embedder_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/providers/embedder"
)

func hashes(t testing.TB) pipeline.Embedder {
	t.Helper()
	e, err := embedder.Hash.Build(context.Background(), config.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return e.(pipeline.Embedder)
}

func likeness(t *testing.T, a, b string) float64 {
	t.Helper()
	v, err := hashes(t).Embed(t.Context(), []string{a, b}, pipeline.ForStoring)
	if err != nil {
		t.Fatal(err)
	}
	dot := 0.0
	for i := range v[0] {
		dot += float64(v[0][i]) * float64(v[1][i])
	}
	return dot
}

func TestHash(t *testing.T) {
	near := func(a, b string, least, most float64) {
		t.Helper()
		if got := likeness(t, a, b); got < least || got > most {
			t.Errorf("%q and %q: %.2f, want %v to %v", a, b, got, least, most)
		}
	}
	near("red apples", "red apples", 0.9999, 1.0001)
	near("The red apples!", "red APPLES", 0.9999, 1.0001) // stop words, case, marks
	near("red apples", "a red apple", 0.7, 1)
	near("red apples", "blue whales sing", -0.2, 0.25)
	near("張忠謀是誰", "台積電創辦人張忠謀", 0.3, 0.9)
	near("張忠謀是誰", "今天天氣很好", -0.2, 0.2)
	near("", "the of", 0.9999, 1.0001) // nothing that counts, and still a vector
}

func TestHashDeterministic(t *testing.T) {
	text := strings.Repeat("Water flows through the headrace to the turbine. 水流過引水道。", 5)
	want, _ := hashes(t).Embed(t.Context(), []string{text}, pipeline.ForStoring)
	if len(want[0]) != 768 || hashes(t).Model() != "hash-v1-768" {
		t.Errorf("%d dimensions of %s", len(want[0]), hashes(t).Model())
	}
	sum := 0.0
	for _, x := range want[0] {
		sum += float64(x) * float64(x)
	}
	if math.Abs(sum-1) > 1e-5 {
		t.Errorf("length %v", math.Sqrt(sum))
	}
	for range 20 {
		got, _ := hashes(t).Embed(t.Context(), []string{text}, pipeline.ForAsking)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := hashes(t).Embed(ctx, []string{text}, pipeline.ForAsking); err == nil {
		t.Error("answered after the end of its context")
	}
}

func TestConform(t *testing.T) {
	pipetest.Conform(t, embedder.Component, "provider: upstream\nmodel: m")
	pipetest.Conform(t, embedder.Hash, "")
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{embedder.Component, embedder.Hash, pipetest.Fixed[pipeline.Provider]("none", pipetest.NewProvider()), pipetest.Fixed[pipeline.Handler]("fixed", pipeline.CallTarget)}, "testdata")
}

func BenchmarkHash(b *testing.B) {
	e := hashes(b)
	text := []string{strings.Repeat("Water flows through the headrace to the turbine and back to the river. ", 14)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Embed(b.Context(), text, pipeline.ForStoring); err != nil {
			b.Fatal(err)
		}
	}
}
