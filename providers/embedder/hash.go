package embedder

import (
	"context"
	_ "embed"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed hash.go
var hashSource string

// Hash describes hash_embedder to a registry.
var Hash = config.Define[pipeline.Embedder]("hash_embedder", HashConfig{Dimensions: 768}, hashSource)

// HashConfig turns texts into vectors by hashing their words, without a model.
// Texts with the same words lie close to each other; it knows no synonyms.
type HashConfig struct {
	// Dimensions is the length of the vectors.
	Dimensions int `yaml:"dimensions" check:"min=16,max=16384"`
}

// Build implements config.Builder.
func (c HashConfig) Build(context.Context, config.Env) (pipeline.Embedder, error) {
	return hasher{c.Dimensions, "hash-v1-" + strconv.Itoa(c.Dimensions)}, nil
}

type hasher struct {
	size  int
	model string
}

// Model implements pipeline.Embedder.
func (h hasher) Model() string { return h.model }

// Embed implements pipeline.Embedder.
func (h hasher) Embed(ctx context.Context, texts []string, _ pipeline.Purpose) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, t := range texts {
		if ctx.Err() != nil {
			return nil, pipeline.Cause(ctx)
		}
		out[i] = h.embed(t)
	}
	return out, nil
}

// The weights of features. Parts of words bring their forms together and count
// for less than the words.
const (
	ofWord = 1.0
	ofPart = 0.35
	ofRune = 0.4
	ofPair = 1.0
	grams  = 4
)

// embed hashes each feature to a place and a sign. Repeats count by the root of
// their number, lest one word drown the others.
func (h hasher) embed(text string) []float32 {
	counts := map[uint64]float64{}
	rag.EachWord(text, func(word []byte, pair int) {
		switch {
		case pair == 1:
			counts[digest(word, 'r')] += ofRune * ofRune
		case pair == 2:
			counts[digest(word, 'p')] += ofPair * ofPair
		case !rag.IsStopWord(word):
			h.word(counts, word)
		}
	})
	v := make([]float32, h.size)
	// In a fixed order: sums of floats depend on it.
	for _, f := range slices.Sorted(maps.Keys(counts)) {
		x := float32(math.Sqrt(counts[f]))
		if f>>63 == 1 {
			x = -x
		}
		v[f%uint64(h.size)] += x
	}
	if out, err := unit(v); err == nil {
		return out
	}
	// Nothing in it counts: a place of its own, since no vector may be zero.
	v[0] = 1
	return v
}

func (h hasher) word(counts map[uint64]float64, word []byte) {
	for i := 0; i+grams <= len(word) && len(word) > grams; i++ {
		counts[digest(word[i:i+grams], 'g')] += ofPart * ofPart
	}
	counts[digest(rag.Stem(word), 'w')] += ofWord * ofWord
}

// digest is 64-bit FNV-1a of a feature and its kind, mixed so that every bit
// depends on all.
func digest(b []byte, kind byte) uint64 {
	h := (uint64(14695981039346656037) ^ uint64(kind)) * 1099511628211
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
