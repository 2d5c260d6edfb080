package config

import (
	"errors"
	"fmt"
	"strings"
)

// expanded is a scalar after its variables were put in.
type expanded struct {
	text string
	used bool // there was a variable in it
	err  error
}

// expand puts the variables into s:
//
//	${VAR}        its value; VAR must be set
//	${VAR:-word}  its value, or word if VAR is not set or empty
//	${VAR:+word}  word, or nothing if VAR is not set or empty
//	$${           a literal ${
//
// A word may hold variables itself. Values are not expanded again.
func expand(s string, getenv func(string) (string, bool)) expanded {
	if !strings.Contains(s, "${") {
		return expanded{text: s}
	}
	x := expander{rest: s, getenv: getenv}
	var out strings.Builder
	err := x.text(&out, 0)
	return expanded{text: out.String(), used: x.used, err: err}
}

type expander struct {
	rest   string
	getenv func(string) (string, bool)
	used   bool
}

var (
	errUnclosed = errors.New(`"${" without "}"; write $${ for a literal ${`)
	errNested   = errors.New("variables are nested too deeply")
)

// text expands up to the end, or, within a word, up to its closing brace.
func (x *expander) text(out *strings.Builder, depth int) error {
	if depth > 8 {
		return errNested
	}
	for {
		stop := "$"
		if depth > 0 {
			stop = "$}"
		}
		i := strings.IndexAny(x.rest, stop)
		switch {
		case i < 0 && depth > 0:
			return errUnclosed
		case i < 0:
			out.WriteString(x.rest)
			x.rest = ""
			return nil
		}
		out.WriteString(x.rest[:i])
		x.rest = x.rest[i:]
		switch {
		case x.rest[0] == '}':
			x.rest = x.rest[1:]
			return nil
		case strings.HasPrefix(x.rest, "$${"):
			out.WriteString("${")
			x.rest = x.rest[3:]
		case strings.HasPrefix(x.rest, "${"):
			x.rest = x.rest[2:]
			if err := x.variable(out, depth); err != nil {
				return err
			}
		default:
			out.WriteByte('$')
			x.rest = x.rest[1:]
		}
	}
}

// variable expands what stands behind "${".
func (x *expander) variable(out *strings.Builder, depth int) error {
	x.used = true
	n := 0
	for n < len(x.rest) && nameByte(x.rest[n], n == 0) {
		n++
	}
	name := x.rest[:n]
	x.rest = x.rest[n:]
	value, set := x.getenv(name)
	switch {
	case x.rest == "":
		return errUnclosed
	case name == "":
		return errors.New(`"${" without the name of a variable; write ${NAME}, or $${ for a literal ${`)
	case x.rest[0] == '}':
		x.rest = x.rest[1:]
		if !set {
			return fmt.Errorf("variable %s is not set; set it, or write ${%s:-default}", name, name)
		}
		out.WriteString(value)
		return nil
	case strings.HasPrefix(x.rest, ":-"), strings.HasPrefix(x.rest, ":+"):
		instead := x.rest[1] == '+'
		x.rest = x.rest[2:]
		if instead == (value != "") {
			return x.text(out, depth+1)
		}
		out.WriteString(value) // of :+ there is none
		// The word is not wanted, so a variable in it need not be set.
		skip := expander{rest: x.rest, getenv: anySet}
		err := skip.text(new(strings.Builder), depth+1)
		x.rest = skip.rest
		return err
	}
	return fmt.Errorf("${%s%s is not understood; write ${%s}, ${%s:-default} or ${%s:+word}", name, firstRune(x.rest), name, name, name)
}

func anySet(string) (string, bool) { return "", true }

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

func nameByte(c byte, first bool) bool {
	return c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || !first && c >= '0' && c <= '9'
}
