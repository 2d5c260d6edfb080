// Package stores tests the stores that are servers against the real ones.
package stores

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/storetest"
	"github.com/headrace/headrace/providers/neo4j"
	"github.com/headrace/headrace/tests/harness"
)

// A process is a server that a test has started.
type process struct {
	address string
	cmd     *exec.Cmd
	done    chan struct{}
	once    sync.Once
}

func (p *process) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Error(err)
	}
}

func (p *process) end() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Kill()
		<-p.done
	})
}

// launch runs a server until the test ends, from the moment it says "ready".
func launch(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	log := &harness.Log{}
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if address, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
				ready <- address
			}
		}
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.end)
	select {
	case p.address = <-ready:
	case <-p.done:
		t.Fatalf("%s ended: %s", name, log)
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s is not ready: %s", name, log)
	}
	return p
}

// runNeo4j runs a server on a port and with data that are still there for the
// next one.
func runNeo4j(t *testing.T, port, data, password string) *process {
	t.Helper()
	harness.Suite(t)
	harness.Program(t, "java")
	harness.Tool(t, "neo4j/Server.java")
	return launch(t, "neo4j/start.sh", "run", harness.Tools(t)+"/neo4j", port, data, password)
}

func openNeo4j(t *testing.T, uri string, change ...func(*neo4j.Config)) *neo4j.Store {
	t.Helper()
	return measuredNeo4j(t, uri, prometheus.NewRegistry(), change...)
}

func measuredNeo4j(t *testing.T, uri string, metrics *prometheus.Registry, change ...func(*neo4j.Config)) *neo4j.Store {
	t.Helper()
	c := neo4j.Config{URI: uri, User: "neo4j", Database: "neo4j", Timeout: 5 * time.Second, WriteTimeout: time.Minute, Connections: 16, Loops: 2, Procedures: []string{"db.labels", "db.index.fulltext.querynodes"}}
	for _, f := range change {
		f(&c)
	}
	s, err := c.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	store := s.(*neo4j.Store)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// addressOf is where a server runs: that of the environment, or one of the test's own.
func addressOf(t *testing.T) string {
	t.Helper()
	if uri := os.Getenv("HEADRACE_TEST_NEO4J"); uri != "" {
		return uri
	}
	return runNeo4j(t, port(t), t.TempDir(), "").address
}

func port(t *testing.T) string {
	_, port, _ := strings.Cut(harness.FreeAddress(t), ":")
	return port
}

func code(err error) string {
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		return fmt.Sprintf("%d %s", e.Status, e.Code)
	}
	return fmt.Sprint(err)
}

// tenantOf is a tenant that no run before has written for.
func tenantOf(t *testing.T) string { return fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano()) }

func prop(key, value string) pipeline.Prop { return pipeline.Prop{Key: key, Value: []byte(value)} }

func TestNeo4j(t *testing.T) {
	uri := addressOf(t)
	metrics := prometheus.NewRegistry()
	s := measuredNeo4j(t, uri, metrics)
	t.Run("rehearsal", func(t *testing.T) { testRehearsal(t, metrics) })
	t.Run("suite", func(t *testing.T) {
		storetest.Graph(t, func(*testing.T) pipeline.GraphStore { return s })
	})
	t.Run("write, expand, delete", func(t *testing.T) { testGraph(t, s) })
	t.Run("names", func(t *testing.T) { testLink(t, s, uri) })
	t.Run("chunks", func(t *testing.T) { testRelated(t, s) })
	t.Run("identifiers", func(t *testing.T) { testIdentifiers(t, s) })
	t.Run("labels", func(t *testing.T) { testLabels(t, s) })
	t.Run("queries", func(t *testing.T) { testQueries(t, s) })
	t.Run("loops", func(t *testing.T) { testLoops(t, openNeo4j(t, uri)) })
	t.Run("read sessions", func(t *testing.T) { testReadSession(t, uri) })
	t.Run("writers at once", func(t *testing.T) { testWriters(t, s, func() float64 { return retries(t, metrics) }) })
	t.Run("plans", func(t *testing.T) { testPlans(t, s, uri) })
}

// Each reading statement runs once when the store opens, and the server refuses none of them.
func testRehearsal(t *testing.T, metrics *prometheus.Registry) {
	calls := func() (well, failed float64) {
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if l := m.GetLabel(); f.GetName() == "headrace_neo4j_calls_total" && l[0].GetValue() == "link" {
					if l[1].GetValue() == "OK" {
						well += m.GetCounter().GetValue()
					} else {
						failed += m.GetCounter().GetValue()
					}
				}
			}
		}
		return well, failed
	}
	harness.Until(t, "entities are looked up by name and by words", func() bool {
		well, failed := calls()
		return well+failed >= 2
	})
	if well, failed := calls(); failed > 0 {
		t.Errorf("%v calls failed, %v did not", failed, well)
	}
}

// Each statement is planned once, however long its parameters are: a plan may take longer
// than a request has.
func testPlans(t *testing.T, s *neo4j.Store, uri string) {
	d, err := driver.NewDriverWithContext(uri, driver.NoAuth())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(t.Context()) }()
	clear := func() (plans int) {
		t.Helper()
		result, err := driver.ExecuteQuery(t.Context(), d, "CALL db.clearQueryCaches()", nil, driver.EagerResultTransformer)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := result.Records[0].Values[0].(string)
		if _, err := fmt.Sscanf(said, "Query caches successfully cleared of %d queries.", &plans); err != nil {
			t.Fatalf("%v in %q", err, said)
		}
		return plans
	}
	use := func(tenant string, n int) {
		t.Helper()
		w := pipeline.GraphWrite{Tenant: tenant, DocID: tenantOf(t)}
		var seeds []pipeline.Seed
		var chunks []string
		for i := range n {
			id := fmt.Sprint("e", i)
			w.Entities = append(w.Entities, pipeline.Entity{ID: id, Name: "name" + id})
			w.Relations = append(w.Relations, pipeline.Relation{Src: id, Dst: "e0", Type: "KNOWS", Props: []pipeline.Prop{prop("a", "1")}})
			w.Mentions = append(w.Mentions, pipeline.Mention{PointID: "c" + id, DocID: w.DocID, Entity: id})
			seeds, chunks = append(seeds, pipeline.Seed{ID: id, Weight: 1}), append(chunks, "c"+id)
		}
		_, err := s.Write(t.Context(), w)
		_, linked := s.Link(t.Context(), pipeline.LinkQuery{Tenant: tenant, Text: strings.Repeat("what is namee0 ", n), Limit: 9})
		_, expanded := s.Expand(t.Context(), pipeline.ExpandQuery{Tenant: tenant, Seeds: seeds, Types: []string{"KNOWS"}[:n%2], Hops: 1, MaxNodes: 9, MaxEdges: 9, MaxSeeds: 9, Fanout: 9, HubCap: 9})
		_, related := s.Related(t.Context(), pipeline.RelatedQuery{Tenant: tenant, Chunks: chunks, Limit: 9, MaxSeeds: 9, HubCap: 9})
		_, deleted := s.DeleteDocument(t.Context(), tenant, w.DocID)
		if err := errors.Join(err, linked, expanded, related, deleted); err != nil {
			t.Fatal(err)
		}
	}
	use("t", 1)
	clear()
	use("t", 1)
	once := clear()
	for _, tenant := range []string{"t", "a-tenant", "a tenant of a longer name"} {
		for _, n := range []int{1, 5, 50} {
			use(tenant, n)
		}
	}
	if plans := clear(); plans > once || once < 10 {
		t.Errorf("%d plans; %d for one size", plans, once)
	}
	// Nobody waits until there is a plan: it is made all the same.
	harness.Until(t, "expansions come in time", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := s.Expand(ctx, pipeline.ExpandQuery{Tenant: "t", Seeds: []pipeline.Seed{{ID: "e0", Weight: 1}}, Hops: 1, MaxNodes: 9, MaxEdges: 9, MaxSeeds: 9, Fanout: 9, HubCap: 9})
		return err == nil
	})
}

// Queries that the server cannot stop are a few at a time, those that were given up among
// them, and keep nobody else from being answered.
func testLoops(t *testing.T, s *neo4j.Store) {
	f := func(query, params string, limit time.Duration, want string) {
		t.Helper()
		_, _, err := s.QueryGraph(t.Context(), pipeline.GraphQuery{Text: query, Params: []byte(params), Timeout: limit})
		if got := code(err); got != want {
			t.Errorf("%.60s: %s (%v); want %s", query, got, err, want)
		}
	}
	const (
		quick  = "RETURN [x IN [1] | x] AS l"
		slow   = "RETURN none(x IN range(1, $n) WHERE any(y IN range(1, 20000) WHERE y < 0)) AS b"
		plain  = "RETURN size($p) AS n"
		longer = 20 * time.Second // on a busy machine
	)
	for range 9 {
		f(quick, "", longer, "<nil>")
	}
	f(slow, `{"n": 1}`, longer, "<nil>") // which plans it
	f(plain, `{"p": "x"}`, longer, "<nil>")
	for range 2 { // which are the most
		f(slow, `{"n": 1600}`, 300*time.Millisecond, "504 upstream_timeout")
	}
	f(quick, "", 50*time.Millisecond, "503 store_unavailable")
	f(plain, `{"p": "`+strings.Repeat("y", 70_000)+`"}`, 50*time.Millisecond, "503 store_unavailable")
	f(plain, `{"p": "x"}`, longer, "<nil>")
	f(quick, "", 2*time.Minute, "<nil>") // when one has ended
}

// retries is how many writes have begun anew.
func retries(t *testing.T, metrics *prometheus.Registry) (n float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "headrace_neo4j_retries_total" {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func testGraph(t *testing.T, s *neo4j.Store) {
	ctx, tenant := t.Context(), tenantOf(t)
	got, err := s.Write(ctx, pipeline.GraphWrite{
		Tenant: tenant, DocID: "d1",
		Entities:  []pipeline.Entity{{ID: "ann", Type: "Person", Name: "Ann", Props: []pipeline.Prop{prop("age", "41"), prop("x", `"y"`)}}, {ID: "acme", Type: "Org"}},
		Relations: []pipeline.Relation{{Src: "ann", Dst: "acme", Type: "WORKS_AT", Props: []pipeline.Prop{prop("since", "1990")}}, {Src: "ann", Dst: "nobody", Type: "KNOWS"}},
	})
	if err != nil || got.Entities != 2 || got.Relations != 1 || len(got.Skipped) != 1 || got.Skipped[0].Dst != "nobody" {
		t.Fatalf("%+v, %v", got, err)
	}
	// Again, from another document: joined, the newer value winning.
	_, err = s.Write(ctx, pipeline.GraphWrite{
		Tenant: tenant, DocID: "d2",
		Entities:  []pipeline.Entity{{ID: "ann", Props: []pipeline.Prop{prop("age", "42")}}},
		Relations: []pipeline.Relation{{Src: "ann", Dst: "acme", Type: "WORKS_AT", Props: []pipeline.Prop{prop("as", `"cook"`)}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	q := pipeline.ExpandQuery{Tenant: tenant, Seeds: []pipeline.Seed{{ID: "ann", Weight: 1}}, Hops: 2, Fanout: 10, HubCap: 100, MaxSeeds: 10, MaxNodes: 10, MaxEdges: 10}
	sub, err := s.Expand(ctx, q)
	want := pipeline.Subgraph{
		Entities: []pipeline.Entity{
			{ID: "ann", Type: "Person", Name: "Ann", Props: []pipeline.Prop{prop("age", "42"), prop("x", `"y"`)}},
			{ID: "acme", Type: "Org", Name: "acme"},
		},
		Relations: []pipeline.Relation{{Src: "ann", Dst: "acme", Type: "WORKS_AT", Props: []pipeline.Prop{prop("since", "1990"), prop("as", `"cook"`)}}},
	}
	if diff := cmp.Diff(want, sub); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	other := q
	other.Tenant = tenant + "2"
	if sub, err := s.Expand(ctx, other); err != nil || len(sub.Entities) != 0 {
		t.Errorf("another tenant sees %+v, %v", sub, err)
	}
	// A relation may have the name of what leads from a document.
	if _, err = s.Write(ctx, pipeline.GraphWrite{Tenant: tenant, DocID: "d3", Entities: []pipeline.Entity{{ID: "x"}, {ID: "y"}}, Relations: []pipeline.Relation{{Src: "x", Dst: "y", Type: "NAMES"}}}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"x", "y"} {
		names := q
		names.Seeds = []pipeline.Seed{{ID: id, Weight: 1}}
		if sub, err := s.Expand(ctx, names); err != nil || len(sub.Entities) != 2 || len(sub.Relations) != 1 {
			t.Errorf("from %s: %+v, %v", id, sub, err)
		}
	}
	// One document's end leaves what the other supports.
	if n, err := s.DeleteDocument(ctx, tenant, "d1"); err != nil || n != 0 {
		t.Errorf("first: %d went, %v", n, err)
	}
	if n, err := s.DeleteDocument(ctx, tenant, "d2"); err != nil || n != 3 {
		t.Errorf("second: %d went, %v", n, err)
	}
	if sub, err := s.Expand(ctx, q); err != nil || len(sub.Entities) != 0 {
		t.Errorf("left: %+v, %v", sub, err)
	}
}

func testLink(t *testing.T, s *neo4j.Store, uri string) {
	ctx, tenant := t.Context(), tenantOf(t)
	w := pipeline.GraphWrite{Tenant: tenant}
	for _, name := range []string{"New York", "New York University", "張忠謀", "Jürgen Müller", "The Who", "C++", "foo/bar", "ガス灯"} {
		w.Entities = append(w.Entities, pipeline.Entity{ID: name, Type: "Thing", Name: name})
	}
	if _, err := s.Write(ctx, w); err != nil {
		t.Fatal(err)
	}
	f := func(question string, want ...string) {
		t.Helper()
		seeds, err := s.Link(ctx, pipeline.LinkQuery{Tenant: tenant, Text: question, Limit: 5})
		var got []string
		for _, seed := range seeds {
			got = append(got, seed.ID)
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", question, err, diff)
		}
	}
	f("Where is New York University?", "New York University")
	f("new  YORK!", "New York")
	f("張忠謀是誰", "張忠謀")
	f("jurgen muller", "Jürgen Müller")
	f("who are the who", "The Who")
	f("what is in university", "New York University") // by a word
	f(`foo/bar AND (OR "`, "foo/bar")
	f("+ - && || ! ( ) { } [ ] ^ \" ~ * ? : \\ /")
	f("")
	f("the and of")
	// Names that were written when all marks counted as accents.
	f("ガス灯はどこ", "ガス灯")
	d, err := driver.NewDriverWithContext(uri, driver.NoAuth())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(ctx) }()
	if _, err := driver.ExecuteQuery(ctx, d, "MATCH (e:Entity {tenant: $t, name: 'ガス灯'}) SET e.norm = 'カス灯'", map[string]any{"t": tenant}, driver.EagerResultTransformer); err != nil {
		t.Fatal(err)
	}
	f("今ガス灯はどこ", "ガス灯")
	if seeds, err := s.Link(ctx, pipeline.LinkQuery{Tenant: tenant + "2", Text: "New York university", Limit: 5}); err != nil || len(seeds) != 0 {
		t.Errorf("another tenant: %v, %v", seeds, err)
	}
}

func testRelated(t *testing.T, s *neo4j.Store) {
	ctx, tenant := t.Context(), tenantOf(t)
	w := pipeline.GraphWrite{Tenant: tenant, Entities: []pipeline.Entity{{ID: "rare"}, {ID: "common"}, {ID: "alone"}}}
	mention := func(chunk, entity string) {
		w.Mentions = append(w.Mentions, pipeline.Mention{PointID: chunk, DocID: "d" + chunk, Entity: entity})
	}
	mention("1", "rare")
	mention("1", "common")
	mention("1", "alone")
	mention("2", "rare")
	mention("3", "common")
	mention("4", "common")
	mention("4", "missing")
	got, err := s.Write(ctx, w)
	if err != nil || got.Mentions != 6 {
		t.Fatalf("%+v, %v", got, err)
	}
	q := pipeline.RelatedQuery{Tenant: tenant, Chunks: []string{"1"}, Limit: 5, HubCap: 10, MaxSeeds: 10}
	f := func(q pipeline.RelatedQuery, want ...string) {
		t.Helper()
		list, err := s.Related(ctx, q)
		var ids []string
		for _, r := range list {
			ids = append(ids, r.ID+" "+r.DocID+" "+strings.Join(r.Via, "+"))
		}
		if diff := cmp.Diff(want, ids); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	}
	f(q, "2 d2 rare", "3 d3 common", "4 d4 common")
	capped := q
	capped.HubCap = 2
	f(capped, "2 d2 rare")
	if n, err := s.DeleteDocument(ctx, tenant, "d1"); err != nil || n != 2 {
		t.Errorf("%d went with the document, %v", n, err)
	}
	if n, err := s.DeleteDocument(ctx, tenant, ""); err != nil || n != 5 {
		t.Errorf("%d went with the tenant, %v", n, err)
	}
}

// No name gets to be anything else than a name.
func testIdentifiers(t *testing.T, s *neo4j.Store) {
	ctx, tenant := t.Context(), tenantOf(t)
	f := func(kind, want string) {
		t.Helper()
		_, err := s.Write(ctx, pipeline.GraphWrite{Tenant: tenant, Entities: []pipeline.Entity{{ID: "a", Type: kind}, {ID: "b"}}})
		if code(err) != want {
			t.Errorf("entity type %q: %v; want %s", kind, err, want)
		}
		_, err = s.Write(ctx, pipeline.GraphWrite{Tenant: tenant, Entities: []pipeline.Entity{{ID: "a"}, {ID: "b"}}, Relations: []pipeline.Relation{{Src: "a", Dst: "b", Type: kind}}})
		if code(err) != want {
			t.Errorf("relation type %q: %v; want %s", kind, err, want)
		}
	}
	f("人物", "<nil>")
	f("Person_2", "<nil>")
	for _, bad := range []string{"X`) DETACH DELETE n //", "X\\u0060) DETACH DELETE n //", "a b", "Chunk", "Document", "__Entity__", "1a", strings.Repeat("a", 65), "a\x00"} {
		f(bad, "400 invalid_type")
	}
	long, err := s.Write(ctx, pipeline.GraphWrite{Tenant: tenant, Entities: []pipeline.Entity{{ID: "long", Name: strings.Repeat("漢", 20_000)}}})
	if err != nil || long.Entities != 1 {
		t.Errorf("a long name: %+v, %v", long, err)
	}
	if _, err := s.Write(ctx, pipeline.GraphWrite{Tenant: tenant + "\x1fa", Entities: []pipeline.Entity{{ID: "a"}}}); code(err) != "400 invalid_tenant" {
		t.Error(err)
	}
}

// testLabels: an entity is matched by the type that it has, and no more by one that it had.
func testLabels(t *testing.T, s *neo4j.Store) {
	ctx, tenant := t.Context(), tenantOf(t)
	f := func(kind, want string) {
		t.Helper()
		if _, err := s.Write(ctx, pipeline.GraphWrite{Tenant: tenant, Entities: []pipeline.Entity{{ID: "a", Type: kind}}}); err != nil {
			t.Fatal(err)
		}
		got, _, err := s.QueryGraph(ctx, pipeline.GraphQuery{
			Text: "MATCH (e:Entity {tenant: $tenant, norm: 'a'}) RETURN labels(e) AS labels", Params: []byte(`{"tenant": "` + tenant + `"}`), MaxRows: 3, MaxBytes: 1 << 20,
		})
		if text := fmt.Sprintf("%s", got); err != nil || text != want {
			t.Errorf("%s: got %s, %v; want %s", kind, text, err, want)
		}
	}
	f("", `[{"labels":["Entity"]}]`)
	f("River", `[{"labels":["Entity","River"]}]`)
	f("River", `[{"labels":["Entity","River"]}]`)
	f("Stream", `[{"labels":["Entity","Stream"]}]`)
	f("Entity", `[{"labels":["Entity","Stream"]}]`) // named, no more
}

func testQueries(t *testing.T, s *neo4j.Store) {
	ctx, tenant := t.Context(), tenantOf(t)
	if _, err := s.Write(ctx, pipeline.GraphWrite{Tenant: tenant, Entities: []pipeline.Entity{{ID: "a", Type: "Person"}, {ID: "b"}}, Relations: []pipeline.Relation{{Src: "a", Dst: "b", Type: "KNOWS"}}}); err != nil {
		t.Fatal(err)
	}
	f := func(query, want string) {
		t.Helper()
		got, _, err := s.QueryGraph(ctx, pipeline.GraphQuery{Text: query, Params: []byte(`{"tenant": "` + tenant + `", "n": 3, "f": 1.5}`), MaxRows: 3, MaxBytes: 1 << 20})
		text := code(err)
		if err == nil {
			text = fmt.Sprintf("%s", got)
		}
		if text != want {
			t.Errorf("%s: got %s (%v); want %s", query, text, err, want)
		}
		again, _, err2 := s.QueryGraph(ctx, pipeline.GraphQuery{Text: query, Params: []byte(`{"tenant": "` + tenant + `", "n": 3, "f": 1.5}`), MaxRows: 3, MaxBytes: 1 << 20})
		if code(err2) != code(err) || !slices.EqualFunc(again, got, bytes.Equal) {
			t.Errorf("%s, asked again: got %s, %v; want %s, %v", query, again, err2, got, err)
		}
	}
	f("RETURN 1 AS one, $n AS n, $f AS f, [1, null, true] AS l, 0.0/0 AS nan, 'ü\"' AS s", `[{"one":1,"n":3,"f":1.5,"l":[1,null,true],"nan":null,"s":"ü\""}]`)
	f("MATCH (e:Person {tenant: $tenant})-[r:KNOWS]->(f) RETURN f.id AS id, r", `[{"id":"b","r":[{},"KNOWS",{}]}]`)
	f("MATCH (e:Person {tenant: $tenant}) RETURN e.id AS id", `[{"id":"a"}]`)
	f("UNWIND range(1, 10) AS i RETURN i", `[{"i":1} {"i":2} {"i":3}]`)
	f("MATCH p = (e:Person {tenant: $tenant})-[*1..2]-(x:Entity) RETURN length(p) AS l", `[{"l":1}]`)
	f("RETURN date('2024-01-02') AS d, duration('P1D') AS u", `[{"d":"2024-01-02","u":[0,1,0,0]}]`)
	f("CALL db.labels() YIELD label RETURN count(label) > 0 AS some", `[{"some":true}]`)
	const ab = "MATCH (a:Entity {tenant: $tenant, norm: 'a'}), (b:Entity {tenant: $tenant, norm: 'b'}) "
	f(ab+"MATCH p = shortestPath((a)-[*..5]-(b)) RETURN length(p) AS l", `[{"l":1}]`)
	f("MATCH (e:Person {tenant: $tenant}) MATCH (e) ((x)-[r]-(y)){1,3} (f:Entity) RETURN f.id AS id", `[{"id":"b"}]`)
	f("MATCH (e:Person {tenant: $tenant}) MATCH (e) ((x)-[]-(y)-[]-(z)){1,3} (f:Entity) RETURN f.id AS id", `[]`)
	f("MATCH (start:Person {tenant: $tenant})-[r:KNOWS|SET]-(use) RETURN start.id AS start", `[{"start":"a"}]`)
	f("RETURN 1 +", "400 invalid_cypher")
	// The places are those of the query as it was sent, not of what is planned.
	if _, _, err := s.QueryGraph(ctx, pipeline.GraphQuery{Text: "RETRN 1"}); err == nil || !strings.Contains(err.Error(), "(line 1, column 1 (offset: 0))\n\"RETRN 1\"\n ^") {
		t.Errorf("%v", err)
	}
	if _, _, err := s.QueryGraph(ctx, pipeline.GraphQuery{Text: "MATCH (n:A)\nRETRN n"}); err == nil || !strings.Contains(err.Error(), "(line 2, column 1 ") {
		t.Errorf("%v", err)
	}
	f("CALL db.index.fulltext.queryNodes('headrace_entity_text', 'a AND (') YIELD node RETURN node", "400 invalid_cypher")
	f("RETURN reduce(s = 'aaaaaaaa', x IN range(1, 17) | s + s) AS s", "400 result_too_large")
	f("RETURN $missing", "400 invalid_cypher")
	f("MATCH (a:Person {tenant: $tenant}), (b:Person {tenant: $tenant}) MATCH p = shortestPath((a)-[*..3]-(b)) RETURN p", "400 invalid_cypher") // a is b
	for _, bad := range []string{
		"MATCH (n) RETURN n", "MATCH (n:Entity) DETACH DELETE n", "CREATE (n)", "MERGE (n:X) RETURN n", "MATCH (n:Entity) SET n.x = 1", "LOAD CSV FROM 'file:///etc/passwd' AS l RETURN l",
		"SHOW TRANSACTIONS", "SHOW SETTINGS", "TERMINATE TRANSACTIONS 'a'", "CALL dbms.listConfig()", "CALL db.clearQueryCaches()", "USE system RETURN 1", "PROFILE CREATE (n)", "PROFILE RETURN 1",
		"MATCH (e:Entity)-[*]-(x) RETURN x", "MATCH (e:Entity)-[*2..]-(x) RETURN x", "MATCH ()-[r]->() RETURN r", "UNWIND [1] AS i CALL (i) { CREATE (n) } IN TRANSACTIONS RETURN 1",
		"CALL db.prepareForReplanning()", "MATCH (e:Entity) FOREACH (i IN [1] | SET e.x = i)", "RETURN 1; CREATE (n)", "MATCH p = shortestPath((a:Person)-[*]-(b:Entity)) RETURN p",
		// What follows n$ is no parameter.
		"UNWIND [1] AS n$ CALL db.propertyKeys() YIELD propertyKey RETURN propertyKey", "MATCH (n$:Entity) WITH n$ SET n$.x = 1",
		// In the first of two branches.
		"MATCH (e:Entity)-[*]-(x) WITH count(x) AS n MATCH (m:Person) RETURN m, n", "MATCH (n) WITH count(n.norm) AS n MATCH (m:Person) RETURN m, n", "MATCH ()-[r]->() WITH collect(r) AS n MATCH (m:Person) RETURN m, n",
		"MATCH (n) RETURN n UNION MATCH (n:Person) RETURN n", "MATCH (n) CALL (n) { RETURN 1 AS one } RETURN n, one",
		// A bound that is only a name or a value is none.
		"MATCH (e:Entity)-[`*1..3]`*]-(x) RETURN x", "MATCH (e:Entity)-[:`*1..3]`*]-(x) RETURN x", "MATCH (`{1, 3}`:Entity)-[*]-(x) RETURN x", "MATCH (`a``{1, 3}`:Entity)-[*]-(x) RETURN x",
		"MATCH (e:Entity)-[* {a: '*1..3]'}]-(x) RETURN x", "MATCH (`{1, 3}`:Entity {norm: 'a'}) ((x)--(y)--(z))+ (f:Entity) RETURN f",
		ab + "RETURN shortestPath((a)-[*]-(b)) AS p", ab + "MATCH (c:Person) WHERE length(allShortestPaths((a)-[:KNOWS*]-(b))[0]) > 1 RETURN c",
	} {
		f(bad, "400 unsafe_cypher")
	}
	began := time.Now()
	_, _, err := s.QueryGraph(ctx, pipeline.GraphQuery{Text: "UNWIND range(1, 100000) AS a UNWIND range(1, 100000) AS b RETURN sum(a * b % 7) AS s", Timeout: 500 * time.Millisecond})
	if code(err) != "504 upstream_timeout" || time.Since(began) > 1500*time.Millisecond {
		t.Errorf("an endless query: %v after %v", err, time.Since(began))
	}
	// What is too much behind a first record is left out.
	got, cut, err := s.QueryGraph(ctx, pipeline.GraphQuery{Text: "UNWIND range(1, 9) AS i RETURN i", MaxRows: 9, MaxBytes: 20})
	if err != nil || len(got) != 2 || !cut {
		t.Errorf("%s, cut: %v, %v", got, cut, err)
	}
	got, cut, err = s.QueryGraph(ctx, pipeline.GraphQuery{Text: "UNWIND range(1, 9) AS i RETURN i", MaxRows: 3})
	if err != nil || len(got) != 3 || !cut {
		t.Errorf("%s, cut: %v, %v", got, cut, err)
	}
	got, cut, err = s.QueryGraph(ctx, pipeline.GraphQuery{Text: "UNWIND range(1, 9) AS i RETURN i", MaxRows: 9})
	if err != nil || len(got) != 9 || cut {
		t.Errorf("%s, cut: %v, %v", got, cut, err)
	}
	// Nor is it read: this would be 500 MB.
	began = time.Now()
	got, cut, err = s.QueryGraph(ctx, pipeline.GraphQuery{Text: "UNWIND range(1, 1000) AS i RETURN range(1, 100000) AS l", MaxRows: 1000, MaxBytes: 4 << 20})
	if took := time.Since(began); err != nil || len(got) == 0 || !cut || took > 1500*time.Millisecond {
		t.Errorf("%d large records after %v: %v", len(got), took, err)
	}
}

// What the last gate of a client's query stands on: without a transaction of ours, too,
// the server lets nothing write in a session for reading.
func testReadSession(t *testing.T, uri string) {
	d, err := driver.NewDriverWithContext(uri, driver.NoAuth())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close(t.Context())
	for _, query := range []string{"CREATE (n:Gate) RETURN 1", "MERGE (n:Gate) RETURN 1", "CREATE INDEX gate IF NOT EXISTS FOR (n:Gate) ON (n.x)"} {
		session := d.NewSession(t.Context(), driver.SessionConfig{AccessMode: driver.AccessModeRead, DatabaseName: "neo4j"})
		result, err := session.Run(t.Context(), query, nil)
		if err == nil {
			_, err = result.Consume(t.Context())
		}
		if ne, ok := errors.AsType[*driver.Neo4jError](err); !ok || ne.Code != "Neo.ClientError.Statement.AccessMode" {
			t.Errorf("%s: got %v; want the server to refuse it", query, err)
		}
		_ = session.Close(t.Context())
	}
}

// Writers of the same entities wait for each other, and lose nothing.
func testWriters(t *testing.T, s *neo4j.Store, again func() float64) {
	tenant := tenantOf(t)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			w := pipeline.GraphWrite{Tenant: tenant}
			for i := range 20 {
				id := fmt.Sprint((i*7 + n) % 20)
				w.Entities = append(w.Entities, pipeline.Entity{ID: id, Type: "Thing", Props: []pipeline.Prop{prop(fmt.Sprint("by", n), "1")}})
				w.Relations = append(w.Relations, pipeline.Relation{Src: id, Dst: fmt.Sprint((i + n) % 20), Type: "R"})
			}
			if _, err := s.Write(t.Context(), w); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sub, err := s.Expand(t.Context(), pipeline.ExpandQuery{Tenant: tenant, Seeds: []pipeline.Seed{{ID: "3", Weight: 1}}, MaxNodes: 1})
	if err != nil || len(sub.Entities) != 1 || len(sub.Entities[0].Props) != 8 {
		t.Errorf("%+v, %v", sub, err)
	}
	// Relations and mentions lock entities that they only name, and a deadlock costs its
	// loser a second, then two, then four.
	some := func(n int) {
		doc := fmt.Sprint("doc", n%3)
		for k := range 5 {
			w := pipeline.GraphWrite{Tenant: tenant, DocID: doc}
			dice := rand.New(rand.NewPCG(uint64(n), uint64(k)))
			for range 30 {
				src, dst, chunk := fmt.Sprint(dice.IntN(20)), fmt.Sprint(dice.IntN(20)), dice.IntN(6)
				w.Relations = append(w.Relations, pipeline.Relation{Src: src, Dst: dst, Type: fmt.Sprint("R", dice.IntN(3))})
				w.Mentions = append(w.Mentions, pipeline.Mention{PointID: fmt.Sprint("c", chunk), DocID: fmt.Sprint("doc", 5-chunk), Entity: dst})
				if chunk == n%6 {
					w.Anew = append(w.Anew, fmt.Sprint("c", chunk))
				}
			}
			if got, err := s.Write(t.Context(), w); err != nil || got.Skipped != nil {
				t.Error(got, err)
			}
		}
	}
	before := again()
	for n := range 16 {
		wg.Go(func() { some(n) })
	}
	wg.Wait()
	if n := again() - before; n > 0 {
		t.Errorf("%v of 80 writes beside each other began anew", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.DeleteDocument(ctx, tenant, ""); err != nil {
		t.Error(err)
	}
}
