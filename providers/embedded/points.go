package embedded

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/headrace/headrace/pipeline"
)

func notFound(name string) error {
	return pipeline.Fail(404, "collection_not_found", fmt.Errorf("there is no collection %q; index something into it first", name))
}

func badVector(what string) error {
	return pipeline.Fail(400, "bad_vector", fmt.Errorf("%s is not a direction: all of it is zero, or a number is not finite", what))
}

// A draft is a point ready to be written.
type draft struct {
	*pipeline.Point
	vector []float32 // of unit length
	entry
}

// drafts checks the points of an Upsert and makes of them what does not depend
// on what is stored. Of points with one id it takes the last.
func drafts(ctx context.Context, u pipeline.Upsert) (list []draft, dims int, err error) {
	dims = len(u.Points[0].Vector)
	turn := newRotation(dims)
	last := make(map[string]int, len(u.Points))
	for i := range u.Points {
		last[u.Points[i].ID] = i
	}
	for i := range u.Points {
		p := &u.Points[i]
		if err := pipeline.DimensionMismatch(u.Collection, dims, len(p.Vector)); err != nil {
			return nil, 0, err
		}
		if last[p.ID] != i {
			continue
		}
		if err := ended(ctx); err != nil {
			return nil, 0, err
		}
		d := draft{Point: p, entry: entry{id: p.ID, doc: p.DocID, chunk: p.ChunkID, meta: bytes.Clone(p.Metadata)}}
		if dims > 0 {
			var ok bool
			if d.vector, ok = unit(p.Vector); !ok {
				return nil, 0, badVector(fmt.Sprintf("the vector of point %d", i))
			}
			d.code = turn.encode(d.vector)
		}
		list = append(list, d)
	}
	return list, dims, nil
}

// Upsert implements pipeline.VectorStore.
func (s *store) Upsert(ctx context.Context, u pipeline.Upsert) (pipeline.Upserted, error) {
	var out pipeline.Upserted
	if len(u.Points) == 0 {
		var err error
		out.Removed, err = s.Remove(ctx, u.Tenant, u.Collection, u.Remove)
		return out, err
	}
	list, dims, err := drafts(ctx, u)
	if err != nil {
		return out, err
	}
	if err := s.lock(ctx); err != nil {
		return out, err
	}
	defer s.unlock()
	c := s.collections[u.Collection] // nobody else writes now
	// A collection that has been emptied is open to another model.
	fresh := c == nil || (c.dims != dims || c.model != u.Model) && c.empty()
	if !fresh {
		err := cmp.Or(pipeline.DimensionMismatch(u.Collection, c.dims, dims), pipeline.ModelMismatch(u.Collection, c.model, u.Model))
		if err != nil {
			return out, err
		}
	}
	var written []draft
	var gone doomed
	if !fresh {
		gone = c.parts[u.Tenant].doom(u.Remove, list)
	}
	err = s.rewrite(ctx, "index points", func(tx *sql.Tx) error {
		if fresh {
			c = &collection{dims: dims, model: u.Model, turn: newRotation(dims), parts: map[string]*part{}}
			err := tx.QueryRow(`INSERT INTO collections (name, dims, model) VALUES (?, ?, ?)
				ON CONFLICT (name) DO UPDATE SET dims = excluded.dims, model = excluded.model RETURNING key`,
				u.Collection, dims, u.Model).Scan(&c.key)
			if err != nil {
				return err
			}
		}
		if written, err = s.write(ctx, tx, c, u, list); err != nil {
			return err
		}
		return gone.remove(ctx, tx)
	}, func() { s.admit(c, u, fresh, written, gone.ids) })
	if err != nil {
		return out, err
	}
	s.tidy(c, u.Tenant, c.parts[u.Tenant])
	return pipeline.Upserted{Written: len(written), Skipped: len(list) - len(written), Removed: len(gone.ids)}, nil
}

// write puts into the file what is new or has changed, and returns it.
func (s *store) write(ctx context.Context, tx *sql.Tx, c *collection, u pipeline.Upsert, list []draft) ([]draft, error) {
	insert, err := tx.Prepare(`INSERT INTO points
		(collection, tenant, id, doc_id, chunk_id, idx, digest, scale, code, metadata, text) VALUES (?,?,?,?,?,?,?,?,?,?,?)`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = insert.Close() }() // the transaction's end tells
	vector, err := tx.Prepare("INSERT INTO vectors (row, vector) VALUES (?, ?)")
	if err != nil {
		return nil, err
	}
	defer func() { _ = vector.Close() }()
	p := c.parts[u.Tenant]
	var written []draft
	for _, d := range list {
		if err := ended(ctx); err != nil {
			return nil, err
		}
		if p != nil {
			if slot, ok := p.slots[d.id]; ok {
				same, err := replaced(tx, p.rows[slot], u.SkipUnchanged, d.Digest)
				if err != nil {
					return nil, err
				}
				if same {
					continue
				}
			}
		}
		// A point that changes gets another row, so that a search under way
		// misses it rather than pass it by its old metadata.
		made, err := insert.Exec(c.key, u.Tenant, d.id, d.DocID, d.ChunkID, d.Index, d.Digest[:], d.code.scale,
			unsigned(append([]int8{}, d.code.bytes...)), blob(d.Metadata), append([]byte{}, d.Text...))
		if err != nil {
			return nil, err
		}
		if d.row, err = made.LastInsertId(); err != nil {
			return nil, err
		}
		if c.dims > 0 {
			if _, err := vector.Exec(d.row, floats(d.vector)); err != nil {
				return nil, err
			}
		}
		d.bag = bagOf(d.Text)
		written = append(written, d)
	}
	return written, nil
}

// replaced removes the row of a point that is about to be written again, unless
// it is the same and may stay.
func replaced(tx *sql.Tx, row int64, skip bool, digest [32]byte) (same bool, err error) {
	if skip && digest != [32]byte{} {
		var stored []byte
		if err := tx.QueryRow("SELECT digest FROM points WHERE row = ?", row).Scan(&stored); err != nil {
			return false, err
		}
		if bytes.Equal(stored, digest[:]) {
			return true, nil
		}
	}
	_, err = tx.Exec("DELETE FROM points WHERE row = ?", row)
	if err == nil {
		_, err = tx.Exec("DELETE FROM vectors WHERE row = ?", row)
	}
	return false, err
}

// admit brings what has been written, and what has gone, into memory.
func (s *store) admit(c *collection, u pipeline.Upsert, fresh bool, written []draft, gone []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fresh {
		s.collections[u.Collection] = c
	}
	p := c.parts[u.Tenant]
	if p == nil {
		p = newPart()
		c.parts[u.Tenant] = p
	}
	for i := range written {
		p.add(written[i].entry)
	}
	for _, id := range gone {
		p.kill(id)
	}
}

// tidy compacts a part and judges its sketches, if need be. The caller is the
// only writer.
func (s *store) tidy(c *collection, tenant string, p *part) {
	if p.wasteful() {
		p = p.compacted() // nobody else writes: it can be read without mu
		s.mu.Lock()
		c.parts[tenant] = p
		s.mu.Unlock()
	}
	s.judge(c, p)
}

// Delete implements pipeline.VectorStore.
func (s *store) Delete(ctx context.Context, tenant, collection, docID string) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.unlock()
	c := s.collections[collection]
	if c == nil || c.parts[tenant] == nil {
		return 0, nil
	}
	p := c.parts[tenant]
	where, args := "collection = ? AND tenant = ?", []any{c.key, tenant}
	if docID != "" {
		where, args = where+" AND doc_id = ?", append(args, docID)
	}
	var ids []string
	err := s.rewrite(ctx, "delete points", func(tx *sql.Tx) error {
		err := each(ctx, tx, func(scan func(...any) error) error {
			ids = append(ids, "")
			return scan(&ids[len(ids)-1])
		}, "SELECT id FROM points WHERE "+where, args...)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM vectors WHERE row IN (SELECT row FROM points WHERE "+where+")", args...); err != nil { //nolint:gosec // where is one of two, both above
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM points WHERE "+where, args...) //nolint:gosec // as above
		return err
	}, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if docID == "" {
			delete(c.parts, tenant)
			return
		}
		for _, id := range ids {
			p.kill(id)
		}
	})
	if err != nil {
		return 0, err
	}
	if docID != "" {
		s.tidy(c, tenant, p)
	}
	return len(ids), nil
}

// Collection implements pipeline.VectorStore.
func (s *store) Collection(ctx context.Context, tenant, collection string) (pipeline.CollectionInfo, error) {
	if err := ended(ctx); err != nil {
		return pipeline.CollectionInfo{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.collections[collection]
	if c == nil {
		return pipeline.CollectionInfo{}, notFound(collection)
	}
	info := pipeline.CollectionInfo{Dimensions: c.dims, Model: c.model, Sparse: true}
	if p := c.parts[tenant]; p != nil {
		info.Points = p.alive
	}
	return info, nil
}

// blob is b as a column that may be null.
func blob(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// floats is a vector as it stands in the file.
func floats(v []float32) []byte {
	out := make([]byte, 0, 4*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return out
}

// vectorOf reads what floats wrote.
func vectorOf(b []byte) []float32 {
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}
