package service

import (
	"cmp"
	"context"
	"errors"

	"github.com/headrace/headrace/pipeline"
)

// A pruning is what goes when documents are replaced: their chunks that the request does
// not have, from the first place on that it has.
type pruning struct {
	ids   []string
	known map[string]*old // what is there of the documents, by their ids; those that are new are not in it
}

// An old is a document that is replaced.
type old struct {
	whole   bool // the request has it from its beginning
	changes bool
}

// pruning looks up what goes.
func (h *indexEndpoint) pruning(ctx context.Context, j *job) (*pruning, error) {
	p := &pruning{known: map[string]*old{}}
	from := map[string]int{}
	stays := make(map[string]bool, len(j.Points))
	var docs []string
	for i := range j.Points {
		c := &j.Points[i]
		stays[c.ID] = true
		if first, ok := from[c.DocID]; !ok {
			docs, from[c.DocID] = append(docs, c.DocID), c.Index
		} else {
			from[c.DocID] = min(first, c.Index)
		}
	}
	for _, doc := range docs {
		list, err := h.store.Chunks(ctx, j.Tenant, j.Collection, doc)
		if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "collection_not_found" {
			return p, nil
		}
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			continue
		}
		was := &old{whole: from[doc] == 0}
		p.known[doc] = was
		for i := range list {
			if list[i].Index >= from[doc] && !stays[list[i].ID] {
				p.ids, was.changes = append(p.ids, list[i].ID), true
			}
		}
	}
	return p, nil
}

// clear takes out of the graph what whole documents have brought into it that change, and
// notes what their chunks name now. It comes before the passages are written: whoever is
// stopped in between finds them changed the next time, and does both again. So what the
// store is going to refuse is refused here.
func (h *indexEndpoint) clear(ctx context.Context, j *job, p *pruning) error {
	for i := range j.Points {
		if was := p.known[j.Points[i].DocID]; was != nil {
			was.changes = true
		}
	}
	if h.graph == nil {
		return nil
	}
	if err := h.fits(ctx, j); err != nil {
		return err
	}
	for doc, was := range p.known {
		if !was.whole || !was.changes {
			continue
		}
		if _, err := h.graph.DeleteDocument(ctx, j.Tenant, doc); err != nil {
			h.log.Warn("the graph of a document could not be removed", "error", err)
			return err
		}
	}
	return h.link(ctx, j)
}

// fits refuses vectors that cannot be compared with those that are there.
func (h *indexEndpoint) fits(ctx context.Context, j *job) error {
	if len(j.Points) == 0 {
		return nil
	}
	info, err := h.store.Collection(ctx, j.Tenant, j.Collection)
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "collection_not_found" || err == nil && info.Points == 0 {
		return nil
	}
	return cmp.Or(err,
		pipeline.DimensionMismatch(j.Collection, info.Dimensions, len(j.Points[0].Vector)),
		pipeline.ModelMismatch(j.Collection, info.Model, j.Model))
}
