package neo4j

import (
	"context"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
)

const dropChunks = `
MATCH (c:Chunk {tenant: $p.tenant, doc_id: $p.doc}) OPTIONAL MATCH (c)-[:MENTIONS]->(e:Entity)
WITH collect(DISTINCT c) AS cs, collect(DISTINCT e.key) AS keys
FOREACH (c IN cs | DETACH DELETE c) RETURN keys, size(cs) AS n`

const dropDocument = `
MATCH (d:Document {key: $p.doc_key}) OPTIONAL MATCH (d)-[:NAMES]->(e:Entity)
WITH d, collect(e.key) AS keys DETACH DELETE d RETURN keys`

const dropRelations = `
UNWIND $p.keys AS k MATCH (:Entity {key: k})-[r]-(:Entity) WHERE $p.doc IN r.doc_ids
WITH DISTINCT r SET r.doc_ids = [x IN r.doc_ids WHERE x <> $p.doc]
WITH r WHERE size(r.doc_ids) = 0 WITH collect(r) AS rs
FOREACH (r IN rs | DELETE r) RETURN size(rs) AS n`

const dropEntities = `
UNWIND $p.keys AS k MATCH (e:Entity {key: k}) WHERE NOT EXISTS { (e)--() }
WITH collect(DISTINCT e) AS es
FOREACH (e IN es | DELETE e) RETURN size(es) AS n`

// Everything of a tenant goes in transactions of its own: one would hold it all
// in memory. The second condition is what makes it an index seek.
var dropTenant = []string{
	`MATCH (e:Entity {tenant: $p.tenant}) WHERE e.norm IS NOT NULL MATCH (e)-[r]->(:Entity)
CALL (r) { DELETE r } IN TRANSACTIONS OF 1000 ROWS RETURN count(*) AS n`,
	`MATCH (c:Chunk {tenant: $p.tenant}) WHERE c.doc_id IS NOT NULL
CALL (c) { DETACH DELETE c } IN TRANSACTIONS OF 1000 ROWS RETURN count(*) AS n`,
	`MATCH (e:Entity {tenant: $p.tenant}) WHERE e.norm IS NOT NULL
CALL (e) { DETACH DELETE e } IN TRANSACTIONS OF 1000 ROWS RETURN count(*) AS n`,
	`MATCH (d:Document {tenant: $p.tenant}) WHERE d.id IS NOT NULL
CALL (d) { DETACH DELETE d } IN TRANSACTIONS OF 1000 ROWS RETURN 0 AS n`,
}

// DeleteDocument implements pipeline.GraphStore.
func (s *Store) DeleteDocument(ctx context.Context, tenant, docID string) (int, error) {
	if err := checkTenant(tenant); err != nil {
		return 0, err
	}
	if docID == "" {
		return s.deleteTenant(ctx, tenant)
	}
	total := 0
	err := s.write(ctx, "delete", func(ctx context.Context, tx driver.ManagedTransaction) error {
		total = 0
		params := row{"tenant": tenant, "doc": docID, "doc_key": keyOf(tenant, docID)}
		var keys []any
		collect := func(r *driver.Record) {
			v, _ := r.Get("keys")
			list, _ := v.([]any)
			keys = append(keys, list...)
			total += integer(r, "n")
		}
		for _, statement := range []string{dropChunks, dropDocument} {
			if err := all(ctx, tx, statement, params, collect); err != nil {
				return err
			}
		}
		params["keys"] = keys
		for _, statement := range []string{dropRelations, dropEntities} {
			if err := all(ctx, tx, statement, params, func(r *driver.Record) { total += integer(r, "n") }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return total, nil
}

func (s *Store) deleteTenant(ctx context.Context, tenant string) (int, error) {
	total := 0
	err := s.do(ctx, "delete", s.config.WriteTimeout, func(ctx context.Context) error {
		session := s.session(ctx, driver.AccessModeWrite)
		defer func() { _ = session.Close(ctx) }()
		for _, statement := range dropTenant {
			// Such statements are refused in a transaction of ours.
			result, err := session.Run(ctx, statement, wrapped(row{"tenant": tenant}), backstop(s.config.WriteTimeout))
			if err != nil {
				return err
			}
			for result.Next(ctx) {
				total += integer(result.Record(), "n")
			}
			if err := result.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	return total, err
}
