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

// MaxQuery bounds a query, in bytes.
const MaxQuery = 64 << 10

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
	if len(query) > MaxQuery {
		return fmt.Errorf("the query is longer than %d bytes", MaxQuery)
	}
	all, err := tokens(query)
	if err != nil {
		return err
	}
	for i := range all {
		if err := judge(all, i, allowed); err != nil {
			return err
		}
	}
	return nil
}

// The words that begin what is no read.
var refused = []string{
	"alter", "analyze", "commit", "create", "deallocate", "delete", "deny", "detach", "drop", "dryrun", "enable", "foreach",
	"grant", "insert", "load", "merge", "periodic", "profile", "reallocate", "remove", "rename", "revoke", "rollback", "set",
	"show", "start", "stop", "terminate", "transaction", "transactions", "use",
}

// judge judges the i-th token.
func judge(all []token, i int, allowed []string) error {
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
		return procedure(all[i+1:], allowed)
	}
	if slices.Contains(refused, lower) {
		return fmt.Errorf("the query may only read, and %s does more", strings.ToUpper(lower))
	}
	return nil
}

// isName reports whether the i-th token can only be a name: of a property, a
// label, a parameter, or a key of a map.
func isName(all []token, i int) bool {
	if i+1 < len(all) && all[i+1].is(":") && i > 0 && (all[i-1].is("{") || all[i-1].is(",")) {
		return true
	}
	if i == 0 {
		return false
	}
	switch before := all[i-1]; {
	case before.is("$"), before.is(":"):
		return true
	case before.is("."):
		// Not what follows a number with a bare point, as in "RETURN 1.".
		return i > 1 && (all[i-2].kind == word || all[i-2].is(")") || all[i-2].is("]") || all[i-2].is("}"))
	}
	return false
}

// procedure judges what follows CALL: a subquery, or a procedure's name.
func procedure(rest []token, allowed []string) error {
	if len(rest) > 0 && (rest[0].is("{") || rest[0].is("(")) {
		return nil
	}
	name, _ := dotted(rest)
	if !slices.Contains(allowed, strings.ToLower(name)) {
		return fmt.Errorf("the procedure %.100q may not be called here", name)
	}
	return nil
}

// dotted joins a name with dots.
func dotted(rest []token) (name string, n int) {
	var b strings.Builder
	for n < len(rest) && rest[n].kind == word {
		b.WriteString(rest[n].text)
		if n++; n >= len(rest) || !rest[n].is(".") {
			break
		}
		b.WriteByte('.')
		n++
	}
	return b.String(), n
}

// The namespaces whose functions compute and do nothing else. Functions without
// a namespace are the language's own.
var pure = []string{"date", "datetime", "duration", "localdatetime", "localtime", "point", "time", "vector"}

// function reports whether the i-th token begins a name with dots that is
// called as a function.
func function(all []token, i int) bool {
	if i > 0 && (all[i-1].is(".") || all[i-1].is("$") || all[i-1].is(":") || !all[i-1].quoted && strings.EqualFold(all[i-1].text, "call")) {
		return false
	}
	_, n := dotted(all[i:])
	return n > 1 && i+n < len(all) && all[i+n].is("(")
}

func call(all []token, i int) error {
	name, _ := dotted(all[i:])
	space, _, _ := strings.Cut(name, ".")
	if !slices.Contains(pure, strings.ToLower(space)) {
		return fmt.Errorf("the function %.100q may not be called here", name)
	}
	return nil
}
