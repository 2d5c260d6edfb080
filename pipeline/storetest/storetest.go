// Package storetest holds every store of retrieval to the same promises: those
// of the ports in package pipeline. Run it from the tests of a store, with the
// race detector:
//
//	storetest.Vectors(t, func(t *testing.T) pipeline.VectorStore { … })
//	storetest.Graph(t, func(t *testing.T) pipeline.GraphStore { … })
//
// Stores may be shared with other tests, and hold anything: the suites name
// tenants and collections as nobody else does. What a store needs to be closed
// is for open to see to, with t.Cleanup. A store must show a write to whoever
// reads after it.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// patience is how long one call may take on a busy machine.
const patience = 30 * time.Second

// fresh returns a name that nobody has used.
func fresh(what string) string { return "storetest_" + what + "_" + strings.ToLower(rand.Text()[:12]) }

// context returns one that ends when the test has been at it for too long.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// random returns a source that is the same in every run of a test.
func random(t *testing.T) *mathrand.Rand {
	h := fnv.New64a()
	h.Write([]byte(t.Name()))
	return mathrand.New(mathrand.NewPCG(h.Sum64(), 1))
}

// refused fails the test unless err is an *Error with this status and code.
func refused(t *testing.T, err error, status int, code string) {
	t.Helper()
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok || e.Status != status || e.Code != code {
		t.Errorf("error is %v; want an *Error with status %d and code %s", err, status, code)
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// sameJSON reports whether a and b are the same value, or both none.
func sameJSON(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// A shelf is one tenant's part of a collection, with what ought to be in it.
type shelf struct {
	tenant, collection string
	store              pipeline.VectorStore
}

func newShelf(store pipeline.VectorStore) shelf {
	return shelf{tenant: fresh("tenant"), collection: fresh("kb"), store: store}
}

// point makes a point of the shelf; metadata may be empty.
func (s shelf) point(doc string, index int, text string, vector []float32, metadata string) pipeline.Point {
	chunk := fmt.Sprintf("c%d", index)
	p := pipeline.Point{
		Passage: pipeline.Passage{
			ID:    pipeline.PointID(s.tenant, s.collection, doc, chunk, index),
			DocID: doc, ChunkID: chunk, Index: index, Text: text,
		},
		Vector: vector,
	}
	if metadata != "" {
		p.Metadata = []byte(metadata)
	}
	h := fnv.New64a()
	fmt.Fprint(h, doc, chunk, index, text, vector, metadata)
	copy(p.Digest[:], h.Sum(nil))
	return p
}

func (s shelf) put(t *testing.T, points ...pipeline.Point) pipeline.Upserted {
	t.Helper()
	return must[pipeline.Upserted](t)(s.store.Upsert(within(t), pipeline.Upsert{Tenant: s.tenant, Collection: s.collection, Points: points}))
}

func (s shelf) search(t *testing.T, q pipeline.SearchQuery) pipeline.Legs {
	t.Helper()
	q.Tenant, q.Collection = s.tenant, s.collection
	if q.Limit == 0 {
		q.Limit = 100
	}
	return must[pipeline.Legs](t)(s.store.Search(within(t), q))
}

func (s shelf) count(t *testing.T) int {
	t.Helper()
	return must[pipeline.CollectionInfo](t)(s.store.Collection(within(t), s.tenant, s.collection)).Points
}

// ids returns the ids of passages, in order.
func ids(list []pipeline.Passage) []string {
	out := []string{}
	for _, p := range list {
		out = append(out, p.ID)
	}
	return out
}

// idsOf returns the ids of points, sorted.
func idsOf(points ...pipeline.Point) []string {
	out := []string{}
	for _, p := range points {
		out = append(out, p.ID)
	}
	slices.Sort(out)
	return out
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %d: %v\nwant %d: %v", what, len(got), got, len(want), want)
	}
}

// samePassage compares what is stored of two passages.
func samePassage(t *testing.T, got, want pipeline.Passage) {
	t.Helper()
	if got.ID != want.ID || got.DocID != want.DocID || got.ChunkID != want.ChunkID || got.Index != want.Index ||
		got.Text != want.Text || !sameJSON(got.Metadata, want.Metadata) {
		t.Errorf("passage is\n%.300q\nwant\n%.300q", fmt.Sprint(got), fmt.Sprint(want))
	}
}

// inOrder fails the test unless passages stand by score, and ties by id.
func inOrder(t *testing.T, leg string, list []pipeline.Passage, score func(pipeline.Passage) pipeline.Score) {
	t.Helper()
	for i, p := range list {
		s := score(p)
		if !s.Set || math.IsNaN(float64(s.Value)) {
			t.Errorf("%s: passage %d has no score", leg, i)
		}
		if i == 0 {
			continue
		}
		if b := score(list[i-1]); b.Value < s.Value || b.Value == s.Value && list[i-1].ID >= p.ID {
			t.Errorf("%s: passage %d (%v, %s) stands before %d (%v, %s)", leg, i-1, b.Value, list[i-1].ID, i, s.Value, p.ID)
		}
	}
}

func dense(p pipeline.Passage) pipeline.Score  { return p.Scores.Dense }
func sparse(p pipeline.Passage) pipeline.Score { return p.Scores.Sparse }

// vector returns a unit vector along a direction given by its numbers.
func vector(numbers ...float32) []float32 {
	var sum float64
	for _, x := range numbers {
		sum += float64(x) * float64(x)
	}
	out := make([]float32, len(numbers))
	for i, x := range numbers {
		out[i] = float32(float64(x) / math.Sqrt(sum))
	}
	return out
}

// anyVector returns some unit vector.
func anyVector(r *mathrand.Rand, dims int) []float32 {
	out := make([]float32, dims)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return vector(out...)
}
