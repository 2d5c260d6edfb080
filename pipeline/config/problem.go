package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Problem is one mistake in a file.
type Problem struct {
	File string
	// Line and Col are where it is, counted from 1; Col counts characters.
	Line, Col int
	// Path is the place by the names of the settings; empty for the file.
	Path string
	// Msg says what is wrong, and behind a semicolon what is allowed.
	Msg string
	// Hint is what was probably meant; empty when there is no good guess.
	Hint string
}

// Error returns the problem on one line: `file:line:col: path: what is wrong;
// what is allowed (did you mean "x"?)`.
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Col)
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Msg)
	if p.Hint != "" {
		b.WriteString(" (did you mean " + strconv.Quote(p.Hint) + "?)")
	}
	return b.String()
}

// Problems is every mistake in a file, in the order of their places. It is the
// type of every error that Load and Check return.
type Problems []Problem

// Error returns one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

// tidy sorts problems by place and drops those said twice.
func (p Problems) tidy() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	seen := make(map[Problem]bool, len(p))
	return slices.DeleteFunc(p, func(q Problem) bool {
		dup := seen[q]
		seen[q] = true
		return dup
	})
}

// nearest returns the name in all that s is most likely a misspelling of, at
// most two edits away, or "".
func nearest(s string, all []string) string {
	best, least := "", 3
	for _, a := range all {
		if d := distance(strings.ToLower(s), strings.ToLower(a)); d < least && d < max(len(s), len(a)) {
			best, least = a, d
		}
	}
	return best
}

// distance is the number of edits from a to b: insert, delete or replace a
// byte, or swap two neighbours.
func distance(a, b string) int {
	if abs(len(a)-len(b)) > 2 || max(len(a), len(b)) > 64 {
		return 3
	}
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}

func abs(n int) int { return max(n, -n) }
