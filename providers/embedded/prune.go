package embedded

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/headrace/headrace/pipeline"
)

// Chunks implements pipeline.VectorStore.
func (s *store) Chunks(ctx context.Context, tenant, collection, docID string) ([]pipeline.Passage, error) {
	s.mu.RLock()
	c := s.collections[collection]
	s.mu.RUnlock()
	if c == nil {
		return nil, notFound(collection)
	}
	var out []pipeline.Passage
	err := each(ctx, s.file.read, func(scan func(...any) error) error {
		p := pipeline.Passage{DocID: docID}
		if err := scan(&p.ID, &p.ChunkID, &p.Index); err != nil {
			return err
		}
		out = append(out, p)
		return nil
	}, "SELECT id, chunk_id, idx FROM points WHERE collection = ? AND tenant = ? AND doc_id = ? ORDER BY idx, id", c.key, tenant, docID)
	return out, reading(ctx, s.file, err)
}

// Remove implements pipeline.VectorStore.
func (s *store) Remove(ctx context.Context, tenant, collection string, ids []string) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.unlock()
	c := s.collections[collection]
	if c == nil || c.parts[tenant] == nil {
		return 0, nil
	}
	p := c.parts[tenant]
	gone := p.doom(ids, nil)
	if len(gone.ids) == 0 {
		return 0, nil
	}
	err := s.rewrite(ctx, "remove points", func(tx *sql.Tx) error { return gone.remove(ctx, tx) }, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, id := range gone.ids {
			p.kill(id)
		}
	})
	if err != nil {
		return 0, err
	}
	s.tidy(c, tenant, p)
	return len(gone.ids), nil
}

// doomed are points that are to go.
type doomed struct {
	ids  []string
	rows []int64
}

// doom looks up which of these points there are, without those that stay. The caller
// is the only writer.
func (p *part) doom(ids []string, stay []draft) (d doomed) {
	if p == nil || len(ids) == 0 {
		return d
	}
	seen := make(map[string]bool, len(ids)+len(stay))
	for i := range stay {
		seen[stay[i].ID] = true
	}
	for _, id := range ids {
		if slot, ok := p.slots[id]; ok && !seen[id] {
			seen[id] = true
			d.ids, d.rows = append(d.ids, id), append(d.rows, p.rows[slot])
		}
	}
	return d
}

// remove takes them out of the file.
func (d doomed) remove(ctx context.Context, tx *sql.Tx) error {
	if len(d.rows) == 0 {
		return nil
	}
	list, err := json.Marshal(d.rows)
	if err != nil {
		return err
	}
	for _, statement := range [...]string{
		"DELETE FROM vectors WHERE row IN (SELECT value FROM json_each(?))",
		"DELETE FROM points WHERE row IN (SELECT value FROM json_each(?))",
	} {
		if _, err := tx.ExecContext(ctx, statement, string(list)); err != nil {
			return err
		}
	}
	return nil
}
