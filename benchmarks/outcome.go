package main

import (
	"slices"

	"github.com/headrace/headrace/benchmarks/report"
	"github.com/headrace/headrace/benchmarks/stats"
)

// An outcome is what a scenario found: for each target and metric one value
// for each round, in the same order for all targets.
type outcome struct {
	scenario scenario
	targets  []string // those that ran
	values   map[string]map[string][]float64
}

func newOutcome(s scenario) outcome {
	return outcome{scenario: s, values: map[string]map[string][]float64{}}
}

// enter notes that a target takes part.
func (o *outcome) enter(target string) {
	if o.values[target] == nil {
		o.values[target] = map[string][]float64{}
		o.targets = append(o.targets, target)
	}
}

// add notes what a round showed of a target.
func (o *outcome) add(target string, s *sample) {
	v := o.values[target]
	for _, m := range o.scenario.metrics {
		v[m.name] = append(v[m.name], m.of(s))
	}
}

// even fills up the rounds that a target missed, so that those after them are
// still compared with their own.
func (o *outcome) even() {
	rounds := 0
	for _, v := range o.values {
		for _, x := range v {
			rounds = max(rounds, len(x))
		}
	}
	for _, v := range o.values {
		for _, m := range o.scenario.metrics {
			for len(v[m.name]) < rounds {
				v[m.name] = append(v[m.name], unknown)
			}
		}
	}
}

func (o outcome) median(m metric, target string) stats.Median {
	return stats.MedianOf(o.values[target][m.name])
}

// ratio compares a target with the base, round by round.
func (o outcome) ratio(m metric, target string) stats.Median {
	return stats.MedianOf(stats.Ratios(o.values[target][m.name], o.values[o.scenario.base][m.name]))
}

// table returns the outcome as a table, targets in the scenario's order.
func (o outcome) table() report.Table {
	s := o.scenario
	t := report.Table{Name: s.name, About: s.about}
	for _, m := range s.metrics {
		t.Columns = append(t.Columns, report.Column{Name: m.name, Digits: m.digits, Spread: m.spread})
		if m.ratio && s.base != "" {
			t.Columns = append(t.Columns, report.Column{Name: "× " + s.base, Digits: 2, Spread: true})
		}
	}
	for _, name := range o.ordered() {
		row := report.Row{Name: name}
		for _, m := range s.metrics {
			row.Cells = append(row.Cells, o.median(m, name))
			if m.ratio && s.base != "" {
				row.Cells = append(row.Cells, o.ratio(m, name))
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// bars returns the outcome as a chart, if it has one.
func (o outcome) bars() (report.Chart, bool) {
	c := o.scenario.chart
	if c == nil {
		return report.Chart{}, false
	}
	chart := report.Chart{Title: c.title, Unit: c.unit, Better: c.better, Digits: c.metric.digits}
	if c.ratio {
		chart.Digits = 2
	}
	for _, g := range goals {
		if g.scenario == o.scenario.name && g.metric.name == c.metric.name && g.ratio && c.ratio {
			chart.Limit = g.bound
		}
	}
	for _, name := range o.ordered() {
		bar := report.Bar{Name: name, Value: o.median(c.metric, name), Ours: ours(name)}
		if c.ratio {
			bar.Value = o.ratio(c.metric, name)
		}
		if bar.Value.N > 0 {
			chart.Bars = append(chart.Bars, bar)
		}
	}
	return chart, true
}

// ours reports whether a target is Headrace.
func ours(target string) bool {
	return target == "headrace" || target == "race"
}

func (o outcome) ordered() []string {
	names := slices.Clone(o.targets)
	slices.SortStableFunc(names, func(a, b string) int { return o.place(a) - o.place(b) })
	return names
}

// place is where a target stands in the scenario; peers come last.
func (o outcome) place(target string) int {
	if i := slices.Index(o.scenario.targets, target); i >= 0 {
		return i
	}
	return len(o.scenario.targets) + slices.Index(o.targets, target)
}
