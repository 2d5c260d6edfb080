package reranker

import (
	"context"
	_ "embed"
	"math"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed lexical.go
var lexicalSource string

// Lexical describes lexical_reranker to a registry.
var Lexical = config.Define[pipeline.Reranker]("lexical_reranker", LexicalConfig{K1: 0.9, B: 0.4}, lexicalSource)

// LexicalConfig scores texts by the words that they share with the query,
// without a model. Words that few of the texts have count more.
type LexicalConfig struct {
	// K1 is how much a word gains by being repeated.
	K1 float64 `yaml:"k1" check:"min=0,max=10"`
	// B is how much long texts are held back, from 0 to 1.
	B float64 `yaml:"b" check:"min=0,max=1"`
}

// Build implements config.Builder.
func (c LexicalConfig) Build(context.Context, config.Env) (pipeline.Reranker, error) {
	return lexical{c}, nil
}

type lexical struct{ LexicalConfig }

// Rerank implements pipeline.Reranker. Scores lie between 0 and 1: the share of
// what the query could gain at most.
func (l lexical) Rerank(ctx context.Context, query string, texts []string) ([]float32, error) {
	terms := map[string]int{} // of the query, numbered
	each(query, func(w string) {
		if _, ok := terms[w]; !ok {
			terms[w] = len(terms)
		}
	})
	counts := make([][]float64, len(texts))
	lengths := make([]float64, len(texts))
	df := make([]float64, len(terms))
	total := 0.0
	for i, t := range texts {
		if ctx.Err() != nil {
			return nil, pipeline.Cause(ctx)
		}
		c := make([]float64, len(terms))
		each(t, func(w string) {
			lengths[i]++
			if n, ok := terms[w]; ok {
				if c[n]++; c[n] == 1 {
					df[n]++
				}
			}
		})
		counts[i] = c
		total += lengths[i]
	}
	return l.score(counts, lengths, df, total/max(1, float64(len(texts)))), nil
}

// score is BM25 over these texts alone.
func (l lexical) score(counts [][]float64, lengths, df []float64, mean float64) []float32 {
	n := float64(len(counts))
	idf := make([]float64, len(df))
	most := 0.0
	for i, d := range df {
		idf[i] = math.Log((n-d+0.5)/(d+0.5) + 1)
		most += idf[i] * (l.K1 + 1)
	}
	scores := make([]float32, len(counts))
	for i, c := range counts {
		sum := 0.0
		for t, f := range c {
			if f > 0 {
				sum += idf[t] * f * (l.K1 + 1) / (f + l.K1*(1-l.B+l.B*lengths[i]/max(1, mean)))
			}
		}
		if most > 0 {
			scores[i] = float32(sum / most)
		}
	}
	return scores
}

// each calls yield for each term that counts: stems, and pairs of characters
// where words are not parted.
func each(text string, yield func(term string)) {
	rag.EachWord(text, func(word []byte, pair int) {
		switch {
		case pair == 1:
		case pair == 2:
			yield(string(word))
		case !rag.IsStopWord(word):
			yield(string(rag.Stem(word)))
		}
	})
}
