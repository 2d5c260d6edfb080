package qdrant

import (
	"fmt"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/pipeline"
)

func packed(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hitsOf is what the client's own messages say.
func hitsOf(m *client.QueryBatchResponse, tenant string) [][]pipeline.Passage {
	var out [][]pipeline.Passage
	for _, batch := range m.GetResult() {
		hits := []pipeline.Passage{}
		for _, p := range batch.GetResult() {
			if p.GetPayload()[fieldTenant].GetStringValue() == tenant {
				hits = append(hits, passage(p.GetId(), p.GetPayload()))
				*score(&hits[len(hits)-1]) = pipeline.Score{Value: p.GetScore(), Set: true}
			}
		}
		out = append(out, hits)
	}
	return out
}

func sample() *client.QueryBatchResponse {
	point := func(i int, tenant string) *client.ScoredPoint {
		p := &pipeline.Point{Passage: pipeline.Passage{DocID: fmt.Sprint("doc ", i), ChunkID: "ü", Index: i, Text: "水力 and more"}}
		if i%2 == 0 {
			p.Metadata = []byte(`{"a":[1,{"b":null}],"c":true}`)
		}
		return &client.ScoredPoint{
			Id: client.NewIDUUID(fmt.Sprintf("00000000-0000-5000-8000-%012x", i)), Payload: payload(tenant, p), Score: float32(i) / 3, Version: 7,
			Vectors: &client.VectorsOutput{VectorsOptions: &client.VectorsOutput_Vector{Vector: &client.VectorOutput{Vector: &client.VectorOutput_Dense{Dense: &client.DenseVector{Data: []float32{1, 2}}}}}},
		}
	}
	return &client.QueryBatchResponse{Time: 0.25, Result: []*client.BatchResult{
		{Result: []*client.ScoredPoint{point(0, "t"), point(1, "other"), point(2, "t"), point(-3, "t"), {Id: client.NewIDNum(7), Score: 1}}},
		{},
		{Result: []*client.ScoredPoint{point(1, "t")}},
	}}
}

// What is read of an answer is what the client's messages say.
func TestAnswer(t *testing.T) {
	m := sample()
	a := answer{tenant: "t", batch: 3}
	if err := a.read(packed(t, m)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(hitsOf(m, "t"), a.hits); d != "" || len(a.hits[0]) != 3 {
		t.Errorf("(-messages +read)\n%s", d)
	}
}

// The points of a GetResponse are read by the same code.
func TestAnswerOfGet(t *testing.T) {
	var m client.GetResponse
	want := hitsOf(sample(), "t")[0]
	for i, p := range sample().Result[0].Result {
		m.Result = append(m.Result, &client.RetrievedPoint{Id: p.Id, Payload: p.Payload, Vectors: p.Vectors})
		if i < len(want) {
			*score(&want[i]) = pipeline.Score{Set: true}
		}
	}
	a := answer{tenant: "t"}
	if err := a.read(packed(t, &m)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([][]pipeline.Passage{want}, a.hits); d != "" {
		t.Errorf("(-messages +read)\n%s", d)
	}
	whole := packed(t, &m)
	if err := a.read(whole[:len(whole)-1]); err == nil {
		t.Error("what is cut was read")
	}
}

// What another program has put in the place of metadata gets into no answer.
func TestAnswerWithoutMetadata(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		m := sample()
		m.Result = m.Result[:1]
		m.Result[0].Result[0].Payload[fieldRaw] = client.NewValueString(raw)
		a := answer{tenant: "t", batch: 1}
		if err := a.read(packed(t, m)); err != nil || len(a.hits[0]) != 3 || string(a.hits[0][0].Metadata) != want {
			t.Errorf("%s: %q, %v", raw, a.hits[0][0].Metadata, err)
		}
	}
	f(`{"a":1}`, `{"a":1}`)
	for _, raw := range []string{"", "{broken", `{"a":1`, `{"a":1},"b":{}`, `"text"`, "[1]", "null"} {
		f(raw, "")
	}
}

// Each result has room for its hits made, so a server must not name as many as it likes.
func TestAnswerOfTooMany(t *testing.T) {
	a := answer{tenant: "t", batch: 2, limit: 66}
	if err := a.read(packed(t, sample())); err == nil || len(a.hits) != 2 {
		t.Errorf("%d results, %v", len(a.hits), err)
	}
}

// What is cut is an error, and nothing is a panic.
func FuzzAnswer(f *testing.F) {
	whole := packed(f, sample())
	f.Add(whole)
	for i := 0; i < len(whole); i += 37 {
		f.Add(whole[:i])
	}
	f.Add([]byte("\x0a\x03\x0a\x01\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := answer{tenant: "t", batch: len(b) + 1}
		err := a.read(b)
		var m client.QueryBatchResponse
		if proto.Unmarshal(b, &m) != nil {
			return // the client is as strict about what is not read here
		}
		if err != nil {
			t.Fatalf("the client reads what here is an error: %v", err)
		}
		a = answer{tenant: "t", batch: len(b) + 1} // as a server writes it: each field once
		if err := a.read(packed(t, &m)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(hitsOf(&m, "t"), a.hits, cmp.Comparer(sameFloat)); d != "" {
			t.Errorf("(-messages +read)\n%s", d)
		}
		for _, hits := range a.hits {
			for _, h := range hits {
				if !utf8.ValidString(h.ID + h.DocID + h.ChunkID + h.Text) {
					t.Errorf("%q is not UTF-8", h.Text)
				}
			}
		}
	})
}

func sameFloat(a, b float32) bool { return a == b || a != a && b != b }

func BenchmarkAnswer(b *testing.B) {
	m := &client.QueryBatchResponse{Result: []*client.BatchResult{{}}}
	for len(m.Result[0].Result) < 66 {
		m.Result[0].Result = append(m.Result[0].Result, sample().Result[0].Result[0])
	}
	raw := packed(b, m)
	b.ReportAllocs()
	for b.Loop() {
		a := answer{tenant: "t", batch: 1, limit: 66}
		if err := a.read(raw); err != nil || len(a.hits[0]) != 66 {
			b.Fatal(err)
		}
	}
}
