package embedded_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

// Whoever searches while a document is replaced finds all of it, as it was or as it is.
func TestSearchIsWhole(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a.db"))
	version := func(v int) (u pipeline.Upsert, left int) {
		u = pipeline.Upsert{Tenant: "t", Collection: "kb"}
		left = 1 + v*5%7
		for i := range 7 {
			id := fmt.Sprint("p", i)
			if i >= left {
				u.Remove = append(u.Remove, id)
				continue
			}
			u.Points = append(u.Points, pipeline.Point{
				Passage: pipeline.Passage{ID: id, DocID: "d", Index: i, Text: fmt.Sprintf("mill of %d", left), Metadata: fmt.Appendf(nil, `{"v":%d}`, v)},
				Vector:  []float32{1, float32(i), float32(v % 100)},
			})
		}
		return u, left
	}
	write := func(v int) {
		u, _ := version(v)
		if _, err := s.Upsert(t.Context(), u); err != nil {
			t.Error(err)
		}
	}
	write(0)
	done := make(chan struct{})
	var readers sync.WaitGroup
	whole := func(what string, list []pipeline.Passage) {
		if len(list) == 0 {
			t.Errorf("%s: nothing", what)
			return
		}
		var v int
		if _, err := fmt.Sscanf(string(list[0].Metadata), `{"v":%d}`, &v); err != nil {
			t.Error(err)
		}
		_, left := version(v)
		for _, p := range list {
			if len(list) != left || string(p.Metadata) != fmt.Sprintf(`{"v":%d}`, v) {
				t.Errorf("%s: %d chunks, one of them %s %s; want the %d of version %d", what, len(list), p.ID, p.Metadata, left, v)
				return
			}
		}
	}
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "t", Collection: "kb", Text: "mill", Vector: []float32{1, 1, 1}, Limit: 20})
				if err != nil {
					t.Error(err)
				}
				whole("by meaning", legs.Dense)
				whole("by words", legs.Sparse)
				if list, err := s.Fetch(t.Context(), "t", "kb", []string{"p0", "p1", "p2", "p3", "p4", "p5", "p6"}); err != nil {
					t.Error(err)
				} else {
					whole("by id", list)
				}
			}
		})
	}
	for v := range 50 {
		write(v)
	}
	close(done)
	readers.Wait()
}
