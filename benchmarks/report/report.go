// Package report writes what a run measured: as Markdown to read and quote,
// and as one picture to look at.
package report

import "github.com/headrace/headrace/benchmarks/stats"

// A Run is everything that one run measured, and how.
type Run struct {
	Command  string // that makes another one
	Date     string
	Machine  string
	Versions string // of Headrace and Go
	Notes    []string
	Goals    []Goal
	Tables   []Table
	Charts   []Chart
}

// A Goal is a promise and what came of it.
type Goal struct {
	Name     string
	Want     string // "≤ 1.10"
	Measured stats.Median
	Digits   int
	Met      bool
	Table    string // where it was measured
}

// A Table is one comparison.
type Table struct {
	Name    string
	About   string
	Columns []Column
	Rows    []Row
}

// A Column is one measure.
type Column struct {
	Name   string
	Digits int // after the point
	Spread bool
}

// A Row is what one target showed, with a cell for each column.
type Row struct {
	Name  string
	Cells []stats.Median
}

// A Chart compares one measure of several targets.
type Chart struct {
	Title  string
	Unit   string
	Digits int
	Better string  // which direction is: "less" or "more"
	Limit  float64 // the goal, drawn as a line; 0 for none
	Bars   []Bar
}

// A Bar is one target in a chart.
type Bar struct {
	Name  string
	Value stats.Median
	Ours  bool
}
