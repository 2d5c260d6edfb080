package pipeline

import (
	"context"
	"fmt"
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
