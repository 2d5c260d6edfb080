package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/headrace/headrace/pipeline"
)

// Fetch implements pipeline.VectorStore. As Search does, it looks again where a write
// takes away what it has found.
func (s *store) Fetch(ctx context.Context, tenant, collection string, ids []string) ([]pipeline.Passage, error) {
	out, whole, err := s.fetch(ctx, tenant, collection, ids)
	if err != nil || whole {
		return out, err
	}
	if err := s.settling.enter(ctx); err != nil {
		return nil, err
	}
	defer s.settling.leave()
	out, _, err = s.fetch(ctx, tenant, collection, ids)
	return out, err
}

// fetch looks once, and reports whether all that it found was still there to be read.
func (s *store) fetch(ctx context.Context, tenant, collection string, ids []string) (out []pipeline.Passage, whole bool, err error) {
	if err := ended(ctx); err != nil {
		return nil, false, err
	}
	rows := make([]int64, 0, len(ids))
	s.mu.RLock()
	c := s.collections[collection]
	if c != nil && c.parts[tenant] != nil {
		p := c.parts[tenant]
		for _, id := range ids {
			if slot, ok := p.slots[id]; ok {
				rows = append(rows, p.rows[slot])
			}
		}
	}
	s.mu.RUnlock()
	if len(rows) == 0 {
		return nil, true, nil
	}
	found, err := s.read(ctx, c, tenant, rows)
	if err != nil {
		return nil, false, err
	}
	out = make([]pipeline.Passage, 0, len(rows))
	for _, p := range found {
		if p != nil {
			out = append(out, p.Passage)
		}
	}
	return out, len(out) == len(rows), nil
}

// kept is a passage, and whose it is.
type kept struct {
	pipeline.Passage
	tenant     string
	collection int64
}

// overhead is what keeping something costs beside its own bytes.
const overhead = 256

func (k *kept) size() int {
	return overhead + len(k.ID) + len(k.DocID) + len(k.ChunkID) + len(k.Text) + len(k.Metadata)
}

// read returns rows of one tenant, nil for those that are not there, to be copied. Rows
// are never used again, and the tenant is asked for all the same; the pluses keep SQLite
// from going through all that the tenant has instead of fetching the rows.
func (s *store) read(ctx context.Context, c *collection, tenant string, rows []int64) ([]*kept, error) {
	found, missing := s.passages.get(rows)
	for i, k := range found {
		if k != nil && (k.tenant != tenant || k.collection != c.key) {
			found[i] = nil
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	list, err := json.Marshal(missing)
	if err != nil {
		return nil, err
	}
	read := make(map[int64]*kept, len(missing))
	err = each(ctx, s.file.read, func(scan func(...any) error) error {
		var row int64
		k := &kept{tenant: tenant, collection: c.key}
		var text sql.RawBytes
		if err := scan(&row, &k.ID, &k.DocID, &k.ChunkID, &k.Index, &text, &k.Metadata); err != nil {
			return err
		}
		k.Text = string(text)
		read[row] = k
		s.passages.put(row, k)
		return nil
	}, `SELECT row, id, doc_id, chunk_id, idx, text, metadata FROM points
		WHERE row IN (SELECT value FROM json_each(?)) AND +tenant = ? AND +collection = ?`, string(list), tenant, c.key)
	for i, row := range rows {
		if k := read[row]; k != nil {
			found[i] = k
		}
	}
	return found, reading(ctx, s.file, err)
}

// reading says what went wrong with a read.
func reading(ctx context.Context, f *file, err error) error {
	if err == nil {
		return nil
	}
	if late := ended(ctx); late != nil {
		return late
	}
	if errors.Is(err, sql.ErrConnDone) {
		err = errors.New("the store is closed")
	}
	return fmt.Errorf("read from %s: %w", f, remedy(err))
}
