package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/headrace/headrace/pipeline"
)

// A Sink is where documents are written to.
type Sink interface {
	// Write writes whole documents. It may be called concurrently, never twice
	// at a time with the same document. From time to time it tells, if tell is not nil,
	// what of them it has written so far, since one document may take an hour.
	Write(ctx context.Context, docs []*Prepared, tell func(Written)) (Written, error)
}

// Written counts chunks.
type Written struct {
	New       int // or changed
	Unchanged int
	Mentions  int // links between chunks and entities
	Without   int // chunks in which no model found a graph
	Broken    int // relations that were left out, as a part of them is missing
	Asked     int // chunks that models were asked about
}

// A Store writes into stores that this process has open.
type Store struct {
	Passages           pipeline.VectorStore
	Embedder           pipeline.Embedder   // nil: chunks are found by words only
	Graph              pipeline.GraphStore // nil: entities are left out
	Tenant, Collection string
	Again              bool // write what has not changed, too
	// Extract, if set, adds to the graph what models find in documents that have
	// changed.
	Extract Extractor

	compared atomic.Bool // the models of the embedder and the collection, which are one
}

// Write implements Sink. What has not changed is neither embedded nor written. What a
// document has no more goes last, when models have done their part, which may fail for
// longer.
func (s *Store) Write(ctx context.Context, docs []*Prepared, tell func(Written)) (Written, error) {
	var w Written
	if tell == nil {
		tell = func(Written) {}
	}
	if err := s.ofOneModel(ctx); err != nil {
		return w, err
	}
	known, err := s.known(ctx, docs)
	if err != nil {
		return w, err
	}
	c := s.compare(docs, known)
	for _, d := range docs {
		w.Unchanged += len(d.Chunks)
	}
	w.Unchanged -= len(c.points)
	// The graph comes first: whoever is stopped in between finds the chunks changed
	// the next time, and does both again.
	for _, d := range docs {
		if s.Extract != nil && c.changed[d] {
			before := d.Broken
			without, err := s.extract(ctx, d, func() {
				w.Asked++
				tell(w)
			})
			if err != nil {
				return w, err
			}
			w.Without, w.Broken = w.Without+without, w.Broken+d.Broken-before
		}
		if err := s.link(ctx, d, c.changed[d], &w); err != nil {
			return w, err
		}
	}
	for rest := c.points; len(rest) > 0; {
		some := rest[:min(len(rest), maxUpsert)]
		rest = rest[len(some):]
		if err := s.embed(ctx, some); err != nil {
			return w, err
		}
		if err := s.upsert(ctx, some, &w); err != nil {
			return w, err
		}
		tell(w)
	}
	for _, d := range c.shorter {
		if err := s.prune(ctx, d); err != nil {
			return w, fmt.Errorf("remove what %q has no more: %w", d.ID, err)
		}
	}
	return w, nil
}

// prune removes all chunks but those that the document has now.
func (s *Store) prune(ctx context.Context, d *Prepared) error {
	list, err := s.Passages.Chunks(ctx, s.Tenant, s.Collection, d.ID)
	if err != nil {
		return err
	}
	now := make(map[string]bool, len(d.Chunks))
	for i := range d.Chunks {
		now[s.id(d, i)] = true
	}
	var gone []string
	for i := range list {
		if !now[list[i].ID] {
			gone = append(gone, list[i].ID)
		}
	}
	_, err = s.Passages.Remove(ctx, s.Tenant, s.Collection, gone)
	return err
}

// changes are what is to be written of some documents.
type changes struct {
	changed map[*Prepared]bool
	shorter []*Prepared // those that have fewer chunks than before
	points  []pipeline.Point
}

func (s *Store) compare(docs []*Prepared, known map[string]*pipeline.Passage) changes {
	c := changes{changed: map[*Prepared]bool{}}
	for _, d := range docs {
		if known[s.id(d, len(d.Chunks))] != nil {
			c.shorter, c.changed[d] = append(c.shorter, d), true
		}
		for k := range d.Chunks {
			if s.Again || !same(known[s.id(d, k)], &d.Chunks[k]) {
				c.points, c.changed[d] = append(c.points, s.point(d, k)), true
			}
		}
	}
	return c
}

// ofOneModel refuses to go on where chunks would be left alone, as they have not changed,
// whose vectors another model has made.
func (s *Store) ofOneModel(ctx context.Context) error {
	if s.Embedder == nil || s.compared.Load() {
		return nil
	}
	info, err := s.Passages.Collection(ctx, s.Tenant, s.Collection)
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "collection_not_found" || err == nil && info.Points == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the collection %q: %w", s.Collection, err)
	}
	err = pipeline.ModelMismatch(s.Collection, info.Model, s.Embedder.Model())
	s.compared.Store(err == nil)
	return err
}

func (s *Store) id(d *Prepared, index int) string {
	return pipeline.PointID(s.Tenant, s.Collection, d.ID, "", index)
}

// known returns what is stored of the documents, and of each the first chunk
// that it has no more, if there is one. Chunks are numbered without gaps, so
// that one tells of all.
func (s *Store) known(ctx context.Context, docs []*Prepared) (map[string]*pipeline.Passage, error) {
	var ids []string
	for _, d := range docs {
		for k := range len(d.Chunks) + 1 {
			ids = append(ids, s.id(d, k))
		}
	}
	known := make(map[string]*pipeline.Passage, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), 500)
		found, err := s.Passages.Fetch(ctx, s.Tenant, s.Collection, ids[:n])
		if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "collection_not_found" {
			return known, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look up what is stored already: %w", err)
		}
		for i := range found {
			known[found[i].ID] = &found[i]
		}
		ids = ids[n:]
	}
	return known, nil
}

func same(p *pipeline.Passage, c *Chunk) bool {
	return p != nil && p.Text == c.Text && bytes.Equal(p.Metadata, c.Metadata)
}

func (s *Store) point(d *Prepared, index int) pipeline.Point {
	c := &d.Chunks[index]
	return pipeline.Point{
		Passage: pipeline.Passage{ID: s.id(d, index), DocID: d.ID, Index: index, Text: c.Text, Metadata: c.Metadata},
		Digest:  digest(d.ID, index, c, s.model()),
	}
}

// model names what makes the vectors; it is empty if nothing does.
func (s *Store) model() string {
	if s.Embedder == nil {
		return ""
	}
	return s.Embedder.Model()
}

// embed gives points their vectors.
func (s *Store) embed(ctx context.Context, points []pipeline.Point) error {
	if s.Embedder == nil {
		return nil
	}
	for len(points) > 0 {
		n := min(len(points), maxUpsert)
		texts := make([]string, n)
		for i := range texts {
			texts[i] = points[i].Text
		}
		vectors, err := s.Embedder.Embed(ctx, texts, pipeline.ForStoring)
		if err != nil {
			return fmt.Errorf("embed %d chunks: %w", n, err)
		}
		for i := range vectors {
			points[i].Vector = vectors[i]
		}
		points = points[n:]
	}
	return nil
}

// upsert writes points.
func (s *Store) upsert(ctx context.Context, points []pipeline.Point, w *Written) error {
	for len(points) > 0 {
		n := min(len(points), maxUpsert)
		done, err := s.Passages.Upsert(ctx, pipeline.Upsert{
			Tenant: s.Tenant, Collection: s.Collection, Points: points[:n], Model: s.model(), SkipUnchanged: !s.Again,
		})
		if err != nil {
			return fmt.Errorf("write %d chunks into collection %q: %w", n, s.Collection, err)
		}
		w.New += done.Written
		w.Unchanged += done.Skipped
		points = points[n:]
	}
	return nil
}

// maxUpsert is how many points are embedded or written in one call.
const maxUpsert = 256

// link writes what the document adds to the graph, in place of what it added
// before where the document has changed.
func (s *Store) link(ctx context.Context, d *Prepared, changed bool, w *Written) error {
	if s.Graph == nil || len(d.Entities) == 0 && !changed {
		return nil
	}
	if changed {
		if _, err := s.Graph.DeleteDocument(ctx, s.Tenant, d.ID); err != nil {
			return fmt.Errorf("delete from the graph what %q said before: %w", d.ID, err)
		}
	}
	if len(d.Entities) == 0 {
		return nil
	}
	write := pipeline.GraphWrite{Tenant: s.Tenant, Entities: d.Entities, Relations: d.Relations, DocID: d.ID}
	for k := range d.Chunks {
		for _, id := range d.Chunks[k].Mentions {
			write.Mentions = append(write.Mentions, pipeline.Mention{PointID: s.id(d, k), DocID: d.ID, Index: k, Entity: id})
		}
	}
	done, err := s.Graph.Write(ctx, write)
	if err != nil {
		return fmt.Errorf("write %d entities of %q into the graph: %w", len(d.Entities), d.ID, err)
	}
	w.Mentions += done.Mentions
	return nil
}
