package mock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/benchmarks/payload"
)

// stored is how many passages the vector store holds, the same for every tenant.
const stored = 1000

// ServeQdrant is a Qdrant server that has one collection of payload.Passages and
// finds as many of them as it is asked for, whatever the question. Each search
// takes Settings.Search. It keeps nothing of what is written.
func (m *Server) ServeQdrant(l net.Listener) error {
	s := &vectorStore{server: m}
	g := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(s.answer))
	return g.Serve(l)
}

type vectorStore struct {
	server  *Server
	answers sync.Map // question → rawMessage
}

// A question is what the hits of a search depend on here.
type question struct {
	tenant string
	limit  uint64
	sparse bool
}

func (s *vectorStore) answer(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	var request rawMessage
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	answer, err := s.dispatch(stream.Context(), method[strings.IndexByte(method, '.')+1:], request)
	if err != nil {
		return err
	}
	return stream.SendMsg(answer)
}

func (s *vectorStore) dispatch(ctx context.Context, method string, request rawMessage) (rawMessage, error) {
	switch method {
	case "Collections/Get":
		return pack(&qdrant.GetCollectionInfoResponse{Result: &qdrant.CollectionInfo{
			Status: qdrant.CollectionStatus_Green,
			Config: &qdrant.CollectionConfig{Params: &qdrant.CollectionParams{
				VectorsConfig:       qdrant.NewVectorsConfigMap(map[string]*qdrant.VectorParams{"dense": {Size: uint64(s.server.settings.Load().Numbers), Distance: qdrant.Distance_Cosine}}),
				SparseVectorsConfig: qdrant.NewSparseVectorsConfig(map[string]*qdrant.SparseVectorParams{"sparse": {}}),
			}},
		}})
	case "Points/QueryBatch":
		s.wait(ctx)
		return s.search(request)
	case "Points/Get":
		s.wait(ctx)
		return s.get(request)
	case "Points/Upsert", "Points/Delete":
		return pack(&qdrant.PointsOperationResponse{Result: &qdrant.UpdateResult{Status: qdrant.UpdateStatus_Completed}})
	}
	return nil, status.Error(codes.Unimplemented, method)
}

func (s *vectorStore) wait(ctx context.Context) {
	d := s.server.settings.Load().Search
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// search puts one answer behind the other, which is what a list is on this wire.
func (s *vectorStore) search(request rawMessage) (rawMessage, error) {
	var batch qdrant.QueryBatchPoints
	if err := proto.Unmarshal(request, &batch); err != nil {
		return nil, err
	}
	var out rawMessage
	for _, query := range batch.GetQueryPoints() {
		q := question{tenantOf(query.GetFilter()), query.GetLimit(), query.GetUsing() == "sparse"}
		hits, ok := s.answers.Load(q)
		if !ok {
			b, err := pack(&qdrant.QueryBatchResponse{Result: []*qdrant.BatchResult{{Result: q.hits()}}})
			if err != nil {
				return nil, err
			}
			hits, _ = s.answers.LoadOrStore(q, b)
		}
		out = append(out, hits.(rawMessage)...)
	}
	return out, nil
}

// hits are a row of passages. Of the search by words it begins in the midst of the
// one by meaning, so that they share some.
func (q question) hits() []*qdrant.ScoredPoint {
	first := 0
	if q.sparse {
		first = int(q.limit / 2)
	}
	var out []*qdrant.ScoredPoint
	for i := range min(int(q.limit), stored-first) {
		out = append(out, &qdrant.ScoredPoint{Id: idOf(first + i), Score: 1 / float32(i+2), Payload: fields(q.tenant, first+i)})
	}
	return out
}

func (s *vectorStore) get(request rawMessage) (rawMessage, error) {
	var asked qdrant.GetPoints
	if err := proto.Unmarshal(request, &asked); err != nil {
		return nil, err
	}
	var out qdrant.GetResponse
	for _, id := range asked.GetIds() {
		i := 0
		if _, err := fmt.Sscanf(id.GetUuid(), idForm, &i); err == nil && i < stored {
			out.Result = append(out.Result, &qdrant.RetrievedPoint{Id: id, Payload: fields(Tenant, i)})
		}
	}
	return pack(&out)
}

const idForm = "00000000-0000-5000-8000-%012x"

func idOf(i int) *qdrant.PointId { return qdrant.NewIDUUID(fmt.Sprintf(idForm, i)) }

// fields are what the gateway keeps with a passage.
func fields(tenant string, i int) map[string]*qdrant.Value {
	return qdrant.NewValueMap(map[string]any{
		"tenant": tenant, "doc_id": fmt.Sprint("manual-", i/10), "chunk_id": fmt.Sprint(i), "index": i % 10, "text": payload.Passage(i),
	})
}

func tenantOf(f *qdrant.Filter) string {
	for _, c := range f.GetMust() {
		if c.GetField().GetKey() == "tenant" {
			return c.GetField().GetMatch().GetKeyword()
		}
	}
	return ""
}

// A rawMessage is one that is packed already.
type rawMessage []byte

func pack(m proto.Message) (rawMessage, error) { return proto.Marshal(m) }

// rawCodec lets messages pass as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(rawMessage)
	if !ok {
		return nil, errors.New("BUG: not a packed message")
	}
	return mem.BufferSlice{mem.SliceBuffer(m)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*rawMessage) = data.Materialize()
	return nil
}
