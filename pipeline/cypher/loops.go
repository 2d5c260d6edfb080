package cypher

// Loops reports whether the value of an expression in a query may take any time: it goes
// through a list, compares lists or maps that may hold each other many times over, or
// matches a regular expression. A database that looks between rows whether it should
// stop does not look meanwhile. What may be either is taken for a loop.
func Loops(query string) bool {
	all, err := tokens(query)
	if err != nil {
		return true
	}
	for i, t := range all {
		switch {
		case t.is("~"), // =~
			t.is("[") && !detail(all, i) && !position(all, i),
			t.is("{") && !block(all, i),
			at(all, i+1).is("(") && walks(t):
			return true
		}
	}
	return false
}

// walks reports whether a function goes through a list, or makes one of any length.
func walks(t token) bool {
	t.quoted = false
	for _, name := range [...]string{"all", "any", "none", "range", "reduce", "single"} {
		if t.isWord(name) {
			return true
		}
	}
	return false
}

// detail reports whether the i-th token begins what a pattern says of a relationship, as
// in "-[r:KNOWS]->".
func detail(all []token, i int) bool {
	if !at(all, i-1).is("-") {
		return false
	}
	ends := func(t token) bool {
		return t.is("]") || t.is(":") || t.is("*") || t.is("{") || t.isWord("where")
	}
	next := at(all, i+1)
	return ends(next) || next.kind == word && ends(at(all, i+2))
}

// position reports whether it begins a place in a list that is there, as in
// "labels(n)[0]".
func position(all []token, i int) bool {
	before := at(all, i-1)
	return before.is(")") || before.is("]") || before.kind == word && at(all, i-2).is(".")
}

// block reports whether it begins a subquery, a number of repetitions, or the properties
// in a pattern, whose values are looked at in turn, and no map.
func block(all []token, i int) bool {
	before, earlier := at(all, i-1), at(all, i-2)
	if before.is(")") || before.is(">") || before.is("-") {
		return true
	}
	if before.kind != word {
		return false
	}
	for _, name := range [...]string{"call", "collect", "count", "exists"} {
		if before.isWord(name) {
			return true
		}
	}
	for _, s := range [...]string{"(", "[", ":", "|", "&", "!"} {
		if earlier.is(s) {
			return true
		}
	}
	return false
}
