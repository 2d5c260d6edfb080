package pipeline

import (
	"context"
	"fmt"
	"time"
)

// A Passage is a chunk of a document, found for a request.
type Passage struct {
	ID       string   // of the chunk, the same in every store; see PointID
	DocID    string   // the document it belongs to
	ChunkID  string   // the caller's own name of it within the document; may be empty
	Index    int      // its place in the document, from 0
	Text     string   // the chunk itself
	Metadata []byte   // the JSON object it was indexed with; nil if there was none
	Scores   Scores   // what each ranking made of it
	Via      []string // ids of the entities that led to it; nil if a search found it
}

// Scores are what the rankings made of one passage. They are comparable within
// one ranking of one request, and nowhere else.
type Scores struct {
	Dense, Sparse, Fused, Graph, Rerank Score
}

// A Score is a number, or none.
type Score struct {
	Value float32
	Set   bool
}

// A Point is a chunk as it is indexed.
type Point struct {
	Passage
	Vector []float32 // of unit length; nil in a collection without vectors
	Digest [32]byte  // of everything indexed, to tell whether a point has changed
}

// A SearchQuery asks for the passages nearest to a question, by each leg that
// it has something for.
type SearchQuery struct {
	Tenant, Collection string
	Vector             []float32 // for the dense leg; nil leaves it out
	Model              string    // that made Vector; see ModelMismatch
	Text               string    // for the sparse leg; empty leaves it out
	Limit              int       // passages of each leg
	Filter             *Filter   // on top of the tenant, which is always filtered by
}

// Legs are the results of a search, each the best first, with ties in the
// order of ids. Fusing them is the caller's business.
type Legs struct {
	Dense, Sparse []Passage
	// Change is the number of the last change to what the tenant has in the collection
	// that replaced or removed something: two searches that saw the same one can be put
	// together. It stays zero in stores that do not count.
	Change uint64
}

// A Filter admits passages whose metadata meet it: all of Must, any of Should
// if there are any, none of MustNot.
type Filter struct {
	Must, Should, MustNot []Condition
}

// A Condition is about one field of the metadata, named by its path with dots;
// doc_id and chunk_id name the passage's own. It holds if the field has one of
// the values Any, or lies within the range; or if Nested holds.
type Condition struct {
	Field  string
	Any    []Value
	Range  *Range
	Nested *Filter
}

// A Value is a string, a number or a boolean of the metadata.
type Value struct {
	Kind   ValueKind
	Text   string
	Number float64
	Bool   bool
}

// A ValueKind tells which field of a Value counts.
type ValueKind uint8

// The kinds of values.
const (
	TextValue ValueKind = iota
	NumberValue
	BoolValue
)

// A Range bounds a number; nil leaves a side open.
type Range struct {
	GT, GTE, LT, LTE *float64
}

// An Upsert writes points of one collection. The collection is made on its
// first write and never dropped, nor made anew while there are points in it.
type Upsert struct {
	Tenant, Collection string
	Points             []Point
	Model              string // that made the vectors; see ModelMismatch
	// SkipUnchanged leaves points alone whose Digest is stored already.
	SkipUnchanged bool
	// Remove are the ids of points that go in the same step, as far as a store has
	// steps: whoever searches finds them, or what is written.
	Remove []string
}

// Upserted is what became of an Upsert.
type Upserted struct {
	Written, Skipped int
	Removed          int
}

// CollectionInfo describes a collection as one tenant sees it.
type CollectionInfo struct {
	Dimensions int    // of its vectors; 0 for none
	Model      string // that made them; empty if it is not known
	Sparse     bool   // whether it has a sparse leg
	Points     int    // of the tenant
}

// DimensionMismatch is the refusal, with status 409 and code dimension_mismatch, of a
// vector of given numbers, in a collection whose vectors have stored; nil if they are as
// many.
func DimensionMismatch(collection string, stored, given int) error {
	if stored == given {
		return nil
	}
	return &Error{
		Status: 409, Code: "dimension_mismatch", Param: "collection", Fault: CallerFault,
		Err: fmt.Errorf("the vectors of collection %q have %d dimensions, not %d; was it indexed with another model?", collection, stored, given),
	}
}

// ModelMismatch is the refusal, with status 409 and code model_mismatch, of a vector
// that the model given has made, in a collection whose vectors are of the model
// stored. Their likeness would mean nothing. It is nil if both are of one model, or
// either is not known.
func ModelMismatch(collection, stored, given string) error {
	if stored == given || stored == "" || given == "" {
		return nil
	}
	return &Error{
		Status: 409, Code: "model_mismatch", Param: "collection", Fault: CallerFault,
		Err: fmt.Errorf("the vectors of collection %q are of the model %q, not %q: index into another collection, or delete what is in this one first; "+
			"if the two are names of one model, set `space: %s` in its embedder", collection, stored, given, stored),
	}
}

// A VectorStore keeps passages and finds them by meaning and by words. No call
// sees or touches another tenant's.
type VectorStore interface {
	// Search returns an *Error with status 404 and code collection_not_found
	// for a collection that nobody has written to.
	Search(ctx context.Context, q SearchQuery) (Legs, error)
	// Fetch returns the passages with these ids, in the order given, without
	// those that are not there.
	Fetch(ctx context.Context, tenant, collection string, ids []string) ([]Passage, error)
	// Upsert is whole or nothing for each call. A vector whose length differs from the
	// collection's is the error of DimensionMismatch, one of another model that of
	// ModelMismatch. A collection in which nobody has anything takes those of another
	// model.
	Upsert(ctx context.Context, u Upsert) (Upserted, error)
	// Delete removes one document, or with an empty docID everything of the
	// tenant in the collection. It returns how many points went.
	Delete(ctx context.Context, tenant, collection, docID string) (int, error)
	// Chunks lists what there is of a document, in the order of places: id, chunk id
	// and place alone. Its error is that of Search.
	Chunks(ctx context.Context, tenant, collection, docID string) ([]Passage, error)
	// Remove removes points by id, and returns how many went.
	Remove(ctx context.Context, tenant, collection string, ids []string) (int, error)
	// Collection describes a collection; its error is that of Search.
	Collection(ctx context.Context, tenant, collection string) (CollectionInfo, error)
}

// A Recaller is a VectorStore that knows beforehand what an Upsert with SkipUnchanged
// would leave alone, so that nobody need make vectors of it.
type Recaller interface {
	// Unchanged reports for each point whether it is stored with the same Digest.
	// Vectors are not looked at.
	Unchanged(ctx context.Context, tenant, collection string, points []Point) ([]bool, error)
}

// An Entity is a node of the knowledge graph.
type Entity struct {
	ID    string
	Type  string
	Name  string // shown to people; ID if empty
	Props []Prop
}

// GenericType is the type of an entity of which nobody has said what it is. It
// takes the place of no other type.
const GenericType = "Entity"

// Retyped is the type of an entity that is written again as a young one.
func Retyped(old, young string) string {
	if young == "" || young == GenericType && old != "" {
		return old
	}
	return young
}

// A Prop is one property: a string, number, boolean or null, as JSON.
type Prop struct {
	Key   string
	Value []byte
}

// A Relation is an edge of the knowledge graph.
type Relation struct {
	Src, Dst string // entity ids
	Type     string
	Props    []Prop
}

// A Subgraph is a part of the knowledge graph.
type Subgraph struct {
	Entities  []Entity
	Relations []Relation
}

// A Seed is an entity to start from, with a weight above zero.
type Seed struct {
	ID     string
	Weight float64
}

// A LinkQuery asks which entities a text names.
type LinkQuery struct {
	Tenant string
	Text   string
	Limit  int
}

// A RelatedQuery asks which further chunks mention what the best ones mention.
// An entity counts the less the more chunks mention it, and not at all above
// HubCap.
type RelatedQuery struct {
	Tenant   string
	Chunks   []string // passage ids, the best first; never part of the answer
	Limit    int
	HubCap   int
	MaxSeeds int
}

// A Related is a chunk found through the entities Via. Its text is in the
// VectorStore.
type Related struct {
	ID    string
	DocID string
	Score float64
	Via   []string
}

// An ExpandQuery asks for what surrounds some entities, hop by hop. Each hop
// has its own caps, so a hub costs no more than any other entity.
type ExpandQuery struct {
	Tenant   string
	Seeds    []Seed
	Types    []string // of relations to follow; nil for all
	Hops     int
	Fanout   int // relations followed from one entity
	HubCap   int // entities with more relations are not expanded
	MaxSeeds int // entities expanded in one hop
	MaxNodes int
	MaxEdges int
}

// A GraphWrite adds to the knowledge graph. Entities and relations that exist
// are merged, their properties joined, the newer value winning.
type GraphWrite struct {
	Tenant    string
	Entities  []Entity
	Relations []Relation
	// DocID says in which document all of this was found; it may be empty.
	DocID string
	// Mentions link chunks to entities that they name.
	Mentions []Mention
	// Anew are chunks, by PointID, that have a new text: they name what Mentions says, and
	// nothing that they named before.
	Anew []string
}

// A Mention says that a chunk names an entity.
type Mention struct {
	PointID, DocID string
	Index          int // of the chunk in the document
	Entity         string
}

// GraphWritten is what became of a GraphWrite. Skipped relations are those
// with an end that does not exist.
type GraphWritten struct {
	Entities, Relations, Mentions int
	Skipped                       []Relation
}

// A GraphStore keeps entities, how they relate, and which chunks mention them.
// No call sees or touches another tenant's. The reading calls return what they
// have when ctx ends, if they have anything.
type GraphStore interface {
	Link(ctx context.Context, q LinkQuery) ([]Seed, error)
	Related(ctx context.Context, q RelatedQuery) ([]Related, error)
	Expand(ctx context.Context, q ExpandQuery) (Subgraph, error)
	Write(ctx context.Context, w GraphWrite) (GraphWritten, error)
	// DeleteDocument removes a document's chunks from the graph, the relations
	// that only it supports, and the entities that then stand alone. With an
	// empty docID it removes everything of the tenant. It returns how many
	// entities, relations and chunks went.
	DeleteDocument(ctx context.Context, tenant, docID string) (int, error)
}

// A GraphQuerier runs read-only queries in the store's own language. Such a
// query cannot be confined to a tenant.
type GraphQuerier interface {
	// QueryGraph returns one JSON object for each record; cut says that there are
	// more, beyond the query's bounds. A query that is not provably read-only is an
	// *Error with status 400 and code unsafe_cypher.
	QueryGraph(ctx context.Context, q GraphQuery) (records [][]byte, cut bool, err error)
}

// A GraphQuery is a query in the store's own language.
type GraphQuery struct {
	Text     string
	Params   []byte // a JSON object; nil for none
	Timeout  time.Duration
	MaxRows  int
	MaxBytes int
}

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
