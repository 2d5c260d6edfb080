package embedded

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"

	"github.com/headrace/headrace/pipeline"
)

// Unchanged implements pipeline.Recaller.
func (s *store) Unchanged(ctx context.Context, tenant, collection string, points []pipeline.Point) ([]bool, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	out := make([]bool, len(points))
	at := map[int64][]int{} // by row
	var rows []int64
	s.mu.RLock()
	c := s.collections[collection]
	if c != nil && c.parts[tenant] != nil {
		p := c.parts[tenant]
		for i := range points {
			if slot, ok := p.slots[points[i].ID]; ok {
				row := p.rows[slot]
				if at[row] == nil {
					rows = append(rows, row)
				}
				at[row] = append(at[row], i)
			}
		}
	}
	s.mu.RUnlock()
	if len(rows) == 0 {
		return out, nil
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return nil, err
	}
	err = each(ctx, s.file.read, func(scan func(...any) error) error {
		var row int64
		var digest sql.RawBytes
		if err := scan(&row, &digest); err != nil {
			return err
		}
		for _, i := range at[row] {
			out[i] = points[i].Digest != [32]byte{} && bytes.Equal(digest, points[i].Digest[:])
		}
		return nil
	}, `SELECT row, digest FROM points WHERE row IN (SELECT value FROM json_each(?)) AND +tenant = ? AND +collection = ?`, string(list), tenant, c.key)
	return out, reading(ctx, s.file, err)
}
