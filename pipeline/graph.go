package pipeline

import (
	"context"
	"time"
)

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
	ID    string // of the passage
	DocID string
	Score float64  // comparable within one answer
	Via   []string // ids, at most five, what counts most first
}

// An ExpandQuery asks for what surrounds some entities, hop by hop. Each hop
// has its own caps, so a hub costs no more than any other entity.
type ExpandQuery struct {
	Tenant   string
	Seeds    []Seed
	Types    []string // of relations to follow; nil for all
	Hops     int
	Fanout   int // relations followed from one entity, the largest property "weight" first
	HubCap   int // entities with more relations and mentions are reached, and not expanded
	MaxSeeds int // entities expanded in one hop, the heaviest first
	MaxNodes int // entities of the answer
	MaxEdges int // relations of the answer
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
	// Link returns the heaviest first. Case, accents and the width of letters make no
	// difference, and a part of a name counts where nothing has the whole of it.
	Link(ctx context.Context, q LinkQuery) ([]Seed, error)
	// Related returns the best first, equals in the order of ids.
	Related(ctx context.Context, q RelatedQuery) ([]Related, error)
	// Expand follows relations both ways. Each entity and relation is in the answer
	// once, and both ends of a relation are among the entities.
	Expand(ctx context.Context, q ExpandQuery) (Subgraph, error)
	// Write is whole or nothing for each call.
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
