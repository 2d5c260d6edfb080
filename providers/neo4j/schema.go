package neo4j

import (
	"context"
	"fmt"
	"strings"
	"time"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
)

// A keeper is a constraint or an index that the statements rely on.
type keeper struct {
	name, create string
	kind, of     string // as the server lists it: type, labels and properties
}

var schema = []keeper{
	{"headrace_entity_key", "CONSTRAINT %s IF NOT EXISTS FOR (n:Entity) REQUIRE n.key IS UNIQUE", "RANGE", "Entity key"},
	{"headrace_chunk_key", "CONSTRAINT %s IF NOT EXISTS FOR (n:Chunk) REQUIRE n.key IS UNIQUE", "RANGE", "Chunk key"},
	{"headrace_document_key", "CONSTRAINT %s IF NOT EXISTS FOR (n:Document) REQUIRE n.key IS UNIQUE", "RANGE", "Document key"},
	{"headrace_entity_norm", "INDEX %s IF NOT EXISTS FOR (n:Entity) ON (n.tenant, n.norm)", "RANGE", "Entity tenant,norm"},
	{"headrace_chunk_doc", "INDEX %s IF NOT EXISTS FOR (n:Chunk) ON (n.tenant, n.doc_id)", "RANGE", "Chunk tenant,doc_id"},
	{"headrace_document_id", "INDEX %s IF NOT EXISTS FOR (n:Document) ON (n.tenant, n.id)", "RANGE", "Document tenant,id"},
	{textIndex, "FULLTEXT INDEX %s IF NOT EXISTS FOR (n:Entity) ON EACH [n.name, n.id, n.scope] OPTIONS {indexConfig: {`fulltext.analyzer`: 'cjk'}}", "FULLTEXT", "Entity name,id,scope"},
}

const textIndex = "headrace_entity_text"

// settle is the least time between two rehearsals.
const settle = 5 * time.Second

// prepare makes the schema, for as long as it takes to reach the server, and
// has each reading statement planned: the first run costs up to half a second, more
// than a request has. The server plans them anew when it was started anew, or holds
// much more than it did. A request that does not wait for that ends it, and so would
// the next, were it not done here whenever one was late.
func (s *Store) prepare(ctx context.Context) {
	wait := 100 * time.Millisecond
	for {
		err := s.makeSchema(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		s.warn("schema", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
	close(s.schema)
	for {
		s.rehearse(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}
		select {
		case <-ctx.Done():
			return
		case <-s.late:
		}
	}
}

func (s *Store) makeSchema(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	session := s.session(ctx, driver.AccessModeWrite)
	defer func() { _ = session.Close(ctx) }()
	run := func(query string) ([]*driver.Record, error) {
		result, err := session.Run(ctx, query, nil)
		if err != nil {
			return nil, err
		}
		return result.Collect(ctx)
	}
	for _, k := range schema {
		if _, err := run("CREATE " + fmt.Sprintf(k.create, k.name)); err != nil {
			return fmt.Errorf("make %s: %w", k.name, err)
		}
	}
	if _, err := run("CALL db.awaitIndexes(60)"); err != nil {
		return err
	}
	// A name that something else has is no error to "IF NOT EXISTS".
	list, err := run("SHOW INDEXES YIELD name, type, labelsOrTypes, properties")
	if err != nil {
		return err
	}
	found := map[string]string{}
	for _, r := range list {
		found[text(r, "name")] = text(r, "type") + " " + joined(r.AsMap()["labelsOrTypes"]) + " " + joined(r.AsMap()["properties"])
	}
	for _, k := range schema {
		// A constraint that is there under another name serves as well.
		if got, ok := found[k.name]; ok && got != k.kind+" "+k.of {
			return fmt.Errorf("the index %s is %q instead of %q; drop it", k.name, got, k.kind+" "+k.of)
		}
	}
	return nil
}

func joined(v any) string {
	list, _ := v.([]any)
	var parts []string
	for _, e := range list {
		s, _ := e.(string)
		parts = append(parts, s)
	}
	return strings.Join(parts, ",")
}
