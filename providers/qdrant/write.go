package qdrant

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"

	client "github.com/qdrant/go-client/qdrant"

	"github.com/headrace/headrace/pipeline"
)

// Upsert implements pipeline.VectorStore. All points travel in one request,
// which the server applies whole or not at all.
func (s *Store) Upsert(ctx context.Context, u pipeline.Upsert) (pipeline.Upserted, error) {
	name, err := s.nameOf(u.Collection)
	if err != nil {
		return pipeline.Upserted{}, err
	}
	if len(u.Points) == 0 {
		n, err := s.Remove(ctx, u.Tenant, u.Collection, u.Remove)
		return pipeline.Upserted{Removed: n}, err
	}
	for i := range u.Points {
		if canonical(u.Points[i].ID) == "" {
			return pipeline.Upserted{}, &pipeline.Error{
				Status: 400, Code: "invalid_id", Fault: pipeline.CallerFault,
				Err: errors.New("the id of a point is a UUID"),
			}
		}
		// Before the collection is made: a bad point must not shape it.
		if err := (schema{dimensions: len(u.Points[0].Vector)}).fits(u.Collection, u.Points[i].Vector); err != nil {
			return pipeline.Upserted{}, err
		}
	}
	known, err := s.ensure(ctx, name, len(u.Points[0].Vector), u.Model)
	if err != nil {
		return pipeline.Upserted{}, err
	}
	if err := known.fits(u.Collection, u.Points[0].Vector); err != nil {
		return pipeline.Upserted{}, err
	}
	if err := s.takes(ctx, name, u.Collection, known, u.Model); err != nil {
		return pipeline.Upserted{}, err
	}
	write, err := s.changed(ctx, name, u)
	if err != nil {
		return pipeline.Upserted{}, err
	}
	out := pipeline.Upserted{Written: len(write), Skipped: len(u.Points) - len(write)}
	if len(write) > 0 {
		if err := s.write(ctx, name, u.Tenant, write, known); err != nil {
			return pipeline.Upserted{}, err
		}
	}
	// The server has no step for both. In this order nothing is missing meanwhile.
	out.Removed, err = s.Remove(ctx, u.Tenant, u.Collection, without(u.Remove, u.Points))
	return out, err
}

// without are the ids that none of the points has.
func without(ids []string, points []pipeline.Point) []string {
	if len(ids) == 0 {
		return nil
	}
	stay := make(map[string]bool, len(points))
	for i := range points {
		stay[canonical(points[i].ID)] = true
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return stay[canonical(id)] })
}

// write sends points, all of them in one request.
func (s *Store) write(ctx context.Context, name, tenant string, write []*pipeline.Point, known schema) error {
	points := make([]*client.PointStruct, len(write))
	for i, p := range write {
		points[i] = point(tenant, p, known)
	}
	_, err := run(ctx, s, "upsert", s.config.WriteTimeout, func(ctx context.Context) (*client.UpdateResult, error) {
		return s.client.Upsert(ctx, &client.UpsertPoints{CollectionName: name, Wait: new(true), Points: points})
	})
	if err != nil {
		s.forget(name, err)
	}
	return err
}

// changed are the points to write: without those that are stored as they are,
// if so asked. A point of another tenant is never replaced.
func (s *Store) changed(ctx context.Context, name string, u pipeline.Upsert) ([]*pipeline.Point, error) {
	stored, err := s.stored(ctx, name, u.Points)
	if err != nil {
		return nil, err
	}
	write := make([]*pipeline.Point, 0, len(u.Points))
	for i := range u.Points {
		p := &u.Points[i]
		if old, ok := stored[canonical(p.ID)]; ok {
			if !ownedBy(old, u.Tenant) {
				return nil, &pipeline.Error{
					Status: 409, Code: "id_conflict", Fault: pipeline.CallerFault,
					Err: errors.New("the id of a point is taken"),
				}
			}
			if u.SkipUnchanged && same(old, p) {
				continue
			}
		}
		write = append(write, p)
	}
	return write, nil
}

// Unchanged implements pipeline.Recaller.
func (s *Store) Unchanged(ctx context.Context, tenant, collection string, points []pipeline.Point) ([]bool, error) {
	out := make([]bool, len(points))
	name, err := s.nameOf(collection)
	if err != nil {
		return nil, err
	}
	stored, err := s.stored(ctx, name, points)
	if missing(err) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	for i := range points {
		old, ok := stored[canonical(points[i].ID)]
		out[i] = ok && ownedBy(old, tenant) && same(old, &points[i])
	}
	return out, nil
}

// stored is what is there under the ids of points, of whichever tenant: whose it is, and its digest.
func (s *Store) stored(ctx context.Context, name string, points []pipeline.Point) (map[string]*client.RetrievedPoint, error) {
	ids := make([]string, len(points))
	for i := range points {
		ids[i] = points[i].ID
	}
	there := make(map[string]*client.RetrievedPoint, len(ids))
	asked := pointIDs(ids)
	if len(asked) == 0 {
		return there, nil
	}
	list, err := run(ctx, s, "get", s.config.Timeout, func(ctx context.Context) ([]*client.RetrievedPoint, error) {
		return s.client.Get(ctx, &client.GetPoints{CollectionName: name, Ids: asked, WithPayload: client.NewWithPayloadInclude(fieldTenant, fieldDigest)})
	})
	if err != nil {
		s.forget(name, err)
		return nil, err
	}
	for _, p := range list {
		there[p.GetId().GetUuid()] = p
	}
	return there, nil
}

func ownedBy(old *client.RetrievedPoint, tenant string) bool {
	return old.GetPayload()[fieldTenant].GetStringValue() == tenant
}

func same(old *client.RetrievedPoint, p *pipeline.Point) bool {
	return old.GetPayload()[fieldDigest].GetStringValue() == hex.EncodeToString(p.Digest[:])
}

func point(tenant string, p *pipeline.Point, known schema) *client.PointStruct {
	vectors := map[string]*client.Vector{}
	if known.dimensions > 0 {
		// The caller may go its own way before the call has ended.
		vectors[vectorDense] = client.NewVectorDense(slices.Clone(p.Vector))
	}
	if known.sparse {
		vectors[vectorSparse] = client.NewVectorSparse(document(p.Text))
	}
	return &client.PointStruct{
		Id: client.NewIDUUID(canonical(p.ID)), Payload: payload(tenant, p), Vectors: client.NewVectorsMap(vectors),
	}
}

// Delete implements pipeline.VectorStore. What a delete cannot do without is a
// condition: an empty filter would empty the collection for all tenants.
func (s *Store) Delete(ctx context.Context, tenant, collection, docID string) (int, error) {
	name, err := s.nameOf(collection)
	if err != nil {
		return 0, err
	}
	only, _ := ofTenant(tenant, nil)
	if docID != "" {
		only.Must = append(only.Must, client.NewMatchKeyword(fieldDoc, docID))
	}
	return s.drop(ctx, name, only)
}

// drop deletes points, and returns how many there were.
func (s *Store) drop(ctx context.Context, name string, only *client.Filter) (int, error) {
	n, err := s.count(ctx, name, only)
	if err != nil || n == 0 {
		return 0, err
	}
	_, err = run(ctx, s, "delete", s.config.WriteTimeout, func(ctx context.Context) (*client.UpdateResult, error) {
		return s.client.Delete(ctx, &client.DeletePoints{
			CollectionName: name, Wait: new(true), Points: client.NewPointsSelectorFilter(only),
		})
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (s *Store) count(ctx context.Context, name string, only *client.Filter) (int, error) {
	n, err := run(ctx, s, "count", s.config.Timeout, func(ctx context.Context) (uint64, error) {
		return s.client.Count(ctx, &client.CountPoints{CollectionName: name, Filter: only, Exact: new(true)})
	})
	if err != nil {
		s.forget(name, err)
	}
	return int(n), err
}

// Collection implements pipeline.VectorStore.
func (s *Store) Collection(ctx context.Context, tenant, collection string) (pipeline.CollectionInfo, error) {
	name, err := s.nameOf(collection)
	if err != nil {
		return pipeline.CollectionInfo{}, err
	}
	known, err := s.schema(ctx, name)
	if err != nil {
		return pipeline.CollectionInfo{}, err
	}
	only, _ := ofTenant(tenant, nil)
	n, err := s.count(ctx, name, only)
	if err != nil {
		return pipeline.CollectionInfo{}, err
	}
	return pipeline.CollectionInfo{Dimensions: known.dimensions, Model: known.model, Sparse: known.sparse, Points: n}, nil
}
