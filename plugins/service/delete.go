package service

import (
	"context"
	_ "embed"
	"errors"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/quiet"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed delete.go
var deleteSource string

// DeleteVector describes serve_delete_vector to a registry.
var DeleteVector = config.Define[pipeline.Handler]("serve_delete_vector", DeleteVectorConfig{}, deleteSource)

// DeleteVectorConfig answers POST /delete/vector: it removes a document from a
// collection, or all that the tenant has in it. It stands alone in its route.
type DeleteVectorConfig struct {
	// Store has the chunks. Without it every request is refused with 503.
	Store config.Ref[pipeline.VectorStore] `yaml:"store"`
}

// Build implements config.Builder.
func (c DeleteVectorConfig) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &deleteVector{store: get(c.Store), log: quiet.New(env.Log)}, nil
}

type deleteVector struct {
	endpoint
	store pipeline.VectorStore
	log   *quiet.Log
}

// everything is why a request without doc_id may hold nothing that is not known: what is
// meant to narrow it, such as doc_ids, would not.
const everything = "without doc_id everything would be deleted"

// Handle implements pipeline.Handler.
func (h *deleteVector) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	collection, doc := r.NeedString("collection"), r.OptString("doc_id")
	r.OptString("tenant_id") // the key decides; a field of the wrong type is refused all the same
	if doc == nil {
		r.Only(everything, "collection", "doc_id", "tenant_id")
	}
	if doc != nil && *doc == "" {
		r.Refuse("doc_id", "string_too_short", "String should have at least 1 character", map[string]int{"min_length": 1})
	}
	if err := r.Err(); err != nil {
		return err
	}
	if err := allowed(ex, collection); err != nil {
		return err
	}
	if h.store == nil {
		return detail.Unavailable("qdrant")
	}
	var docs []string // all
	if doc != nil {
		docs = append(docs, *doc)
	}
	unlock, err := lock(ctx, h.store, rag.Tenant(ex), docs...)
	if err != nil {
		return err
	}
	defer unlock()
	n, err := h.store.Delete(ctx, rag.Tenant(ex), collection, deref(doc))
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "collection_not_found" {
		n, err = 0, nil // it is gone, which is what was asked for
	}
	if err != nil {
		h.log.Warn("chunks could not be deleted", "error", err)
		return gone(ex, "delete_vector_error", err)
	}
	return reply(ex, deleted{OK: true, Deleted: n})
}

// DeleteGraph describes serve_delete_graph to a registry.
var DeleteGraph = config.Define[pipeline.Handler]("serve_delete_graph", DeleteGraphConfig{}, deleteSource)

// DeleteGraphConfig answers POST /delete/graph: it removes what a document has
// brought into the knowledge graph, or all that the tenant has in it. It stands
// alone in its route.
type DeleteGraphConfig struct {
	// Graph is what is deleted from. Without it every request is refused with
	// 503.
	Graph config.Ref[pipeline.GraphStore] `yaml:"graph"`
}

// Build implements config.Builder.
func (c DeleteGraphConfig) Build(_ context.Context, env config.Env) (pipeline.Handler, error) {
	return &deleteGraph{graph: get(c.Graph), log: quiet.New(env.Log)}, nil
}

type deleteGraph struct {
	endpoint
	graph pipeline.GraphStore
	log   *quiet.Log
}

// Handle implements pipeline.Handler.
func (h *deleteGraph) Handle(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	doc := r.OptString("doc_id")
	r.OptString("tenant_id") // as above
	if doc == nil {
		r.Only(everything, "doc_id", "tenant_id")
	}
	if doc != nil && *doc == "" {
		r.Refuse("doc_id", "string_too_short", "String should have at least 1 character", map[string]int{"min_length": 1})
	}
	if err := r.Err(); err != nil {
		return err
	}
	if h.graph == nil {
		return detail.Unavailable("neo4j")
	}
	n, err := h.graph.DeleteDocument(ctx, rag.Tenant(ex), deref(doc))
	if err != nil {
		h.log.Warn("a graph could not be deleted", "error", err)
		return gone(ex, "delete_graph_error", err)
	}
	return reply(ex, deleted{OK: true, Deleted: n})
}

type deleted struct {
	OK      bool `json:"ok"`
	Deleted int  `json:"deleted"`
	Detail  *int `json:"detail"`
	Errors  *int `json:"errors"`
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
