package pipeline

import (
	"context"
	"time"
)

// A Purpose tells an embedder what a text is; some models treat the two apart.
type Purpose uint8

// The purposes.
const (
	ForStoring Purpose = iota
	ForAsking
)

// An Embedder turns texts into vectors of unit length.
type Embedder interface {
	// Embed returns a vector for each text, in order. Vectors are shared:
	// callers must not modify them.
	Embed(ctx context.Context, texts []string, purpose Purpose) ([][]float32, error)
	// Model names what made the vectors; vectors of different models never
	// meet in one collection. It goes into an Upsert and a SearchQuery.
	Model() string
}

// A Forgetter is an Embedder that keeps vectors, and can be told of some that turned out
// to be of no use.
type Forgetter interface {
	// Forget has the vectors of these texts made anew when they are asked for again.
	Forget(texts []string, purpose Purpose)
}

// A Reranker scores texts by how well they answer a query.
type Reranker interface {
	// Rerank returns one score for each text, in the order given.
	Rerank(ctx context.Context, query string, texts []string) ([]float32, error)
}

// A ModelReranker can score by another model of its upstream.
type ModelReranker interface {
	Reranker
	// WithModel returns a reranker that asks the model of that name.
	WithModel(name string) Reranker
}

// Retrieval is what the stages of retrieval hand each other, and what a client
// is told of it. It belongs to one exchange; branches have their own.
type Retrieval struct {
	Query      string // what is asked for
	Collection string
	Filter     *Filter
	Seeds      []Seed   // entities that the query names
	Graph      Subgraph // facts found for the query
	Degraded   []string // stages that failed or were late, as "graph:timeout"
	Stages     []StageTime
	ContextID  string // under which the whole context can be fetched for a while
	// Options are what the client asks for; nil until package rag has read
	// them. They do not change once read.
	Options *RetrievalOptions
	// Off says that nothing is retrieved for this request: the client or the
	// file said so, or there is nothing to ask for.
	Off bool
}

// StageTime is how long one stage of retrieval took.
type StageTime struct {
	Stage string
	Took  time.Duration
}
