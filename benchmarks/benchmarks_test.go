package main

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/benchmarks/load"
	"github.com/headrace/headrace/benchmarks/measure"
	"github.com/headrace/headrace/benchmarks/mock"
	"github.com/headrace/headrace/benchmarks/payload"
	"github.com/headrace/headrace/benchmarks/report"
	"github.com/headrace/headrace/benchmarks/target"
)

// The test binary stands in for the command: it can serve, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(os.Args[2:]); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func readTargets(t *testing.T, file string) []target.Target {
	t.Helper()
	list, err := target.ReadFile(filepath.Join("files", file))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Every goal must name a scenario, target and metric that exist, and every
// scenario targets that exist: a misspelt one would never be measured.
func TestGoalsAndScenariosFit(t *testing.T) {
	known := readTargets(t, "targets.conf")
	if len(readTargets(t, "peers.conf")) < 4 {
		t.Error("peers.conf has lost a gateway")
	}
	byName := map[string]scenario{}
	for _, s := range scenarios() {
		byName[s.name] = s
		names := map[string]bool{}
		for _, m := range s.metrics {
			if names[m.name] {
				t.Errorf("%s: two metrics are called %q", s.name, m.name)
			}
			names[m.name] = true
		}
		for _, name := range s.targets {
			if !slices.ContainsFunc(known, func(k target.Target) bool { return k.Name == name }) {
				t.Errorf("%s: unknown target %q", s.name, name)
			}
		}
		if s.base != "" && !slices.Contains(s.targets, s.base) {
			t.Errorf("%s: compares with %q, which does not take part", s.name, s.base)
		}
		if s.chart != nil && !names[s.chart.metric.name] {
			t.Errorf("%s: draws %q, which it does not measure", s.name, s.chart.metric.name)
		}
	}
	for _, g := range goals {
		if g.most && g.held < g.bound || !g.most && g.held > g.bound {
			t.Errorf("goal %q: what is held is stricter than the goal", g.name)
		}
		s, ok := byName[g.scenario]
		if !ok || !slices.Contains(s.targets, g.target) {
			t.Errorf("goal %q: no scenario %q with a target %q", g.name, g.scenario, g.target)
		}
		if !slices.ContainsFunc(s.metrics, func(m metric) bool { return m.name == g.metric.name && (m.ratio || !g.ratio) }) {
			t.Errorf("goal %q: %s does not measure %q", g.name, g.scenario, g.metric.name)
		}
	}
}

func outcomeOf(s scenario, values map[string][]float64) outcome {
	o := newOutcome(s)
	for i := range len(values[s.targets[0]]) {
		for _, name := range s.targets {
			x := &sample{known: true}
			x.Done = 1
			x.Took = time.Second
			x.used.CPU = time.Duration(values[name][i] * float64(time.Microsecond))
			o.enter(name)
			o.add(name, x)
		}
	}
	return o
}

func TestJudge(t *testing.T) {
	s := scenario{name: "s", base: "raw", targets: []string{"raw", "headrace"}, metrics: []metric{cpu}}
	g := goal{"g", "s", "headrace", cpu, true, true, 1.10, 1.15}
	f := func(raw, headrace []float64, want float64, met bool) {
		t.Helper()
		o := outcomeOf(s, map[string][]float64{"raw": raw, "headrace": headrace})
		j := g.judge(o)
		if math.Abs(j.Measured.Value-want) > 1e-9 || j.Met != met || j.Want != "≤ 1.10 × raw" {
			t.Errorf("%+v, want %v, met %v", j, want, met)
		}
	}
	f([]float64{10, 20, 30}, []float64{11, 22, 33}, 1.1, true) // each round with its own base
	f([]float64{10, 10, 10}, []float64{11, 11.2, 90}, 1.12, false)
	if !g.keeps(1.14, g.held) || g.keeps(1.16, g.held) || g.keeps(math.NaN(), g.held) {
		t.Error("what is held is not what it says")
	}
	least := goal{"g", "s", "headrace", rps, true, false, 0.95, 0.9}
	if !least.keeps(0.91, least.held) || least.keeps(0.89, least.held) || least.keeps(math.NaN(), least.held) {
		t.Error("what is held of a goal for the least is not what it says")
	}
}

func TestSample(t *testing.T) {
	s := &sample{Result: load.Result{Left: map[uint64]int64{1: 1e9, 2: 1e9, 3: 1e9}}, upstream: mock.Stats{
		Departed: map[uint64]int64{1: 1e9 + 3e6, 7: 0}, Served: map[uint64]bool{2: true, 8: true},
	}}
	if got := noticed50.of(s); got != 3 {
		t.Errorf("noticed after %v ms, want 3", got)
	}
	if got := noticed99.of(s); !math.IsInf(got, 1) {
		t.Errorf("a departure that nobody noticed counts as noticed after %v ms", got)
	}
	if got := missed.of(s); got != 1 {
		t.Errorf("%v missed, want 1", got)
	}
	if got := cpu.of(s); !math.IsNaN(got) {
		t.Errorf("a target that is not ours to measure used %v", got)
	}
}

func TestChoose(t *testing.T) {
	f := func(o options, want ...string) {
		t.Helper()
		list, err := o.choose()
		var names []string
		for _, s := range list {
			names = append(names, s.name)
		}
		if err != nil && len(want) > 0 || !slices.Equal(names, want) {
			t.Errorf("%q, %v, want %q", names, err, want)
		}
	}
	f(options{scenarios: "sse,chat-1k"}, "sse", "chat-1k")
	f(options{scenarios: "sse,nonsense"})
	f(options{scenarios: "upload,idle", gate: true}, "idle")
	f(options{scenarios: "chat-1k,plugins,/search by meaning", base: "HEAD"}, "chat-1k", "/search by meaning")
}

// A whole run, with the references only: what it measures must make sense.
func TestRun(t *testing.T) {
	if _, err := measure.Machine(); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{
		dir: t.TempDir(), env: target.Env{"SELF": self}, builtin: readTargets(t, "targets.conf"), effort: 1, files: raiseLimit(),
		peers: []target.Target{{Name: "absent", URL: "http://127.0.0.1:$PORT", Command: "exec /no/such/gateway"}}, progress: io.Discard,
	}
	s := scenario{
		name: "chat-1k", targets: []string{"direct", "raw"}, peers: true, base: "raw", upstream: mock.Defaults, body: payload.Chat(sizeSmall, false), clients: 4,
		load: func(p *load.Pool) load.Result { return p.Closed(50 * time.Millisecond) }, passes: 2, rounds: 2,
		metrics: []metric{cpu, rps, calls, resident, failures, foreign},
	}
	result, missed, err := r.all(context.Background(), []scenario{s}, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(missed) == 0 || !slices.ContainsFunc(result.Notes, func(n string) bool { return strings.HasPrefix(n, "repeated") }) {
		t.Errorf("goals for a gateway that did not run: missed %q, notes %q", missed, result.Notes)
	}
	if !slices.ContainsFunc(result.Notes, func(n string) bool { return strings.Contains(n, "not installed") }) {
		t.Errorf("notes %q do not mention the absent gateway", result.Notes)
	}
	rows := result.Tables[0].Rows
	if len(rows) != 2 || rows[0].Name != "direct" || rows[1].Name != "raw" {
		t.Fatalf("rows %+v", rows)
	}
	column := func(name string) int {
		return slices.IndexFunc(result.Tables[0].Columns, func(c report.Column) bool { return c.Name == name })
	}
	raw := rows[1].Cells
	if v := raw[column("CPU µs/request")].Value; !(v > 1 && v < 10000) {
		t.Errorf("a request costs %v µs", v)
	}
	if v := raw[column("upstream calls/request")].Value; v != 1 {
		t.Errorf("%v upstream calls for a request", v)
	}
	if v := raw[column("errors")].Value; v != 0 {
		t.Errorf("%v errors", v)
	}
	if v := rows[0].Cells[column("CPU µs/request")]; v.N != 0 {
		t.Errorf("the upstream's own cost is shown as that of a gateway: %+v", v)
	}
	var page bytes.Buffer
	if err := report.Markdown(&page, result); err != nil || !strings.Contains(page.String(), "| raw |") {
		t.Errorf("report %s, %v", page.String(), err)
	}
}

func TestRecords(t *testing.T) {
	list, err := readRecords()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		rows := recorded(list, e.path, 50)
		if len(rows) < 1 {
			t.Errorf("%s: %d records with 50 callers", e.path, len(rows))
		}
		for _, row := range rows {
			if len(row.Cells) != 8 || row.Cells[0].Value < 10 || row.Cells[0].Value > 400 {
				t.Errorf("%s: %+v", row.Name, row.Cells)
			}
		}
	}
}
