package neo4j

import (
	"cmp"
	"context"
	"maps"
	"slices"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"

	"github.com/headrace/headrace/pipeline"
)

// batch is how many rows one statement takes.
const batch = 1000

// To set what is there takes the lock and changes nothing.
const lockEntities = `
UNWIND $p.keys AS k MATCH (e:Entity {key: k}) SET e.created_at = e.created_at`

// Entities are merged in two steps: the first takes the locks and tells what
// is there, the second writes it joined with what is new.
const touchEntities = `
UNWIND $p.rows AS r
MERGE (e:Entity {key: r.key}) ON CREATE SET e.created_at = timestamp(), e.tenant = $p.tenant, e.id = r.id, e.scope = $p.scope, e.norm = ''
SET e.updated_at = timestamp()
RETURN r.i AS i, e.name AS name, e.type AS type, e.props_json AS props`

const setEntities = `
UNWIND $p.rows AS r
MATCH (e:Entity {key: r.key}) REMOVE e:$(r.former) SET e += r.scalars, e:$(r.labels)`

const touchRelations = `
UNWIND $p.rows AS r
MATCH (a:Entity {key: r.src}) MATCH (b:Entity {key: r.dst})
MERGE (a)-[x:$(r.type)]->(b)
SET x.doc_ids = CASE WHEN $p.doc IN coalesce(x.doc_ids, []) THEN x.doc_ids ELSE coalesce(x.doc_ids, []) + $p.doc END
RETURN r.i AS i, x.props_json AS props`

const setRelations = `
UNWIND $p.rows AS r
MATCH (a:Entity {key: r.src}) MATCH (b:Entity {key: r.dst})
MERGE (a)-[x:$(r.type)]->(b) SET x += r.scalars`

// What names entities without a chunk is the document itself.
const nameEntities = `
MERGE (d:Document {key: $p.doc_key}) ON CREATE SET d.tenant = $p.tenant, d.id = $p.doc
WITH d UNWIND $p.rows AS k MATCH (e:Entity {key: k}) MERGE (d)-[:NAMES]->(e)`

const touchChunks = `
UNWIND $p.rows AS r
MERGE (d:Document {key: r.doc}) ON CREATE SET d.tenant = $p.tenant, d.id = r.doc_id
MERGE (c:Chunk {key: r.key}) SET c += {tenant: $p.tenant, id: r.id, doc_id: r.doc_id, idx: r.idx}
MERGE (c)-[:PART_OF]->(d)`

const mention = `
UNWIND $p.rows AS r MATCH (c:Chunk {key: r.chunk}) MATCH (e:Entity {key: r.entity})
MERGE (c)-[x:MENTIONS]->(e) RETURN count(x) AS n`

// What chunks name before they are written.
const formerly = `
UNWIND $p.chunks AS k MATCH (:Chunk {key: k})-[:MENTIONS]->(e:Entity) RETURN k AS chunk, e.key AS entity`

const forget = `
UNWIND $p.rows AS r MATCH (:Chunk {key: r.chunk})-[x:MENTIONS]->(:Entity {key: r.entity}) DELETE x`

// A writing is one GraphWrite, without doubles and in the order of keys: two
// writers that lock in one order wait for each other and never deadlock.
type writing struct {
	of        pipeline.GraphWrite
	entities  []pipeline.Entity
	relations []pipeline.Relation
	mentions  []pipeline.Mention
	former    [][2]string // keys of chunks with a new text, and of what they name no more
	out       pipeline.GraphWritten
}

func writingOf(w pipeline.GraphWrite) (*writing, error) {
	if err := checkTenant(w.Tenant); err != nil {
		return nil, err
	}
	// Types go to the server as values, never as text; still every new one is a token that
	// the database keeps for good.
	if err := w.Check(); err != nil {
		return nil, err
	}
	entities := map[string]pipeline.Entity{}
	for _, e := range w.Entities {
		if old, ok := entities[e.ID]; ok {
			e.Type, e.Name = pipeline.Retyped(old.Type, e.Type), cmp.Or(e.Name, old.Name)
			e.Props = merged(old.Props, e.Props)
		}
		entities[e.ID] = e
	}
	relations := map[[3]string]pipeline.Relation{}
	for _, r := range w.Relations {
		key := [3]string{r.Src, r.Dst, r.Type}
		if old, ok := relations[key]; ok {
			r.Props = merged(old.Props, r.Props)
		}
		relations[key] = r
	}
	mentions := map[[2]string]pipeline.Mention{}
	for _, m := range w.Mentions {
		mentions[[2]string{m.PointID, m.Entity}] = m
	}
	return &writing{
		of:       w,
		entities: slices.SortedFunc(maps.Values(entities), func(a, b pipeline.Entity) int { return cmp.Compare(a.ID, b.ID) }),
		relations: slices.SortedFunc(maps.Values(relations), func(a, b pipeline.Relation) int {
			return cmp.Or(cmp.Compare(a.Src, b.Src), cmp.Compare(a.Dst, b.Dst), cmp.Compare(a.Type, b.Type))
		}),
		mentions: slices.SortedFunc(maps.Values(mentions), func(a, b pipeline.Mention) int {
			return cmp.Or(cmp.Compare(a.DocID, b.DocID), cmp.Compare(a.PointID, b.PointID), cmp.Compare(a.Entity, b.Entity))
		}),
	}, nil
}

// Write implements pipeline.GraphStore.
func (s *Store) Write(ctx context.Context, w pipeline.GraphWrite) (pipeline.GraphWritten, error) {
	job, err := writingOf(w)
	if err != nil {
		return pipeline.GraphWritten{}, err
	}
	err = s.write(ctx, "write", func(ctx context.Context, tx driver.ManagedTransaction) error {
		job.out = pipeline.GraphWritten{} // of an attempt before
		for _, step := range []func(context.Context, driver.ManagedTransaction) error{
			job.lock, job.writeEntities, job.writeRelations, job.writeNames, job.writeMentions, job.forget,
		} {
			if err := step(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return pipeline.GraphWritten{}, err
	}
	return job.out, nil
}

func (w *writing) key(id string) string { return keyOf(w.of.Tenant, id) }

// lock takes the locks of all entities, in the order of their keys, where
// relations or mentions, those that go included, have ends that are not written
// themselves. A relation locks both its ends, in no order that another writer's would
// follow.
func (w *writing) lock(ctx context.Context, tx driver.ManagedTransaction) error {
	keys := map[string]bool{}
	for _, e := range w.entities {
		keys[w.key(e.ID)] = true
	}
	written := len(keys)
	for _, r := range w.relations {
		keys[w.key(r.Src)], keys[w.key(r.Dst)] = true, true
	}
	for _, m := range w.mentions {
		keys[w.key(m.Entity)] = true
	}
	if err := w.findFormer(ctx, tx); err != nil {
		return err
	}
	for _, m := range w.former {
		keys[m[1]] = true
	}
	if len(keys) == written {
		return nil
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(keys)), batch) {
		if err := all(ctx, tx, lockEntities, row{"keys": anys(some)}, nil); err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) writeEntities(ctx context.Context, tx driver.ManagedTransaction) error {
	for some := range slices.Chunk(w.entities, batch) {
		rows := make([]any, len(some))
		for i, e := range some {
			rows[i] = row{"i": i, "key": w.key(e.ID), "id": e.ID}
		}
		sets := make([]any, len(some))
		err := all(ctx, tx, touchEntities, row{"rows": rows, "tenant": w.of.Tenant, "scope": scopeOf(w.of.Tenant)}, func(r *driver.Record) {
			e := some[integer(r, "i")]
			name := clip(cmp.Or(e.Name, text(r, "name"), e.ID), maxName)
			was := text(r, "type")
			is := pipeline.Retyped(was, e.Type)
			former := []any{}
			if is != was {
				former = labelsOf(was)
			}
			sets[integer(r, "i")] = row{"key": w.key(e.ID), "former": former, "labels": labelsOf(e.Type), "scalars": row{
				"name": name, "norm": normal(name), "type": is,
				"props_json": jsonOf(merged(propsOf(text(r, "props")), e.Props)),
			}}
			w.out.Entities++
		})
		if err != nil {
			return err
		}
		if err := all(ctx, tx, setEntities, row{"rows": sets}, nil); err != nil {
			return err
		}
	}
	return nil
}

// labelsOf are the labels that an entity has by its type, beside that of all.
func labelsOf(kind string) []any {
	if kind == "" || kind == pipeline.GenericType {
		return []any{}
	}
	return []any{kind}
}

func (w *writing) writeRelations(ctx context.Context, tx driver.ManagedTransaction) error {
	for some := range slices.Chunk(w.relations, batch) {
		rows := make([]any, len(some))
		for i, r := range some {
			rows[i] = row{"i": i, "src": w.key(r.Src), "dst": w.key(r.Dst), "type": r.Type}
		}
		written := make([]bool, len(some))
		var sets []any
		err := all(ctx, tx, touchRelations, row{"rows": rows, "doc": w.of.DocID}, func(r *driver.Record) {
			i := integer(r, "i")
			rel := some[i]
			props := merged(propsOf(text(r, "props")), rel.Props)
			written[i] = true
			w.out.Relations++
			if len(rel.Props) > 0 {
				sets = append(sets, row{
					"src": w.key(rel.Src), "dst": w.key(rel.Dst), "type": rel.Type,
					"scalars": row{"props_json": jsonOf(props), "weight": weightOf(props)},
				})
			}
		})
		if err != nil {
			return err
		}
		if err := all(ctx, tx, setRelations, row{"rows": sets}, nil); err != nil {
			return err
		}
		for i, ok := range written {
			if !ok {
				w.out.Skipped = append(w.out.Skipped, some[i])
			}
		}
	}
	return nil
}

// writeNames notes which entities a document has brought, so that they go with
// it.
func (w *writing) writeNames(ctx context.Context, tx driver.ManagedTransaction) error {
	if w.of.DocID == "" {
		return nil
	}
	keys := map[string]bool{}
	for _, e := range w.entities {
		keys[w.key(e.ID)] = true
	}
	for _, r := range w.relations {
		keys[w.key(r.Src)], keys[w.key(r.Dst)] = true, true
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(keys)), batch) {
		err := all(ctx, tx, nameEntities, row{"doc_key": w.key(w.of.DocID), "tenant": w.of.Tenant, "doc": w.of.DocID, "rows": anys(some)}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) writeMentions(ctx context.Context, tx driver.ManagedTransaction) error {
	for some := range slices.Chunk(w.mentions, batch) {
		chunks := make([]any, 0, len(some))
		rows := make([]any, len(some))
		for i, m := range some {
			if i == 0 || m.PointID != some[i-1].PointID {
				chunks = append(chunks, row{"key": w.key(m.PointID), "id": m.PointID, "doc": w.key(m.DocID), "doc_id": m.DocID, "idx": m.Index})
			}
			rows[i] = row{"chunk": w.key(m.PointID), "entity": w.key(m.Entity)}
		}
		if err := all(ctx, tx, touchChunks, row{"rows": chunks, "tenant": w.of.Tenant}, nil); err != nil {
			return err
		}
		err := all(ctx, tx, mention, row{"rows": rows}, func(r *driver.Record) { w.out.Mentions += integer(r, "n") })
		if err != nil {
			return err
		}
	}
	return nil
}

// findFormer finds what chunks with a new text named and name no more. A mention that
// another writer adds from here on is newer than this write, and stays.
func (w *writing) findFormer(ctx context.Context, tx driver.ManagedTransaction) error {
	w.former = nil // of an attempt before
	named := make(map[[2]string]bool, len(w.mentions))
	for _, m := range w.mentions {
		named[[2]string{w.key(m.PointID), w.key(m.Entity)}] = true
	}
	for some := range slices.Chunk(slices.Compact(slices.Sorted(slices.Values(w.of.Anew))), batch) {
		chunks := make([]any, len(some))
		for i, id := range some {
			chunks[i] = w.key(id)
		}
		err := all(ctx, tx, formerly, row{"chunks": chunks}, func(r *driver.Record) {
			if pair := [2]string{text(r, "chunk"), text(r, "entity")}; !named[pair] {
				w.former = append(w.former, pair)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget deletes them. Their entities are locked.
func (w *writing) forget(ctx context.Context, tx driver.ManagedTransaction) error {
	for some := range slices.Chunk(w.former, batch) {
		rows := make([]any, len(some))
		for i, m := range some {
			rows[i] = row{"chunk": m[0], "entity": m[1]}
		}
		if err := all(ctx, tx, forget, row{"rows": rows}, nil); err != nil {
			return err
		}
	}
	return nil
}
