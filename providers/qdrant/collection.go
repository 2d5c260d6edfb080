package qdrant

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/pipeline"
)

// The names of the vectors of a point.
const (
	vectorDense  = "dense"
	vectorSparse = "sparse"
)

// metaModel is where a collection notes the model of its vectors. Servers before
// 1.16 keep no such notes.
const metaModel = "headrace_model"

// A schema is what a collection holds. Only the model can change while it exists,
// when nothing is in it.
type schema struct {
	dimensions int
	sparse     bool
	model      string // empty if it is not known
}

// nameOf is the collection's name on the server.
func (s *Store) nameOf(collection string) (string, error) {
	name := s.config.Prefix + collection
	if collection == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == '\\' || r < ' ' || r == 0xFFFD }) {
		return "", &pipeline.Error{
			Status: 400, Code: "invalid_collection", Param: "collection", Fault: pipeline.CallerFault,
			Err: errors.New("the name of a collection has 1 to 255 bytes, none of them a slash or a control character"),
		}
	}
	return name, nil
}

// schema returns what is known of a collection, or asks the server.
func (s *Store) schema(ctx context.Context, name string) (schema, error) {
	if known, ok := s.schemas.Load(name); ok {
		return known.(schema), nil
	}
	info, err := run(ctx, s, "info", s.config.Timeout, func(ctx context.Context) (*client.CollectionInfo, error) {
		return s.client.GetCollectionInfo(ctx, name)
	})
	if err != nil {
		return schema{}, err
	}
	params := info.GetConfig().GetParams()
	found := schema{dimensions: int(params.GetVectorsConfig().GetParamsMap().GetMap()[vectorDense].GetSize())}
	found.model = info.GetConfig().GetMetadata()[metaModel].GetStringValue()
	_, found.sparse = params.GetSparseVectorsConfig().GetMap()[vectorSparse]
	if found.dimensions == 0 && !found.sparse {
		return schema{}, &pipeline.Error{
			Status: 409, Code: "collection_incompatible", Param: "collection", Fault: pipeline.CallerFault,
			Err: fmt.Errorf("the collection was made by another program: it has neither a vector named %q nor one named %q", vectorDense, vectorSparse),
		}
	}
	s.schemas.Store(name, found)
	return found, nil
}

// ensure returns the schema of a collection after making it if, and only if,
// the server says that there is none.
func (s *Store) ensure(ctx context.Context, name string, dimensions int, model string) (schema, error) {
	found, err := s.schema(ctx, name)
	if !missing(err) {
		return found, err
	}
	_, err = run(ctx, s, "create", s.config.WriteTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.create(ctx, name, dimensions, model)
	})
	if err != nil {
		return schema{}, err
	}
	// Another writer may have been first, with vectors of another length.
	return s.schema(ctx, name)
}

func (s *Store) create(ctx context.Context, name string, dimensions int, model string) error {
	vectors := map[string]*client.VectorParams{}
	if dimensions > 0 {
		vectors[vectorDense] = &client.VectorParams{Size: uint64(dimensions), Distance: client.Distance_Cosine}
	}
	err := s.client.CreateCollection(ctx, &client.CreateCollection{
		CollectionName: name,
		VectorsConfig:  client.NewVectorsConfigMap(vectors),
		SparseVectorsConfig: client.NewSparseVectorsConfig(map[string]*client.SparseVectorParams{
			vectorSparse: {Modifier: client.Modifier_Idf.Enum()},
		}),
		Metadata: notes(model),
	})
	if err != nil && status.Code(err) != codes.AlreadyExists {
		return err
	}
	for _, index := range []*client.CreateFieldIndexCollection{
		{FieldName: fieldTenant, FieldIndexParams: client.NewPayloadIndexParamsKeyword(&client.KeywordIndexParams{IsTenant: new(true)})},
		{FieldName: fieldDoc, FieldIndexParams: client.NewPayloadIndexParamsKeyword(&client.KeywordIndexParams{})},
	} {
		index.CollectionName, index.Wait, index.FieldType = name, new(true), client.FieldType_FieldTypeKeyword.Enum()
		if _, err := s.client.CreateFieldIndex(ctx, index); err != nil {
			return err
		}
	}
	return nil
}

func notes(model string) map[string]*client.Value {
	if model == "" {
		return nil
	}
	return map[string]*client.Value{metaModel: client.NewValueString(model)}
}

// sameModel refuses vectors of another model than the collection's. What is known of
// it may be of before somebody emptied it, so that the server is asked again first.
func (s *Store) sameModel(ctx context.Context, name, collection string, known schema, model string) error {
	if pipeline.ModelMismatch(collection, known.model, model) == nil {
		return nil
	}
	s.schemas.Delete(name)
	now, err := s.schema(ctx, name)
	if err != nil {
		return err
	}
	return pipeline.ModelMismatch(collection, now.model, model)
}

// takes refuses to write vectors of another model than the collection's, unless nobody
// has anything in it, which makes it one of that model.
func (s *Store) takes(ctx context.Context, name, collection string, known schema, model string) error {
	refused := s.sameModel(ctx, name, collection, known, model)
	if e, ok := errors.AsType[*pipeline.Error](refused); !ok || e.Code != "model_mismatch" {
		return refused
	}
	n, err := s.count(ctx, name, nil)
	if err != nil {
		return err
	}
	if n > 0 {
		return refused
	}
	_, err = run(ctx, s, "update", s.config.WriteTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.client.UpdateCollection(ctx, &client.UpdateCollection{CollectionName: name, Metadata: notes(model)})
	})
	s.schemas.Delete(name)
	return err
}

// fits checks a vector. One that is not finite or has no direction would rank
// first in every search that it meets, or ruin its scores.
func (c schema) fits(collection string, vector []float32) error {
	if err := pipeline.DimensionMismatch(collection, c.dimensions, len(vector)); err != nil {
		return err
	}
	sum := 0.0
	for _, v := range vector {
		sum += float64(v) * float64(v)
	}
	if len(vector) > 0 && (sum == 0 || math.IsNaN(sum) || math.IsInf(sum, 0)) {
		return &pipeline.Error{
			Status: 400, Code: "bad_vector", Fault: pipeline.CallerFault,
			Err: errors.New("a vector needs finite numbers, and one that is not zero"),
		}
	}
	return nil
}
