package embedded

import (
	"cmp"
	"context"
	"database/sql"
	"iter"
	"maps"
	"slices"

	"github.com/headrace/headrace/pipeline"
)

// A plan is what a write comes to, given what is there.
type plan struct {
	g         *graph
	entities  map[string]pipeline.Entity
	relations map[relationKey]*relation
	mentions  []pipeline.Mention
	former    []naming // that hold no more
	out       pipeline.GraphWritten
}

// A naming is a chunk with an entity that it names.
type naming struct {
	*chunk
	*entity
}

func planOf(g *graph, w *pipeline.GraphWrite) *plan {
	p := &plan{g: g, entities: map[string]pipeline.Entity{}, relations: map[relationKey]*relation{}}
	for _, e := range w.Entities {
		p.entity(e)
	}
	for _, r := range w.Relations {
		p.relation(r, w.DocID)
	}
	type pair struct{ chunk, entity string }
	seen := map[pair]bool{}
	for _, m := range w.Mentions {
		if key := (pair{m.PointID, m.Entity}); p.has(m.Entity) && !seen[key] {
			seen[key] = true
			p.mentions = append(p.mentions, m)
		}
	}
	for _, id := range w.Anew {
		c := g.chunks[id]
		if c == nil {
			continue
		}
		for _, e := range c.entities {
			if !seen[pair{id, e.ID}] {
				p.former = append(p.former, naming{c, e})
			}
		}
	}
	p.out.Entities, p.out.Relations, p.out.Mentions = len(p.entities), len(p.relations), len(p.mentions)
	return p
}

func (p *plan) has(id string) bool {
	_, ok := p.entities[id]
	return ok || p.g.entities[id] != nil
}

func (p *plan) entity(e pipeline.Entity) {
	old, ok := p.entities[e.ID]
	if !ok {
		if there := p.g.entities[e.ID]; there != nil {
			old = there.Entity
		}
	}
	e.Type = pipeline.Retyped(old.Type, e.Type)
	if e.Name == "" {
		e.Name = old.Name
	}
	e.Props = joined(old.Props, e.Props)
	p.entities[e.ID] = e
}

func (p *plan) relation(r pipeline.Relation, doc string) {
	if !p.has(r.Src) || !p.has(r.Dst) {
		p.out.Skipped = append(p.out.Skipped, r)
		return
	}
	old := p.relations[keyOf(&r)]
	if old == nil {
		old = p.g.relations[keyOf(&r)]
	}
	if old == nil {
		old = &relation{}
	}
	merged := &relation{Relation: r, docs: old.docs}
	merged.Props = joined(old.Props, r.Props)
	merged.weight = weightOf(merged.Props)
	if !slices.Contains(merged.docs, doc) {
		merged.docs = append(slices.Clone(merged.docs), doc)
	}
	p.relations[keyOf(&r)] = merged
}

// Write implements pipeline.GraphStore.
func (s *store) Write(ctx context.Context, w pipeline.GraphWrite) (pipeline.GraphWritten, error) {
	if err := w.Check(); err != nil {
		return pipeline.GraphWritten{}, err
	}
	if err := s.lock(ctx); err != nil {
		return pipeline.GraphWritten{}, err
	}
	defer s.unlock()
	g := s.graphs[w.Tenant] // nobody else writes now
	fresh := g == nil
	if fresh {
		g = newGraph()
	}
	p := planOf(g, &w)
	if len(p.entities)+len(p.relations)+len(p.mentions)+len(p.former) == 0 {
		return p.out, nil
	}
	if err := s.change(ctx, "write the graph", func(tx *sql.Tx) error { return p.store(ctx, tx, w.Tenant) }); err != nil {
		return pipeline.GraphWritten{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fresh {
		s.graphs[w.Tenant] = g
	}
	for _, e := range p.entities {
		g.put(e)
	}
	for _, r := range p.relations {
		g.relate(r)
	}
	for _, m := range p.mentions {
		g.mention(m.PointID, m.DocID, m.Index, m.Entity)
	}
	for _, n := range p.former {
		n.chunk.entities = slices.DeleteFunc(n.chunk.entities, func(x *entity) bool { return x == n.entity })
		n.entity.chunks = slices.DeleteFunc(n.entity.chunks, func(x *chunk) bool { return x == n.chunk })
	}
	return p.out, nil
}

// store puts the plan into the file.
func (p *plan) store(ctx context.Context, tx *sql.Tx, tenant string) error {
	return cmp.Or(
		rows(ctx, tx, "INSERT OR REPLACE INTO entities (tenant, id, type, name, props) VALUES (?,?,?,?,?)",
			maps.Values(p.entities), func(e pipeline.Entity) []any {
				return []any{tenant, e.ID, e.Type, e.Name, frameProps(e.Props)}
			}),
		rows(ctx, tx, "INSERT OR REPLACE INTO relations (tenant, src, type, dst, props, docs) VALUES (?,?,?,?,?,?)",
			maps.Values(p.relations), func(r *relation) []any {
				return []any{tenant, r.Src, r.Type, r.Dst, frameProps(r.Props), frame(r.docs)}
			}),
		rows(ctx, tx, "INSERT OR REPLACE INTO chunks (tenant, id, doc_id, idx) VALUES (?,?,?,?)",
			slices.Values(p.mentions), func(m pipeline.Mention) []any {
				return []any{tenant, m.PointID, m.DocID, m.Index}
			}),
		rows(ctx, tx, "INSERT OR IGNORE INTO mentions (tenant, chunk, entity) VALUES (?,?,?)",
			slices.Values(p.mentions), func(m pipeline.Mention) []any {
				return []any{tenant, m.PointID, m.Entity}
			}),
		rows(ctx, tx, "DELETE FROM mentions WHERE tenant = ? AND chunk = ? AND entity = ?",
			slices.Values(p.former), func(n naming) []any {
				return []any{tenant, n.chunk.id, n.entity.ID}
			}),
	)
}

// rows runs one statement with the arguments of each of list.
func rows[T any](ctx context.Context, tx *sql.Tx, query string, list iter.Seq[T], args func(T) []any) error {
	statement, err := tx.Prepare(query)
	if err != nil {
		return err
	}
	defer func() { _ = statement.Close() }() // the transaction's end tells
	for item := range list {
		if err := ended(ctx); err != nil {
			return err
		}
		if _, err := statement.Exec(args(item)...); err != nil {
			return err
		}
	}
	return nil
}

// A removal is what goes with a document.
type removal struct {
	chunks   []*chunk
	gone     []*relation // that nothing else supports
	reduced  []*relation // with the documents that remain
	entities []*entity
}

// removalOf finds out what goes with a document; g does not change.
func removalOf(g *graph, doc string) removal {
	var out removal
	lost := map[*entity]int{} // connections that each entity loses
	for _, c := range g.chunks {
		if c.doc != doc {
			continue
		}
		out.chunks = append(out.chunks, c)
		for _, e := range c.entities {
			lost[e]++
		}
	}
	for _, r := range g.relations {
		if !slices.Contains(r.docs, doc) {
			continue
		}
		if len(r.docs) > 1 {
			left := *r
			left.docs = slices.DeleteFunc(slices.Clone(r.docs), func(d string) bool { return d == doc })
			out.reduced = append(out.reduced, &left)
			continue
		}
		out.gone = append(out.gone, r)
		lost[g.entities[r.Src]]++
		if r.Src != r.Dst {
			lost[g.entities[r.Dst]]++
		}
	}
	for e, n := range lost {
		if n == e.degree() {
			out.entities = append(out.entities, e)
		}
	}
	return out
}

// DeleteDocument implements pipeline.GraphStore.
func (s *store) DeleteDocument(ctx context.Context, tenant, docID string) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.unlock()
	g := s.graphs[tenant]
	if g == nil {
		return 0, nil
	}
	if docID == "" {
		return s.deleteTenant(ctx, tenant, g)
	}
	out := removalOf(g, docID)
	if err := s.change(ctx, "delete a document", func(tx *sql.Tx) error { return out.store(ctx, tx, tenant) }); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range out.chunks {
		delete(g.chunks, c.id)
		for _, e := range c.entities {
			e.chunks = slices.DeleteFunc(e.chunks, func(x *chunk) bool { return x == c })
		}
	}
	for _, r := range out.gone {
		g.separate(r)
	}
	for _, r := range out.reduced {
		g.relate(r)
	}
	for _, e := range out.entities {
		g.forget(e)
		delete(g.entities, e.ID)
	}
	return len(out.chunks) + len(out.gone) + len(out.entities), nil
}

// store takes the removal to the file.
func (out *removal) store(ctx context.Context, tx *sql.Tx, tenant string) error {
	chunk := func(c *chunk) []any { return []any{tenant, c.id} }
	return cmp.Or(
		rows(ctx, tx, "DELETE FROM mentions WHERE tenant = ? AND chunk = ?", slices.Values(out.chunks), chunk),
		rows(ctx, tx, "DELETE FROM chunks WHERE tenant = ? AND id = ?", slices.Values(out.chunks), chunk),
		rows(ctx, tx, "DELETE FROM relations WHERE tenant = ? AND src = ? AND type = ? AND dst = ?",
			slices.Values(out.gone), func(r *relation) []any { return []any{tenant, r.Src, r.Type, r.Dst} }),
		rows(ctx, tx, "UPDATE relations SET docs = ? WHERE tenant = ? AND src = ? AND type = ? AND dst = ?",
			slices.Values(out.reduced), func(r *relation) []any {
				return []any{frame(r.docs), tenant, r.Src, r.Type, r.Dst}
			}),
		rows(ctx, tx, "DELETE FROM entities WHERE tenant = ? AND id = ?",
			slices.Values(out.entities), func(e *entity) []any { return []any{tenant, e.ID} }),
	)
}

func (s *store) deleteTenant(ctx context.Context, tenant string, g *graph) (int, error) {
	err := s.change(ctx, "delete a tenant's graph", func(tx *sql.Tx) error {
		for _, table := range [...]string{"mentions", "chunks", "relations", "entities"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE tenant = ?", tenant); err != nil { //nolint:gosec // a table of the list above
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.graphs, tenant)
	return len(g.chunks) + len(g.relations) + len(g.entities), nil
}
