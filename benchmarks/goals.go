package main

import (
	"fmt"

	"github.com/headrace/headrace/benchmarks/report"
	"github.com/headrace/headrace/benchmarks/stats"
)

// A goal is a bound that a target must keep in a scenario.
type goal struct {
	name     string
	scenario string
	target   string
	metric   metric
	ratio    bool // the bound is for the ratio to the scenario's base
	most     bool // the bound is the most, not the least
	bound    float64
	// held is the bound of a run with -gate: where the goal is met, the goal
	// and what noise may add on a shared machine; where it is not met yet, what
	// is reached and the same, so that it does not get worse. It is no part of
	// the goal.
	held float64
}

var goals = []goal{
	{"CPU of a request, 1 KB", "chat-1k", "headrace", cpu, true, true, 1.10, 3.3},
	{"CPU of a request, 20 KB", "chat-20k", "headrace", cpu, true, true, 1.10, 4.4},
	{"most requests/s, 1 KB", "chat-1k", "headrace", rps, true, false, 0.95, 0.38},
	{"most requests/s, 20 KB", "chat-20k", "headrace", rps, true, false, 0.95, 0.30},
	{"cache hits/s, 1 KB", "hit-1k", "headrace", rps, true, false, 0.90, 0.33},
	{"cache hits/s, 20 KB", "hit-20k", "headrace", rps, true, false, 0.70, 0.30},
	{"ten no-op plugins, CPU", "plugins", "plugins-10", cpu, true, true, 1.02, 1.22},
	{"race armed, not fired, CPU", "armed", "armed", cpu, true, true, 1.05, 1.22},
	{"CPU of 1,000 chunks", "sse", "headrace", chunkCPU, true, true, 1.10, 1.85},
	{"p99 with a race", "tail", "race", p99Ratio, true, true, 0.28, 0.75},
	{"upstream calls with a race", "tail", "race", calls, false, true, 1.053, 1.093},
	{"departed client, upstream closed, p99 ms", "leave", "headrace", noticed99, false, true, 50, 100},
	{"idle stream, KiB", "idle", "headrace", perHeld, false, true, 12, 52},
	{"RSS after chat-1k, MB", "chat-1k", "headrace", resident, false, true, 40, 60},
	{"RSS after chat-20k, MB", "chat-20k", "headrace", resident, false, true, 40, 64},
	{"RSS after sse, MB", "sse", "headrace", resident, false, true, 40, 72},
}

// keeps reports whether v is on the right side of bound. What was not measured
// is on neither.
func (g goal) keeps(v, bound float64) bool {
	if g.most {
		return v <= bound
	}
	return v >= bound
}

// measured returns what the goal's scenario found, from the samples of one of
// its runs.
func (g goal) measured(o outcome) stats.Median {
	if g.ratio {
		return o.ratio(g.metric, g.target)
	}
	return o.median(g.metric, g.target)
}

// judge compares what was measured with the goal.
func (g goal) judge(o outcome) report.Goal {
	digits := 2
	switch {
	case !g.ratio && g.metric.name == calls.name:
		digits = 3
	case !g.ratio:
		digits = 1
	}
	sign, unit := "≥", ""
	if g.most {
		sign = "≤"
	}
	if g.ratio {
		unit = " × " + o.scenario.base
	}
	m := g.measured(o)
	return report.Goal{
		Name: g.name, Want: fmt.Sprintf("%s %.*f%s", sign, digits, g.bound, unit), Measured: m, Digits: digits,
		Met: g.keeps(m.Value, g.bound), Table: g.scenario,
	}
}
