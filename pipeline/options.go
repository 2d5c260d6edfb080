package pipeline

import (
	"bytes"
	"errors"
)

// RetrievalOptions are what one request asks of retrieval. Zero values, and nil
// where zero means something, leave a choice to the settings of the stages.
type RetrievalOptions struct {
	Switch           RetrievalSwitch
	Collection       string
	Mode             string // dense, sparse or hybrid
	TopK             int    // passages in the end
	Rerank           *bool
	RerankModel      string // in place of the reranker's own
	MaxHops          *int
	Graph            GraphOptions
	Filter           *Filter
	MaxContextTokens int
	Include          RetrievalInclude
}

// GraphOptions narrow what the graph may add: the bounds of the stage still hold.
type GraphOptions struct {
	Types                      []string // of relations to follow
	MaxNodes, MaxEdges, HubCap int
}

// A RetrievalSwitch says whether a request wants retrieval.
type RetrievalSwitch uint8

// The positions of the switch.
const (
	RetrievalAuto     RetrievalSwitch = iota // as the chain is set up
	RetrievalOff                             // none
	RetrievalOn                              // if it can be had
	RetrievalRequired                        // or else an error
)

// RetrievalHeader is the request header that moves the switch: off, on or required.
const RetrievalHeader = "X-Rag"

// Undocumented is the refusal of a request that requires an answer from documents and
// has come to where an upstream is asked without a stage that looks for any; else nil.
func Undocumented(ex *Exchange) error {
	if ex.Retrieval != nil && ex.Retrieval.Options != nil || !ex.Op.Answers() || !bytes.EqualFold(bytes.TrimSpace(ex.Request.Header.Peek(RetrievalHeader)), []byte("required")) {
		return nil
	}
	return &Error{
		Status: 400, Code: "invalid_value", Param: "X-RAG", Fault: CallerFault,
		Err: errors.New("X-RAG: required asks for an answer from documents, and this model has none: ask one with a chain of retrieval"),
	}
}

// RetrievalInclude are the parts of an answer that a client has to ask for.
type RetrievalInclude uint8

// The parts; they can be joined by |.
const (
	IncludeAnnotations RetrievalInclude = 1 << iota // in streams too
	IncludeCitations                                // the passages used
	IncludeContext                                  // with their text, and the subgraph
	IncludeDebug                                    // with scores and timings
)
