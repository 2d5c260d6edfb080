package cypher

import "testing"

func TestLoops(t *testing.T) {
	f := func(want bool, queries ...string) {
		t.Helper()
		for _, q := range queries {
			if got := Loops(q); got != want {
				t.Errorf("%s: %v", q, got)
			}
		}
	}
	f(false,
		"MATCH (p:Person) RETURN p.id AS id LIMIT 3",
		"MATCH (e:Entity {tenant: $tenant_id})-[r:KNOWS|LIKES*1..3]->(m:A&!B {id: 'x'}) WHERE m.name CONTAINS 'y' RETURN m, labels(m)[0], m.list[1]",
		"MATCH (a:A)-[]-(b)-[r]-(c)-[:X {since: 1}]->(d)-[s WHERE s.x > 1]-() RETURN count(*)",
		"MATCH (a:A) WHERE EXISTS { (a)-->(:B) } CALL (a) { MATCH (a)--(b) RETURN b } RETURN COUNT { (a)--() }",
		"MATCH (a:A)-->{1,3}(b) RETURN a.id IN $ids",
		"MATCH (a:A) ((x)-->(y)){1,2} RETURN a // [x IN l | x]",
		"MATCH p = ALL SHORTEST (a:A)-[*1..2]-(b:B) WHERE size($a) > 1 RETURN p UNION ALL MATCH p = (a:`all`)-[r WHERE r.x]-()-[r*]-()-[r {x: 1}]-() RETURN p",
		"RETURN nodes(p)[0][1], n.list[1][2], n.`a`[0], COLLECT { MATCH (b:B) RETURN b }", "CALL { MATCH (b:B) RETURN b } RETURN b",
		"MATCH (n {x: 1}), (n:A {x: 1}), (n:A|B {x: 1}), (n:A&B {x: 1}), (n:!B {x: 1})-[r {x: 1}]-{2}(), ()-->{2}() RETURN 1", "",
		"RETURN 'all(x IN l WHERE x)' AS `reduce(`",
	)
	f(true,
		"MATCH (a:A) WHERE a.name =~ '(a*)*b' RETURN a",
		"RETURN all(x IN $l WHERE x > 0)", "RETURN aNy (x IN $l WHERE x)", "RETURN none(x IN $l WHERE x)", "RETURN single(x IN $l WHERE x)",
		"RETURN reduce(s = 0, x IN $l | s + x)", "RETURN /**/`range`(1, 9)", "UNWIND range(1, $n) AS x RETURN x",
		"RETURN [x IN nodes(p) | x.id]", "RETURN 1-[x IN $l WHERE x]", "RETURN 1-[[1]]", "WITH [1] AS a WITH [a, a] AS b RETURN b = b",
		"WITH {a: 1} AS a WITH {a: a, b: a} AS b RETURN b = b", "MATCH (n:A) RETURN n {.id}", "RETURN size({a: 1})",
		"RETURN a[0]", "RETURN [a] = [b]", "RETURN $a = []", "WHERE $a < [a:B]", "RETURN (+{a: 1})", "WITH [1] AS a RETURN a", "RETURN 1, [x IN $l]", "[", "{", "RETURN {}", "RETURN n {.*}", "RETURN 1 + {a: 1}", "RETURN a - [1]", "RETURN `all` (x IN $l WHERE x)",
		"not `closed",
	)
}
