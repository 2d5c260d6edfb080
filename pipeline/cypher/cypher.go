// Package cypher tells whether a query only reads, by its words.
//
// It is the first of several gates: the database must open the transaction for
// reading and have its planner confirm it too. What this gate adds is what those
// let pass, because to a database they are reads: LOAD CSV, which fetches URLs;
// SHOW and TERMINATE; USE; procedures, whatever they do; transactions within.
//
// It takes a query apart into tokens, so that a word in a string or a comment is
// no clause and white space hides nothing. It is no parser: where a word could
// be a clause it is taken for one.
package cypher

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/headrace/headrace/pipeline"
)

// maxQuery bounds a query, in bytes.
const maxQuery = 64 << 10

// Check returns nil if query reads and does nothing else. It may call the
// procedures in allowed, by their full names in lower case. The error is a
// *pipeline.Error with status 400 and code unsafe_cypher.
func Check(query string, allowed ...string) error {
	if err := check(query, allowed); err != nil {
		return &pipeline.Error{Status: 400, Code: "unsafe_cypher", Param: "query", Fault: pipeline.CallerFault, Err: err}
	}
	return nil
}

func check(query string, allowed []string) error {
	if len(query) > maxQuery {
		return fmt.Errorf("the query is longer than %d bytes", maxQuery)
	}
	all, err := tokens(query)
	if err != nil {
		return err
	}
	begin := first(all)
	for i := range all {
		if err := judge(all, i, begin, allowed); err != nil {
			return err
		}
	}
	return nil
}

// The words that begin a clause that is no read, wherever they stand.
var refused = []string{"create", "delete", "foreach", "insert", "load", "merge", "remove", "set", "use"}

// The words that begin a command. It is one only as the first of a query: a
// variable may well be called start, or profile.
var commands = []string{
	"alter", "analyze", "commit", "deallocate", "deny", "drop", "dryrun", "enable", "grant", "profile", "reallocate",
	"rename", "revoke", "rollback", "show", "start", "stop", "terminate", "using",
}

// judge judges the i-th token of a query that begins at another.
func judge(all []token, i, begin int, allowed []string) error {
	t := all[i]
	if t.kind == symbol && t.text == ";" && i < len(all)-1 {
		return errors.New("one query at a time: it holds more behind a semicolon")
	}
	if t.kind != word {
		return nil
	}
	if function(all, i) {
		return call(all, i)
	}
	if t.quoted || isName(all, i) {
		return nil
	}
	lower := strings.ToLower(t.text)
	if lower == "call" {
		return procedure(all, i+1, allowed)
	}
	if slices.Contains(refused, lower) || i == begin && slices.Contains(commands, lower) || batches(all, i) {
		return fmt.Errorf("the query may only read, and %s does more; a name of that kind belongs in backticks", strings.ToUpper(lower))
	}
	return nil
}

// first is where a query begins behind what says how it is run, as in
// "EXPLAIN CYPHER 5 planner=dp".
func first(all []token) int {
	i := 0
	for i < len(all) {
		t := all[i]
		switch {
		case at(all, i+1).is("="):
			i += 3
		case t.kind == literal, t.is("."), t.isWord("explain"), t.isWord("cypher"):
			i++
		default:
			return i
		}
	}
	return i
}

// batches reports whether the i-th token is the last word of "IN TRANSACTIONS"
// or "IN 3 CONCURRENT TRANSACTIONS".
func batches(all []token, i int) bool {
	before := at(all, i-1)
	return all[i].isWord("transactions") && (before.isWord("in") || before.isWord("concurrent"))
}

// isName reports whether the i-th token can only be a name: of a variable, a
// property, a label, a parameter, or a key of a map.
func isName(all []token, i int) bool {
	switch before := at(all, i-1); {
	case before.is("$"), before.is(":"):
		return true
	case before.is("{"):
		return at(all, i+1).is(":")
	case before.is("("), before.is("["), before.is(","), before.is("|"), before.is("&"), before.is("!"):
		// No clause begins there, but for one within FOREACH, which is refused itself.
		// Which procedures are called nothing else tells, so CALL is one but in front of a
		// colon, as in (call:Station) and {a: 1, call: 2}.
		return !all[i].isWord("call") || at(all, i+1).is(":")
	case before.is("."):
		// Not what follows a number with a bare point, as in "RETURN 1.".
		owner := at(all, i-2)
		return owner.kind == word || owner.is(")") || owner.is("]") || owner.is("}")
	}
	return false
}

// procedure judges what follows CALL: a subquery, or a procedure's name.
func procedure(all []token, i int, allowed []string) error {
	if next := at(all, i); next.is("{") || next.is("(") {
		return nil
	}
	name, _ := dotted(all, i)
	if name == "" {
		return errors.New("CALL calls nothing here; a name of that kind belongs in backticks")
	}
	if !slices.Contains(allowed, strings.ToLower(name)) {
		return fmt.Errorf("the procedure %.100q may not be called here", name)
	}
	return nil
}

// dotted joins a name with dots that begins with the i-th token, and says where it ends.
func dotted(all []token, i int) (name string, end int) {
	var b strings.Builder
	for at(all, i).kind == word {
		b.WriteString(all[i].text)
		if i++; !at(all, i).is(".") {
			break
		}
		b.WriteByte('.')
		i++
	}
	return b.String(), i
}

// The namespaces whose functions compute and do nothing else. Functions without
// a namespace are the language's own.
var pure = []string{"date", "datetime", "duration", "localdatetime", "localtime", "point", "time", "vector"}

// function reports whether the i-th token begins a name with dots that is
// called as a function.
func function(all []token, i int) bool {
	if before := at(all, i-1); before.is(".") || before.isWord("call") {
		return false
	}
	_, end := dotted(all, i)
	return end > i+1 && at(all, end).is("(")
}

func call(all []token, i int) error {
	name, _ := dotted(all, i)
	space, _, _ := strings.Cut(name, ".")
	if !slices.Contains(pure, strings.ToLower(space)) {
		return fmt.Errorf("the function %.100q may not be called here", name)
	}
	return nil
}
