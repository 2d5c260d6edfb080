package cypher

import (
	"errors"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

var reads = []string{
	"MATCH (n) RETURN n",
	"EXPLAIN MATCH (n) RETURN n",
	"RETURN 'please delete me' AS s",
	"RETURN \"CREATE (n)\" AS s, 'it\\'s SET' AS t",
	"RETURN 1 AS a // create index",
	"RETURN 1 /* MERGE\n DELETE */ AS a",
	"MATCH (n:Person {tenant_id:$tenant_id}) RETURN n.id AS id ORDER BY id",
	"MATCH (n {set: 1, delete: 2}) RETURN n.create, n.`drop it`, $merge",
	"MATCH (n:Set)-[:LOAD]->(m) RETURN n",
	"CALL { MATCH (n) RETURN n.id AS i } RETURN i ORDER BY i",
	"MATCH (n) CALL (n) { MATCH (n)--(m) RETURN count(m) AS c } RETURN c",
	"MATCH (n) WHERE n.dataset = 'x' RETURN n.offset, n.created",
	"RETURN date.truncate('day', date()), point.distance($a, $b), duration.between($a, $b)",
	"RETURN [1,2,3][0..2], 1.5, 1e3, n.a.b",
	"MATCH (人:人物) RETURN 人.名 AS 名",
	"MATCH p=(:Person {id:'bob'})-[]->() RETURN p;",
	"call db.labels() YIELD label RETURN label",
	"CALL `db`.labels()",
	// Words of the language that are names here.
	"MATCH (start:Station)-[:LINE]->(stop) RETURN start.name AS start, stop.name ORDER BY start",
	"MATCH (u:User)-[:HAS]->(profile:Profile) WHERE profile.show = true RETURN profile",
	"MATCH (t:Transaction) WITH collect(t.id) AS transactions RETURN size(transactions), transactions[0]",
	"MATCH (n:Set|Create|Delete) RETURN n", "MATCH (n:Set&!Create) RETURN n", "MATCH (n:(!Load)) RETURN n",
	"MATCH (a:A)-[r:KNOWS|SET|LOAD*1..2]->(b) RETURN r", "MATCH (set:Set), (a)-[use:USE]->(b) RETURN a, set, use",
	"CYPHER 5 planner=dp MATCH (n:A) RETURN n.commit AS commit", "RETURN {a: date.truncate('day', $d)} AS x, {call: 1, use: 2, set: 3} AS y",
}

var writes = []string{
	"CREATE (n)", "create(n:Evil {id:'e2'}) RETURN n.id AS id", "CREATE\n(n)", "CREATE/**/(n)",
	"MATCH (n) MERGE (n)-[:R]->(n) RETURN 1",
	"MATCH (n {id:'x'}) SET\tn.pwned=true RETURN n.pwned AS p", "match (n) set n.x=1",
	"MATCH (n) DELETE\nn", "MATCH (n) DETACH DELETE n", "MATCH (n) REMOVE n.x", "MATCH (n) FOREACH (x IN [1] | SET n.a=x)",
	"LOAD CSV FROM 'http://169.254.169.254/' AS l RETURN l", "LOAD\nCSV FROM 'file:///etc/passwd' AS l RETURN l", "load/**/csv FROM $u AS l RETURN l",
	"CALL dbms.components() YIELD name RETURN name", "CALL apoc.cypher.runWrite('CREATE (n)', {})", "CALL\napoc.load.json('http://x') YIELD value RETURN value",
	"CALL `apoc`.`load`.`json`('x')", "CALL `apoc.load.json`('x')", "CALL /* { */ dbms.listConfig()", "CALL db.labels.more()", "CALL",
	"RETURN apoc.cypher.runFirstColumnSingle('CREATE (n)', {})", "RETURN genai.vector.encode('x', 'OpenAI', {})", "RETURN `apoc`.util.sleep(1)", "RETURN gds . version()",
	"RETURN {a: apoc.cypher.runFirstColumnSingle('CREATE (n)', {})}", "MATCH (n {a :genai.vector.encode('x', 'OpenAI', {})}) RETURN n", "RETURN {a: {b:`apoc`.util.sleep(1)}}",
	"RETURN [1..apoc.x()]", "MATCH (call dbms.x()) RETURN 1", "RETURN 1, CALL dbms.x()",
	"EXPLAIN SHOW USERS", "CYPHER SHOW USERS", "CYPHER 5 SHOW USERS", "cypher 5.0 planner = dp runtime=slotted show users", "EXPLAIN CYPHER planner=dp PROFILE RETURN 1", "/* */ SHOW USERS",
	"USING PERIODIC COMMIT LOAD CSV FROM 'x' AS l RETURN l", "CALL { RETURN 1 } IN 3 CONCURRENT TRANSACTIONS", "CALL { RETURN 1 } IN $n CONCURRENT TRANSACTIONS",
	"SHOW USERS", "SHOW TRANSACTIONS YIELD *", "TERMINATE TRANSACTIONS 'x'", "USE neo4j MATCH (n) RETURN n", "EXPLAIN USE graph.byName('x') RETURN 1",
	"MATCH (n) CALL { WITH n DETACH DELETE n } IN TRANSACTIONS OF 10 ROWS", "CALL { RETURN 1 } IN CONCURRENT TRANSACTIONS",
	"MATCH (n) RETURN n; MATCH (m) DELETE m", "RETURN 1; RETURN 2",
	"DROP INDEX x", "ALTER USER x", "GRANT ROLE x TO y", "START DATABASE x", "STOP DATABASE x", "INSERT (n)", "PROFILE MATCH (n) RETURN n",
	// Quotes, backticks and escapes that readers could disagree about.
	"MATCH (n:`X\\u0060) DETACH DELETE n //`) RETURN n", "RETURN '\\u0027 CREATE (n) //'", "RETURN 1 \\u0043REATE (n)", "\\u000aCREATE (n)", "RETURN '\\\\u0027'",
	"RETURN 'a\\' CREATE (n)", "RETURN 'a\\\\' CREATE (n) //'", "RETURN `a``` CREATE (n)", "RETURN `a", "RETURN 'a", "RETURN 1 /* ",
	"RETURN 1 // x\nCREATE (n)", "RETURN 1 // x\rCREATE (n)", "RETURN '/*' CREATE (n) //*/", "RETURN 1 /*/ CREATE (n) /*/ CREATE (n)",
	"RETURN \"'\" CREATE (n) // '\"",
	"RETURN 1CREATE (n)", "RETURN 1.CREATE (n)", "RETURN 1. SET n.a=1", "RETURN [1][0..]SET n.a=1", "RETURN $a SET n.b=1",
	"MATCH (n)\u00a0SET\u00a0n.a=1", "MATCH (n)\u3000SET\u3000n.a=1", "MATCH (n) SE\u200bT n.a=1", "RETURN 1 // x\u2028CREATE (n)", "RETURN 1\x00CREATE (n)", "RETURN '\xff' CREATE (n)",
	"MATCH (n) RETURN n " + strings.Repeat(" ", maxQuery),
}

func TestReads(t *testing.T) {
	for _, q := range reads {
		if err := Check(q, "db.labels"); err != nil {
			t.Errorf("%q: %v", q, err)
		}
	}
}

func TestWrites(t *testing.T) {
	for _, q := range writes {
		err := Check(q, "db.labels")
		if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 400 || e.Code != "unsafe_cypher" {
			t.Errorf("%q: %v", q, err)
		}
	}
	if Check("CALL db.labels()") == nil {
		t.Error("a procedure that nobody allowed passes")
	}
}

// What is put in front of a clause, between tokens or around names must not
// hide it; and a clause inside a string or comment is none.
func FuzzCheck(f *testing.F) {
	for _, q := range append(append([]string{}, reads...), writes...) {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		if Check(q) != nil {
			return
		}
		end := "\n"
		if s := stripped(t, q); s != "" && strings.Contains(":$.([,|&!", s[len(s)-1:]) {
			return // what follows is a name
		}
		for _, clause := range []string{"CREATE (n)", "LOAD CSV FROM 'x' AS l RETURN l", "CALL dbms.x()", "USE x", "DETACH DELETE n"} {
			if Check(q+end+clause) == nil {
				t.Errorf("%q hides %q", q, clause)
			}
		}
		if err := Check("RETURN 'CREATE (n)' AS x /* SET */ // DELETE\n"); err != nil {
			t.Error(err)
		}
	})
}

// stripped is the text of q's tokens.
func stripped(t *testing.T, q string) string {
	all, err := tokens(q)
	if err != nil {
		t.Fatalf("%q passes and cannot be read: %v", q, err)
	}
	var b strings.Builder
	for _, k := range all {
		b.WriteString(k.text)
	}
	return b.String()
}
