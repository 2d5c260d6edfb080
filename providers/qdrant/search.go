package qdrant

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"
	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/pipeline"
)

// spare is how many hits beyond the limit are asked for. The server cuts among
// equal scores as it likes; here the smallest ids stay.
const spare = 16

// Search implements pipeline.VectorStore. Both legs take one round trip.
func (s *Store) Search(ctx context.Context, q pipeline.SearchQuery) (pipeline.Legs, error) {
	name, err := s.nameOf(q.Collection)
	if err != nil {
		return pipeline.Legs{}, err
	}
	known, err := s.schema(ctx, name)
	if err != nil {
		return pipeline.Legs{}, err
	}
	only, err := ofTenant(q.Tenant, q.Filter)
	if err != nil {
		return pipeline.Legs{}, err
	}
	limit := min(q.Limit, 10_000)
	var legs pipeline.Legs
	var queries []*client.QueryPoints
	var to []*[]pipeline.Passage
	add := func(using string, query *client.Query, leg *[]pipeline.Passage) *client.QueryPoints {
		p := &client.QueryPoints{
			CollectionName: name, Query: query, Using: &using, Filter: only,
			Limit: new(uint64(limit + spare)), WithPayload: shown,
		}
		queries, to = append(queries, p), append(to, leg)
		return p
	}
	if q.Vector != nil && known.dimensions > 0 {
		if err := known.fits(q.Collection, q.Vector); err != nil {
			return pipeline.Legs{}, err
		}
		if err := s.sameModel(ctx, name, q.Collection, known, q.Model); err != nil {
			return pipeline.Legs{}, err
		}
		add(vectorDense, client.NewQueryDense(slices.Clone(q.Vector)), &legs.Dense)
	}
	if indices, values := question(q.Text); len(indices) > 0 && known.sparse {
		mine, _ := ofTenant(q.Tenant, nil)
		// How rare a word is counts within the tenant. Servers before 1.19
		// count over all tenants.
		add(vectorSparse, client.NewQuerySparse(indices, values), &legs.Sparse).Params = &client.SearchParams{Idf: &client.IdfParams{Corpus: mine}}
	}
	if len(queries) == 0 || limit < 1 {
		return pipeline.Legs{}, nil
	}
	found, err := run(ctx, s, "search", s.config.Timeout, func(ctx context.Context) ([][]pipeline.Passage, error) {
		return s.query(ctx, answer{tenant: q.Tenant, limit: limit + spare}, &client.QueryBatchPoints{CollectionName: name, QueryPoints: queries})
	})
	if err != nil {
		s.forget(name, err)
		return pipeline.Legs{}, err
	}
	for i, leg := range to {
		*leg = ranked(found[i], limit, leg == &legs.Dense)
	}
	return legs, nil
}

// forget drops what is known of a collection that is not what it was.
func (s *Store) forget(name string, err error) {
	switch status.Code(err) {
	case codes.NotFound, codes.InvalidArgument:
		s.schemas.Delete(name)
	}
}

// ranked are the hits of one leg, the best first, equals in the order of ids. One whose
// score is not finite has a vector that another program has spoilt: it is no hit.
func ranked(hits []pipeline.Passage, limit int, dense bool) []pipeline.Passage {
	sorted, finite := true, true
	for i := range hits { // moving hits is dear, and there is nearly never a need
		finite = finite && isFinite(score(&hits[i]).Value)
		sorted = sorted && (i == 0 || better(&hits[i-1], &hits[i]) <= 0)
	}
	if !finite {
		hits = slices.DeleteFunc(hits, func(p pipeline.Passage) bool { return !isFinite(score(&p).Value) })
	}
	if !sorted {
		slices.SortFunc(hits, func(a, b pipeline.Passage) int { return better(&a, &b) })
	}
	hits = hits[:min(len(hits), limit)]
	if !dense {
		for i := range hits {
			hits[i].Scores.Dense, hits[i].Scores.Sparse = pipeline.Score{}, hits[i].Scores.Dense
		}
	}
	return hits
}

func isFinite(x float32) bool { return x-x == 0 }

// better orders hits: the higher score, then the smaller id.
func better(a, b *pipeline.Passage) int {
	x, y := score(a).Value, score(b).Value
	if x != y {
		return cmp.Compare(y, x)
	}
	return strings.Compare(a.ID, b.ID)
}

// Fetch implements pipeline.VectorStore.
func (s *Store) Fetch(ctx context.Context, tenant, collection string, ids []string) ([]pipeline.Passage, error) {
	name, err := s.nameOf(collection)
	if err != nil {
		return nil, err
	}
	asked := pointIDs(ids)
	if len(asked) == 0 {
		return nil, nil
	}
	found, err := run(ctx, s, "get", s.config.Timeout, func(ctx context.Context) ([]pipeline.Passage, error) {
		return s.fetch(ctx, tenant, &client.GetPoints{CollectionName: name, Ids: asked, WithPayload: shown})
	})
	if err != nil {
		s.forget(name, err)
		return nil, err
	}
	at := make(map[string]int, len(found))
	for i := range found {
		at[found[i].ID] = i
	}
	out := make([]pipeline.Passage, 0, len(ids))
	for _, id := range ids {
		if i, ok := at[canonical(id)]; ok {
			out = append(out, found[i])
		}
	}
	return out, nil
}

// pointIDs are those of ids that the server could know.
func pointIDs(ids []string) []*client.PointId {
	asked := make([]*client.PointId, 0, len(ids))
	for _, id := range ids {
		if id = canonical(id); id != "" {
			asked = append(asked, client.NewIDUUID(id))
		}
	}
	return asked
}

// canonical is an id as the server writes it, or empty if it is none.
func canonical(id string) string {
	u, err := uuid.Parse(id)
	if err != nil {
		return ""
	}
	return u.String()
}
