package qdrantserver

import (
	"context"
	"maps"
	"slices"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// HealthCheck implements qdrant.QdrantServer. Like the real one it needs no key.
func (s *Server) HealthCheck(context.Context, *qdrant.HealthCheckRequest) (*qdrant.HealthCheckReply, error) {
	return &qdrant.HealthCheckReply{Title: "qdrant - vector search engine", Version: "1.18.3"}, nil
}

// The services have methods of the same names: each has a type of its own.
type (
	collections struct {
		qdrant.UnimplementedCollectionsServer
		of *Server
	}
	points struct {
		qdrant.UnimplementedPointsServer
		of *Server
	}
)

func (s collections) CollectionExists(_ context.Context, r *qdrant.CollectionExistsRequest) (*qdrant.CollectionExistsResponse, error) {
	_, err := s.of.collection(r.GetCollectionName())
	return &qdrant.CollectionExistsResponse{Result: &qdrant.CollectionExists{Exists: err == nil}}, nil
}

func (s collections) Create(_ context.Context, r *qdrant.CreateCollection) (*qdrant.CollectionOperationResponse, error) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if _, ok := s.of.collections[r.GetCollectionName()]; ok {
		return nil, status.Errorf(codes.AlreadyExists, "Wrong input: Collection `%s` already exists!", r.GetCollectionName())
	}
	if err := s.of.Backend.Create(r.GetCollectionName(), r); err != nil {
		return nil, err
	}
	s.of.collections[r.GetCollectionName()] = r
	return &qdrant.CollectionOperationResponse{Result: true}, nil
}

func (s collections) Get(_ context.Context, r *qdrant.GetCollectionInfoRequest) (*qdrant.GetCollectionInfoResponse, error) {
	c, err := s.of.collection(r.GetCollectionName())
	if err != nil {
		return nil, err
	}
	return &qdrant.GetCollectionInfoResponse{Result: &qdrant.CollectionInfo{
		Status: qdrant.CollectionStatus_Green,
		Config: &qdrant.CollectionConfig{Params: &qdrant.CollectionParams{
			VectorsConfig: c.GetVectorsConfig(), SparseVectorsConfig: c.GetSparseVectorsConfig(),
		}, Metadata: c.GetMetadata()},
	}}, nil
}

// Update implements no more of the call than that metadata are added to.
func (s collections) Update(_ context.Context, r *qdrant.UpdateCollection) (*qdrant.CollectionOperationResponse, error) {
	c, err := s.of.collection(r.GetCollectionName())
	if err != nil {
		return nil, err
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	changed := proto.CloneOf(c)
	if changed.Metadata == nil {
		changed.Metadata = map[string]*qdrant.Value{}
	}
	maps.Copy(changed.Metadata, r.GetMetadata())
	s.of.collections[r.GetCollectionName()] = changed
	return &qdrant.CollectionOperationResponse{Result: true}, nil
}

func done() *qdrant.PointsOperationResponse {
	return &qdrant.PointsOperationResponse{Result: &qdrant.UpdateResult{Status: qdrant.UpdateStatus_Completed}}
}

func (s points) CreateFieldIndex(_ context.Context, r *qdrant.CreateFieldIndexCollection) (*qdrant.PointsOperationResponse, error) {
	_, err := s.of.collection(r.GetCollectionName())
	return done(), err
}

func (s points) Upsert(_ context.Context, r *qdrant.UpsertPoints) (*qdrant.PointsOperationResponse, error) {
	c, err := s.of.collection(r.GetCollectionName())
	if err != nil {
		return nil, err
	}
	if len(r.GetPoints()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "Empty update request")
	}
	for _, p := range r.GetPoints() {
		for name, v := range p.GetVectors().GetVectors().GetVectors() {
			if err := checkVector(c, name, v); err != nil {
				return nil, err
			}
		}
	}
	return done(), s.of.Backend.Upsert(r.GetCollectionName(), r.GetPoints())
}

func checkVector(c *qdrant.CreateCollection, name string, v *qdrant.Vector) error {
	if sparse := v.GetSparse(); sparse != nil {
		if _, ok := c.GetSparseVectorsConfig().GetMap()[name]; !ok {
			return status.Errorf(codes.InvalidArgument, "Wrong input: Not existing vector name error: %s", name)
		}
		i := slices.Clone(sparse.GetIndices())
		slices.Sort(i)
		if len(slices.Compact(i)) != len(sparse.GetValues()) {
			return status.Error(codes.InvalidArgument, "Validation error in sparse vector: indices must be unique")
		}
		return nil
	}
	return checkDense(c, name, len(v.GetDense().GetData()))
}

func checkDense(c *qdrant.CreateCollection, name string, size int) error {
	params, ok := c.GetVectorsConfig().GetParamsMap().GetMap()[name]
	if !ok {
		return status.Errorf(codes.InvalidArgument, "Wrong input: Not existing vector name error: %s", name)
	}
	if uint64(size) != params.GetSize() {
		return status.Errorf(codes.InvalidArgument, "Wrong input: Vector dimension error: expected dim: %d, got %d", params.GetSize(), size)
	}
	return nil
}

func (s points) Delete(_ context.Context, r *qdrant.DeletePoints) (*qdrant.PointsOperationResponse, error) {
	if _, err := s.of.collection(r.GetCollectionName()); err != nil {
		return nil, err
	}
	return done(), s.of.Backend.Delete(r.GetCollectionName(), r.GetPoints())
}

func (s points) Get(_ context.Context, r *qdrant.GetPoints) (*qdrant.GetResponse, error) {
	if _, err := s.of.collection(r.GetCollectionName()); err != nil {
		return nil, err
	}
	list, err := s.of.Backend.Get(r.GetCollectionName(), r.GetIds())
	for _, p := range list {
		p.Payload = included(p.GetPayload(), r.GetWithPayload())
	}
	return &qdrant.GetResponse{Result: list}, err
}

func (s points) Count(_ context.Context, r *qdrant.CountPoints) (*qdrant.CountResponse, error) {
	if _, err := s.of.collection(r.GetCollectionName()); err != nil {
		return nil, err
	}
	n, err := s.of.Backend.Count(r.GetCollectionName(), r.GetFilter())
	return &qdrant.CountResponse{Result: &qdrant.CountResult{Count: n}}, err
}

func (s points) Scroll(_ context.Context, r *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
	if _, err := s.of.collection(r.GetCollectionName()); err != nil {
		return nil, err
	}
	list, next, err := s.of.Backend.Scroll(r.GetCollectionName(), r)
	for _, p := range list {
		p.Payload = included(p.GetPayload(), r.GetWithPayload())
	}
	return &qdrant.ScrollResponse{Result: list, NextPageOffset: next}, err
}

func (s points) Query(_ context.Context, r *qdrant.QueryPoints) (*qdrant.QueryResponse, error) {
	hits, err := s.query(r.GetCollectionName(), r)
	return &qdrant.QueryResponse{Result: hits}, err
}

func (s points) QueryBatch(_ context.Context, r *qdrant.QueryBatchPoints) (*qdrant.QueryBatchResponse, error) {
	out := &qdrant.QueryBatchResponse{}
	for _, q := range r.GetQueryPoints() {
		hits, err := s.query(r.GetCollectionName(), q)
		if err != nil {
			return nil, err
		}
		out.Result = append(out.Result, &qdrant.BatchResult{Result: hits})
	}
	return out, nil
}

func (s points) query(name string, q *qdrant.QueryPoints) ([]*qdrant.ScoredPoint, error) {
	c, err := s.of.collection(name)
	if err != nil {
		return nil, err
	}
	if q.Limit != nil && q.GetLimit() == 0 {
		return nil, status.Error(codes.InvalidArgument, "Validation error in body: limit: value 0 invalid, must be 1 or larger")
	}
	if dense := q.GetQuery().GetNearest().GetDense(); dense != nil {
		if err := checkDense(c, q.GetUsing(), len(dense.GetData())); err != nil {
			return nil, err
		}
	}
	hits, err := s.of.Backend.Query(name, q)
	for _, h := range hits {
		h.Payload = included(h.GetPayload(), q.GetWithPayload())
	}
	return hits, err
}

// included are the fields that a caller has asked for.
func included(all map[string]*qdrant.Value, s *qdrant.WithPayloadSelector) map[string]*qdrant.Value {
	if s.GetEnable() {
		return all
	}
	some := map[string]*qdrant.Value{}
	for _, f := range s.GetInclude().GetFields() {
		if v, ok := all[f]; ok {
			some[f] = v
		}
	}
	return some
}
