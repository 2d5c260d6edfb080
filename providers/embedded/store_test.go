package embedded_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/providers/embedded"
)

// reopened runs the same checks on a store before and after a restart.
func reopened(t *testing.T, path string, write, check func(s embedded.Store)) {
	t.Helper()
	for i := range 2 {
		s, err := embedded.Config{Path: path, Durability: embedded.DurablePower}.Build(t.Context(), config.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			write(s)
		}
		check(s)
		if err := s.(io.Closer).Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What is stored is the same after a restart, names with anything in them too.
func TestRestart(t *testing.T) {
	const tenant, doc = "t\x00\xff|'", "d\x00\"?#"
	path := filepath.Join(t.TempDir(), "a b?#%.db")
	p := pipeline.Point{
		Passage: pipeline.Passage{ID: "id\x00\xfe", DocID: doc, ChunkID: "c", Index: 7, Text: "text \x00\xff zeppelin", Metadata: []byte(`{"a":1}`)},
		Vector:  []float32{3, 4},
	}
	reopened(t, path, func(s embedded.Store) {
		other := p
		other.ID, other.DocID = "gone", "gone"
		_, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: tenant, Collection: "kb", Points: []pipeline.Point{p, other}})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.Delete(t.Context(), tenant, "kb", "gone"); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		_, err = s.Write(t.Context(), pipeline.GraphWrite{
			Tenant: tenant, DocID: doc,
			Entities:  []pipeline.Entity{{ID: "a\x00", Type: "T", Name: "Ada", Props: []pipeline.Prop{{Key: "k", Value: []byte(`"v"`)}}}, {ID: "b", Type: "T"}},
			Relations: []pipeline.Relation{{Src: "a\x00", Dst: "b", Type: "R", Props: []pipeline.Prop{{Key: "weight", Value: []byte("2")}}}},
			Mentions:  []pipeline.Mention{{PointID: "x", DocID: doc, Index: 1, Entity: "b"}, {PointID: "y", DocID: doc, Entity: "b"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}, func(s embedded.Store) {
		legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: tenant, Collection: "kb", Text: "zeppelin", Vector: []float32{3, 4}, Limit: 5})
		if err != nil || len(legs.Dense) != 1 || len(legs.Sparse) != 1 {
			t.Fatalf("found %v, %v", legs, err)
		}
		got := legs.Dense[0]
		if got.ID != p.ID || got.DocID != doc || got.ChunkID != "c" || got.Index != 7 || got.Text != p.Text || string(got.Metadata) != `{"a":1}` || got.Scores.Dense.Value < 0.999 {
			t.Errorf("found %q", fmt.Sprint(got))
		}
		g, err := s.Expand(t.Context(), pipeline.ExpandQuery{
			Tenant: tenant, Seeds: []pipeline.Seed{{ID: "a\x00", Weight: 1}}, Hops: 1, Fanout: 9, HubCap: 9, MaxSeeds: 9, MaxNodes: 9, MaxEdges: 9,
		})
		if err != nil || len(g.Entities) != 2 || len(g.Relations) != 1 || string(g.Entities[0].Props[0].Value) != `"v"` || g.Entities[0].Name != "Ada" {
			t.Errorf("graph %+v, %v", g, err)
		}
		seeds, err := s.Link(t.Context(), pipeline.LinkQuery{Tenant: tenant, Text: "Who was Ada?", Limit: 5})
		if err != nil || len(seeds) != 1 || seeds[0].ID != "a\x00" {
			t.Errorf("linked %v, %v", seeds, err)
		}
		more, err := s.Related(t.Context(), pipeline.RelatedQuery{Tenant: tenant, Chunks: []string{"x"}, Limit: 5, HubCap: 9, MaxSeeds: 9})
		if err != nil || len(more) != 1 || more[0].ID != "y" || more[0].DocID != doc {
			t.Errorf("related %v, %v", more, err)
		}
	})
}

// Points that are written again and again do not make a store ever larger, and
// what is deleted does not count for anything that is left.
func TestCompaction(t *testing.T) {
	s := open(t, "")
	var before float32
	for round := range 8 {
		var points []pipeline.Point
		for i := range 300 {
			points = append(points, pipeline.Point{
				Passage: pipeline.Passage{
					ID: fmt.Sprint(i), DocID: fmt.Sprint(i % 10), Text: fmt.Sprintf("round%d number%d common", round, i),
					Metadata: fmt.Appendf(nil, `{"round":%d,"i":%d}`, round, i),
				},
				Vector: []float32{float32(i), 1, float32(round)},
			})
		}
		if _, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: "t", Collection: "kb", Points: points}); err != nil {
			t.Fatal(err)
		}
		n := float64(round)
		q := pipeline.SearchQuery{Tenant: "t", Collection: "kb", Text: fmt.Sprintf("round%d number77", round), Vector: []float32{1, 1, 1}, Limit: 1000}
		q.Filter = &pipeline.Filter{Must: []pipeline.Condition{{Field: "round", Any: []pipeline.Value{{Kind: pipeline.NumberValue, Number: n}}}}}
		legs, err := s.Search(t.Context(), q)
		if err != nil || len(legs.Dense) != 300 || len(legs.Sparse) != 300 || legs.Sparse[0].ID != "77" {
			t.Fatalf("round %d: %d and %d points, %v", round, len(legs.Dense), len(legs.Sparse), err)
		}
		if score := legs.Sparse[0].Scores.Sparse.Value; before != 0 && score != before {
			t.Errorf("round %d: score %v, and before %v: what is gone counts", round, score, before)
		} else {
			before = score
		}
		if old, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "t", Collection: "kb", Text: fmt.Sprintf("round%d", round-1), Limit: 5}); err != nil || len(old.Sparse) != 0 {
			t.Errorf("round %d: the one before is found: %v, %v", round, old, err)
		}
	}
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := os.Stat(filepath.Join(dir, "headrace.db")); err != nil {
		t.Errorf("a folder for a path: %v", err)
	}
	s, err := embedded.Config{Path: dir}.Build(t.Context(), config.Env{})
	if err == nil {
		s.(io.Closer).Close()
		t.Fatal("a file was opened twice")
	}
	if !strings.Contains(err.Error(), "open already") || !strings.Contains(err.Error(), "before a reload") {
		t.Errorf("error is %v", err)
	}
	f := func(path, want string) {
		t.Helper()
		s, err := embedded.Config{Path: path}.Build(t.Context(), config.Env{})
		if err == nil {
			s.(io.Closer).Close()
			t.Fatalf("%s was opened", path)
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v; want %q and the path", err, want)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f(filepath.Join(file, "kb.db"), "not a directory")
}

// More fields than a store keeps columns of are filtered by all the same.
func TestManyFields(t *testing.T) {
	s := open(t, "")
	p := pipeline.Point{Passage: pipeline.Passage{ID: "x", DocID: "d", Text: "word", Metadata: []byte(`{"f299":1}`)}}
	if _, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: "t", Collection: "kb", Points: []pipeline.Point{p}}); err != nil {
		t.Fatal(err)
	}
	var all []pipeline.Condition
	for i := range 300 {
		all = append(all, pipeline.Condition{Field: fmt.Sprint("f", i), Any: []pipeline.Value{{Kind: pipeline.NumberValue, Number: 1}}})
	}
	for chunk := range slices.Chunk(all, 50) {
		legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "t", Collection: "kb", Text: "word", Limit: 5, Filter: &pipeline.Filter{Should: chunk}})
		if want := chunk[len(chunk)-1].Field == "f299"; err != nil || (len(legs.Sparse) == 1) != want {
			t.Errorf("up to %s: %v, %v", chunk[len(chunk)-1].Field, legs, err)
		}
	}
}

func TestRestartWithoutVectors(t *testing.T) {
	reopened(t, filepath.Join(t.TempDir(), "kb.db"), func(s embedded.Store) {
		_, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: "t", Collection: "kb", Points: []pipeline.Point{
			{Passage: pipeline.Passage{ID: "a", DocID: "d", Text: "penstock"}}, {Passage: pipeline.Passage{ID: "b", DocID: "d"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}, func(s embedded.Store) {
		legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "t", Collection: "kb", Text: "penstock", Limit: 5})
		info, _ := s.Collection(t.Context(), "t", "kb")
		if err != nil || len(legs.Sparse) != 1 || legs.Sparse[0].Metadata != nil || info.Points != 2 || info.Dimensions != 0 {
			t.Errorf("found %v in %+v, %v", legs, info, err)
		}
	})
}

// Once nobody has anything in a collection, it takes vectors of another length, and not
// before.
func TestAnotherModel(t *testing.T) {
	put := func(s embedded.Store, tenant, doc string, vector ...float32) error {
		p := pipeline.Point{Passage: pipeline.Passage{ID: pipeline.PointID(tenant, "kb", doc, "", 0), DocID: doc, Text: doc}, Vector: vector}
		_, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: tenant, Collection: "kb", Points: []pipeline.Point{p}})
		return err
	}
	refused := func(err error) bool {
		e, ok := errors.AsType[*pipeline.Error](err)
		return ok && e.Status == 409
	}
	write := func(s embedded.Store) {
		drop := func(tenant, doc string) {
			t.Helper()
			if n, err := s.Delete(t.Context(), tenant, "kb", doc); err != nil || n != 1 {
				t.Error(n, err)
			}
		}
		if err := errors.Join(put(s, "a", "one", 1, 2, 3), put(s, "b", "one", 1, 2, 3)); err != nil {
			t.Fatal(err)
		}
		drop("a", "")
		if err := put(s, "a", "one", 1, 2); !refused(err) {
			t.Error("another tenant has points:", err)
		}
		drop("b", "one")
		if err := put(s, "a", "one", 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	reopened(t, filepath.Join(t.TempDir(), "kb.db"), write, func(s embedded.Store) {
		if err := put(s, "b", "two", 1, 2, 3); !refused(err) {
			t.Error("of the old length:", err)
		}
		found, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "a", Collection: "kb", Vector: []float32{1, 2}, Text: "one", Limit: 5})
		if err != nil || len(found.Dense) != 1 || len(found.Sparse) != 1 {
			t.Errorf("%+v, %v", found, err)
		}
	})
}

// A file of format 1 noted no models: it is brought up to date, with all that is in it,
// and its vectors are compared with those of any model.
func TestUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kb.db")
	old, err := embedded.Config{Path: path, Durability: embedded.DurableProcess}.Build(t.Context(), config.Env{})
	if err != nil {
		t.Fatal(err)
	}
	p := pipeline.Point{Passage: pipeline.Passage{ID: pipeline.PointID("t", "kb", "d", "", 0), DocID: "d", Text: "penstock"}, Vector: []float32{1, 2}}
	if _, err := old.Upsert(t.Context(), pipeline.Upsert{Tenant: "t", Collection: "kb", Points: []pipeline.Point{p}, Model: "gone"}); err != nil {
		t.Fatal(err)
	}
	if err := old.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"ALTER TABLE collections DROP COLUMN model", "PRAGMA user_version = 1"} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	reopened(t, path, func(embedded.Store) {}, func(s embedded.Store) {
		legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "t", Collection: "kb", Vector: []float32{1, 2}, Model: "m", Text: "penstock", Limit: 5})
		if err != nil || len(legs.Dense) != 1 || len(legs.Sparse) != 1 {
			t.Errorf("found %+v, %v", legs, err)
		}
		if info, err := s.Collection(t.Context(), "t", "kb"); err != nil || info.Model != "" || info.Points != 1 {
			t.Errorf("collection is %+v, %v", info, err)
		}
	})
}
