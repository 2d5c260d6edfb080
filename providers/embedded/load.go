package embedded

import (
	"context"
	"database/sql"
	"fmt"
	"unsafe"
)

// load fills memory from the file.
func (s *store) load(ctx context.Context) error {
	if err := s.loadCollections(ctx); err != nil {
		return fmt.Errorf("load the store %s: %w", s.file, remedy(err))
	}
	if err := s.loadPoints(ctx); err != nil {
		return fmt.Errorf("load points from %s: %w", s.file, remedy(err))
	}
	if err := s.loadGraph(ctx); err != nil {
		return fmt.Errorf("load the graph from %s: %w", s.file, remedy(err))
	}
	return nil
}

// each calls row for every row of a query.
func each(ctx context.Context, db interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, row func(scan func(...any) error) error, query string, args ...any,
) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (s *store) loadCollections(ctx context.Context) error {
	return each(ctx, s.file.read, func(scan func(...any) error) error {
		var name string
		c := &collection{parts: map[string]*part{}}
		if err := scan(&c.key, &name, &c.dims, &c.model); err != nil {
			return err
		}
		c.turn = newRotation(c.dims)
		s.collections[name] = c
		return nil
	}, "SELECT key, name, dims, model FROM collections")
}

// A loaded point is on its way from the file to its part.
type loaded struct {
	part *part
	entry
	text string
}

// loadPoints reads points on one goroutine and indexes them on another.
func (s *store) loadPoints(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan []loaded, 4)
	done := make(chan error, 1)
	go func() {
		defer close(done)
		defer cancel() // whoever reads stops too
		if err := recovered(func() {
			for batch := range batches {
				for _, l := range batch {
					l.bag = bagOf(l.text)
					l.part.add(l.entry)
				}
			}
		}); err != nil {
			done <- err
		}
	}()
	err := s.readPoints(ctx, func(batch []loaded) {
		select {
		case batches <- batch:
		case <-ctx.Done():
		}
	})
	close(batches)
	if indexing := <-done; indexing != nil {
		return indexing
	}
	return err
}

func (s *store) readPoints(ctx context.Context, yield func([]loaded)) error {
	byKey := map[int64]*collection{}
	for _, c := range s.collections {
		byKey[c.key] = c
	}
	var batch []loaded
	doc := "" // points of one document mostly follow each other; they share its name
	err := each(ctx, s.file.read, func(scan func(...any) error) error {
		var l loaded
		var key int64
		var tenant string
		var codes, text, meta []byte
		err := scan(&l.row, &key, &tenant, &l.id, &l.doc, &l.chunk, &l.code.scale, &codes, &meta, &text)
		if err != nil {
			return err
		}
		c := byKey[key]
		if c == nil || c.dims > 0 && len(codes) != c.turn.padded || c.dims == 0 && len(codes) != 0 {
			return fmt.Errorf("%w: point %d does not fit its collection", errDamaged, l.row)
		}
		if l.doc == doc {
			l.doc = doc
		}
		doc, l.meta, l.text = l.doc, meta, string(text)
		l.code.bytes = signed(codes)
		if l.part = c.parts[tenant]; l.part == nil {
			l.part = newPart()
			c.parts[tenant] = l.part
		}
		if batch = append(batch, l); len(batch) == 256 {
			yield(batch)
			batch = nil
		}
		return nil
	}, "SELECT row, collection, tenant, id, doc_id, chunk_id, scale, code, metadata, text FROM points ORDER BY row")
	yield(batch)
	return err
}

// signed and unsigned look at the same bytes in two ways. Copying 768 of them
// for each point would be a good part of the start, which TestLarge times.
func signed(b []byte) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(b))), len(b)) //nolint:gosec // the same bytes, as many
}

func unsigned(b []int8) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), len(b)) //nolint:gosec // the same bytes, as many
}

// recovered returns what f panicked with, as an error.
func recovered(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("BUG: embedded store: %v", r)
		}
	}()
	f()
	return nil
}
