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
	"MATCH (人:人物) RETURN 人.名 AS 名", "MATCH (Ⅷ:A€) RETURN Ⅷ.x€set AS `a$`", "RETURN $a+ $b, [$a], `a`, 'a'",
	"MATCH p=(:Person {id:'bob'})-[]->() RETURN p;",
	"call db.labels() YIELD label RETURN label",
	"CALL `db`.labels()",
	"MATCH (n:A) WHERE n.id IN $ids RETURN date.realtime(), datetime.transaction(), localdatetime.statement(), localtime.realtime(), time.truncate('hour', $t), vector.similarity.cosine($a, $b)",
	"MATCH (n:A) WHERE 'B' IN labels(n) AND n.x IN ids RETURN n", "MATCH (call:Call)-[r:CALL]->(:Load) RETURN [x IN $l WHERE x:Call]",
	"RETURN 1;", "MATCH (`;`) RETURN 1", "OPTIONAL CALL db.labels()", "MATCH (n:$($label)) RETURN n", "MATCH p = ANY SHORTEST (a:A)-->{1,3}(b:B) FINISH",
	"LET x = 1 FILTER x > 0 RETURN x NEXT RETURN x + 1 AS y", "WHEN $a THEN RETURN 1 AS x ELSE RETURN 2 AS x",
	// The server's to refuse.
	"", "EXPLAIN", "CYPHER planner=", "RETURN {", "RETURN n.",
	// Words of the language that are names here.
	"MATCH (n:Set&Create) RETURN 1 AS `set`, 2 AS `call`, n.x AS `a``b`", "RETURN nodes(p)[0].set, startNode(r).use, {a: 1}.load, n.`a`.merge, {a: 1, call: 2}, n {call: 1}", "MATCH (n) RETURN n.detach AS detach",
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
	"RENAME ROLE x TO y", "DENY ROLE x TO y", "REVOKE ROLE x FROM y", "ENABLE SERVER 'x'", "DRYRUN REALLOCATE DATABASES", "REALLOCATE DATABASES", "DEALLOCATE DATABASE FROM SERVER 'x'",
	"ANALYZE GRAPH", "COMMIT", "ROLLBACK", "USING PERIODIC COMMIT RETURN 1", "RETURN 1;RETURN", "RETURN 1;;",
	// Within a subquery, and right behind its bracket.
	"CALL { CREATE (n) }", "CALL (n) { SET n.x = 1 }", "RETURN EXISTS { MERGE (n) }", "RETURN COUNT { LOAD CSV FROM $u AS l RETURN l }", "CALL { CALL dbms.x() }", "CALL {USE x RETURN 1}",
	"CALL { CALL { REMOVE n.x } }", "CALL { RETURN 1 AS a } IN TRANSACTIONS", "call(*){foreach (x IN $l | CREATE (n))}", "WHEN $a THEN { INSERT (n) }", "RETURN 1 AS x NEXT CREATE (n)", "MATCH (n) NODETACH DELETE n",
	"MATCH (n) WHERE all(x IN $l WHERE apoc.x(x)) RETURN n", "RETURN [call dbms.x()]", "MATCH (call) RETURN 1", "MATCH (call dbms.x() :", "RETURN {a: 1, call dbms.x()}", "CALL ``()", "CALL { RETURN 1 } call", "MATCH (n:$(apoc.x())) RETURN n",
	// A name in backticks is no symbol.
	"WITH 1 AS `$` SET n.x = 1", "WITH 1 AS `:` CREATE (n)", "WITH 1 AS `,` USE x", "WITH 1 AS `(` LOAD CSV FROM $u AS l RETURN l", "WITH 1 AS `|` CALL dbms.x()", "WITH a, 1 AS `.` DELETE n", "WITH `{` SET :A",
	// What a string or a comment ends with is behind it.
	"RETURN 'a'CREATE (n)", "RETURN ''CREATE (n)", "RETURN \"\"CREATE (n)", "RETURN `a`CREATE (n)", "RETURN 1/**/CREATE (n)", "RETURN 1/***/CREATE (n)", "RETURN 1//\nCREATE (n)", "RETURN 9CREATE (n)", "RETURN '\\\\'CREATE (n)", "RETURN [1..]CREATE (n)",
	// Quotes, backticks and escapes that readers could disagree about.
	"MATCH (n:`X\\u0060) DETACH DELETE n //`) RETURN n", "RETURN '\\u0027 CREATE (n) //'", "RETURN 1 \\u0043REATE (n)", "\\u000aCREATE (n)", "RETURN '\\\\u0027'",
	"RETURN 'a\\' CREATE (n)", "RETURN 'a\\\\' CREATE (n) //'", "RETURN `a``` CREATE (n)", "RETURN `a", "RETURN 'a", "RETURN 1 /* ",
	"RETURN 1 // x\nCREATE (n)", "RETURN 1 // x\rCREATE (n)", "RETURN '/*' CREATE (n) //*/", "RETURN 1 /*/ CREATE (n) /*/ CREATE (n)",
	"RETURN \"'\" CREATE (n) // '\"",
	"RETURN 1CREATE (n)", "RETURN 1.CREATE (n)", "RETURN 1. SET n.a=1", "RETURN [1][0..]SET n.a=1", "RETURN $a SET n.b=1",
	"MATCH (n)\u00a0SET\u00a0n.a=1", "MATCH (n)\u3000SET\u3000n.a=1", "MATCH (n) SE\u200bT n.a=1", "RETURN 1 // x\u2028CREATE (n)", "RETURN 1\x00CREATE (n)", "RETURN '\xff' CREATE (n)",
	// A name that goes on with a $ in Cypher 5, so that no parameter follows it.
	"UNWIND [1] AS n$ CALL db.propertyKeys() YIELD propertyKey RETURN propertyKey", "MATCH (n$) WITH n$ SET n$.x = 1", "WITH a1$ LOAD CSV FROM $u AS l RETURN l",
	"RETURN 1$ SET n.x = 1", "RETURN a$b",
	// What goes on a name is no end of it: these are not db.labels and date.
	"CALL db.labels€()", "CALL db.labelsⅧ()", "CALL db.labels\u0301()", "CALL db.labels\u0903()", "RETURN date€.x()", "RETURN dateⅧ.x()", "RETURN Ⅷ.x()", "RETURN x\u0085SET",
	"MATCH (n) RETURN n " + strings.Repeat(" ", maxQuery),
}

// What a query is taken apart into, a space between two tokens.
func TestTokens(t *testing.T) {
	f := func(q, want string) {
		t.Helper()
		all, err := tokens(q)
		got := make([]string, len(all))
		for i, k := range all {
			got[i] = k.text
			if k.quoted {
				got[i] = "<" + k.text + ">"
			} else if k.kind == literal {
				got[i] = "lit"
			}
		}
		if s := strings.Join(got, " "); err != nil || s != want {
			t.Errorf("%q: %s (%v), want %s", q, s, err, want)
		}
	}
	f("", "")
	f(" \t\r\n\f\u00a0\u3000a\u2003b ", "a b")
	f("a//b\rc//d\ne//", "a c e")
	f("a/*b*/c/**/d/***/e/*//*/f/*\n*/", "a c d e f")
	f(`a'b\'c'd""e"\\"f'\\\''g`, "a lit d lit e lit f lit g")
	f("a`b``c`d``e````f", "a <b`c> d <> e <`> f")
	f("a1_‿é\u0301\u0903Ⅷ٣€ _a ‿a Ⅷa 人 ſ", "a1_‿é\u0301\u0903Ⅷ٣€ _a ‿a Ⅷa 人 ſ")
	f("1a 09.5e3 0xFF 9..8 1.a a.1", "lit a lit . lit e3 lit xFF lit .. lit lit . a a . lit")
	f("$a $ b ($c)`d`$e>=$h€i", "$ a $ b ( $ c ) <d> $ e > = $ h€i")
	f("a-[:B]->{1}...€x", "a - [ : B ] - > { lit } .. . € x")
}

// What the client is told.
func TestRefusal(t *testing.T) {
	f := func(q, want string) {
		t.Helper()
		e, ok := errors.AsType[*pipeline.Error](Check(q))
		if !ok || e.Status != 400 || e.Code != "unsafe_cypher" || e.Param != "query" || e.Fault != pipeline.CallerFault || e.Err.Error() != want {
			t.Errorf("%q: %#v, want %s", q, e, want)
		}
	}
	f("MATCH (n) Set n.x = 1", "the query may only read, and SET does more; a name of that kind belongs in backticks")
	f("RETURN 1; RETURN 2", "one query at a time: it holds more behind a semicolon")
	f("CALL Apoc.`load`.json($u)", `the procedure "Apoc.load.json" may not be called here`)
	f("MATCH (call) RETURN 1", "CALL calls nothing here; a name of that kind belongs in backticks")
	f("RETURN a.b(1)", `the function "a.b" may not be called here`)
	f("RETURN "+strings.Repeat("a", 200)+".b(1)", `the function "`+strings.Repeat("a", 100)+`" may not be called here`)
	f(`RETURN '\u0027'`, `the query holds a \u escape, which may stand for anything; pass the text as a parameter`)
	f(`RETURN '\U0027'`, `the query holds a \u escape, which may stand for anything; pass the text as a parameter`)
	f("RETURN 'a", "the query holds a string that does not end")
	f("RETURN `a``", "the query holds a name in backticks that does not end")
	f("RETURN 1 /*/", "the query holds a comment that does not end")
	f("RETURN n$", "the query holds a $ right behind a name or a value; put a space in front of a parameter, and a name with a $ into backticks")
	for _, c := range []string{"\x00", "\x0b", "\x1f", "\x7f", "\u0085", "\u00ad", "\u200b", "\u2028", "\u2029", "\xff", "\ufffd"} {
		f("RETURN '"+c+"'", "the query is not valid UTF-8, or holds a control character")
	}
	q := "RETURN 1" + strings.Repeat(" ", 64<<10-8)
	if err := Check(q); err != nil {
		t.Errorf("%d bytes: %v", len(q), err)
	}
	f(q+" ", "the query is longer than 65536 bytes")
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
