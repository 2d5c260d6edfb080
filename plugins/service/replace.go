package service

import (
	"context"
	"errors"

	"github.com/headrace/headrace/pipeline"
)

// A pruning is what goes when documents are replaced: their chunks that the request does
// not have, from the first place on that it has.
type pruning struct {
	ids   []string
	loses map[string]bool // documents that they belong to
	whole map[string]bool // documents that the request has from the beginning
}

// pruning looks up what goes.
func (h *indexEndpoint) pruning(ctx context.Context, j *job) (*pruning, error) {
	p := &pruning{loses: map[string]bool{}, whole: map[string]bool{}}
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
		p.whole[doc] = from[doc] == 0
		list, err := h.store.Chunks(ctx, j.Tenant, j.Collection, doc)
		if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "collection_not_found" {
			return p, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].Index >= from[doc] && !stays[list[i].ID] {
				p.ids, p.loses[doc] = append(p.ids, list[i].ID), true
			}
		}
	}
	return p, nil
}

// clear takes out of the graph what whole documents have brought into it that change, and
// notes what their chunks name now. It comes before the passages are written: whoever is
// stopped in between finds them changed the next time, and does both again.
func (h *indexEndpoint) clear(ctx context.Context, j *job, p *pruning) error {
	if h.graph == nil {
		return nil
	}
	changed := p.loses
	for i := range j.Points {
		changed[j.Points[i].DocID] = true
	}
	for doc := range changed {
		if !p.whole[doc] {
			continue
		}
		if _, err := h.graph.DeleteDocument(ctx, j.Tenant, doc); err != nil {
			h.log.Warn("the graph of a document could not be removed", err)
			return err
		}
	}
	return h.link(ctx, j)
}
