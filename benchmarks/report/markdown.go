package report

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/headrace/headrace/benchmarks/stats"
)

// Markdown writes the run as a page.
func Markdown(w io.Writer, r *Run) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "`%s`\n\n%s · %s · %s\n\n", r.Command, r.Date, r.Machine, r.Versions)
	b.WriteString("Values are medians. Brackets hold the true median with 95 % confidence (all values, where there are fewer than six); × compares with the target of that name measured side by side.\n\n")
	for _, n := range r.Notes {
		fmt.Fprintf(b, "- %s\n", n)
	}
	if len(r.Notes) > 0 {
		b.WriteString("\n")
	}
	if len(r.Goals) > 0 {
		b.WriteString("| goal | want | measured | |\n|---|---|---|---|\n")
		for _, g := range r.Goals {
			verdict := "met"
			switch {
			case g.Measured.N == 0:
				verdict = "not measured"
			case !g.Met:
				verdict = "**missed**"
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", g.Name, g.Want, number(g.Measured, g.Digits, true), verdict)
		}
		b.WriteString("\n")
	}
	for _, t := range r.Tables {
		table(b, t)
	}
	return b.Flush()
}

// table leaves out columns without a single value.
func table(b *bufio.Writer, t Table) {
	used := make([]bool, len(t.Columns))
	for _, row := range t.Rows {
		for i, c := range row.Cells {
			used[i] = used[i] || c.N > 0
		}
	}
	fmt.Fprintf(b, "### %s\n\n%s\n\n| target |", t.Name, t.About)
	rule := []byte("\n|---|")
	for i, c := range t.Columns {
		if used[i] {
			fmt.Fprintf(b, " %s |", c.Name)
			rule = append(rule, "--:|"...)
		}
	}
	b.Write(append(rule, '\n'))
	for _, row := range t.Rows {
		fmt.Fprintf(b, "| %s |", row.Name)
		for i, c := range row.Cells {
			if used[i] {
				fmt.Fprintf(b, " %s |", number(c, t.Columns[i].Digits, t.Columns[i].Spread))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// number writes a median, with its interval if spread is set.
func number(m stats.Median, digits int, spread bool) string {
	if m.N == 0 || math.IsNaN(m.Value) {
		return "–"
	}
	s := thousands(m.Value, digits)
	if spread && m.N > 1 && m.Low != m.High {
		s += " (" + thousands(m.Low, digits) + "–" + thousands(m.High, digits) + ")"
	}
	return s
}

// thousands writes x with commas between groups of three digits.
func thousands(x float64, digits int) string {
	if math.IsInf(x, 0) {
		return "∞"
	}
	s := strconv.FormatFloat(x, 'f', digits, 64)
	whole, fraction, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if digits > 0 {
		whole += "." + fraction
	}
	return sign + whole
}
