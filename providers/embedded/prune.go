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
	var gone []string
	var rows []int64
	seen := map[string]bool{}
	for _, id := range ids {
		if slot, ok := p.slots[id]; ok && !seen[id] { // nobody else writes now
			seen[id] = true
			gone, rows = append(gone, id), append(rows, p.rows[slot])
		}
	}
	if len(rows) == 0 {
		return 0, nil
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return 0, err
	}
	err = s.change(ctx, "remove points", func(tx *sql.Tx) error {
		for _, statement := range [...]string{
			"DELETE FROM vectors WHERE row IN (SELECT value FROM json_each(?))",
			"DELETE FROM points WHERE row IN (SELECT value FROM json_each(?))",
		} {
			if _, err := tx.ExecContext(ctx, statement, string(list)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	for _, id := range gone {
		p.kill(id)
	}
	s.mu.Unlock()
	s.tidy(c, tenant, p)
	return len(gone), nil
}
