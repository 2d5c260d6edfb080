package qdrant

import (
	"cmp"
	"context"
	"slices"
	"strings"

	client "github.com/qdrant/go-client/qdrant"

	"github.com/headrace/headrace/pipeline"
)

// page is how many chunks of a document are listed in one call, and how many points
// are removed in one.
const page = 1000

// Chunks implements pipeline.VectorStore.
func (s *Store) Chunks(ctx context.Context, tenant, collection, docID string) ([]pipeline.Passage, error) {
	name, err := s.nameOf(collection)
	if err != nil {
		return nil, err
	}
	only, _ := ofTenant(tenant, nil)
	only.Must = append(only.Must, client.NewMatchKeyword(fieldDoc, docID))
	var out []pipeline.Passage
	var from *client.PointId
	for {
		type listed struct {
			points []*client.RetrievedPoint
			next   *client.PointId
		}
		some, err := run(ctx, s, "scroll", s.config.Timeout, func(ctx context.Context) (l listed, err error) {
			l.points, l.next, err = s.client.ScrollAndOffset(ctx, &client.ScrollPoints{
				CollectionName: name, Filter: only, Offset: from, Limit: new(uint32(page)),
				WithPayload: client.NewWithPayloadInclude(fieldDoc, fieldChunk, fieldIndex),
			})
			return l, err
		})
		if err != nil {
			s.forget(name, err)
			return nil, err
		}
		for _, p := range some.points {
			out = append(out, passage(p.GetId(), p.GetPayload()))
		}
		if from = some.next; from == nil {
			break
		}
	}
	slices.SortFunc(out, func(a, b pipeline.Passage) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), strings.Compare(a.ID, b.ID))
	})
	return out, nil
}

// Remove implements pipeline.VectorStore.
func (s *Store) Remove(ctx context.Context, tenant, collection string, ids []string) (int, error) {
	name, err := s.nameOf(collection)
	if err != nil {
		return 0, err
	}
	removed := 0
	for len(ids) > 0 {
		some := ids[:min(len(ids), page)]
		ids = ids[len(some):]
		only, _ := ofTenant(tenant, nil)
		var these []*client.PointId
		for _, id := range some {
			if id = canonical(id); id != "" {
				these = append(these, client.NewIDUUID(id))
			}
		}
		if len(these) == 0 {
			continue
		}
		only.Must = append(only.Must, client.NewHasID(these...))
		n, err := s.drop(ctx, name, only)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}
