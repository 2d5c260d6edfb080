package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headrace/headrace/benchmarks/load"
	"github.com/headrace/headrace/benchmarks/measure"
	"github.com/headrace/headrace/benchmarks/mock"
	"github.com/headrace/headrace/benchmarks/payload"
	"github.com/headrace/headrace/benchmarks/report"
	"github.com/headrace/headrace/benchmarks/stats"
)

// A record is how the service that Headrace replaces did, under the load that
// origin makes. Its asynchronous and its synchronous version were measured on
// two processors that they shared with the load.
type record struct {
	Version  string
	Endpoint string
	Callers  int `json:"c"`
	RPS      float64
	P50, P95 float64
	P99      float64
	CPU      float64 `json:"cpu_ms"`
	RSS      float64 `json:"rss_mb"`
	// Foreign is how many processors other programs took meanwhile.
	Foreign float64 `json:"foreign_cores"`
}

// An endpoint is one that the replaced service had and Headrace has too.
type endpoint struct {
	path    string
	variant string        // what is special, after a comma
	latency time.Duration // that its upstream was given
	about   string        // what else takes time there
	body    []byte
	answer  string // what an answer has in it
	within  bool   // the stores are within the gateway
}

const (
	searchTakes = " Each search in the vector store takes 50 ms."
	cypherTakes = " Each statement in the graph takes 80 ms."
	alone       = " As in the replaced service there is no search by words beside the one by meaning."
)

var endpoints = []endpoint{
	{path: "/v1/chat/completions", latency: 50 * time.Millisecond, body: payload.Chat(sizeSmall, false)},
	{path: "/v1/embeddings", latency: 30 * time.Millisecond, body: payload.Embeddings(), answer: `"embedding"`},
	{path: "/chat", latency: 50 * time.Millisecond, body: payload.Chat(sizeSmall, false), answer: "section"},
	{path: "/embed", latency: 30 * time.Millisecond, body: payload.Service("/embed"), answer: `"vectors"`},
	{path: "/rerank", latency: 40 * time.Millisecond, body: payload.Service("/rerank"), answer: `"score"`},
	{path: "/search", latency: 30 * time.Millisecond, body: payload.Service("/search"), answer: `"hits"`, about: searchTakes},
	{
		path: "/search", variant: "by meaning", latency: 30 * time.Millisecond, body: payload.Service("/search by meaning"), answer: `"hits"`,
		about: searchTakes + alone,
	},
	{
		path: "/search", variant: "stores within", latency: 30 * time.Millisecond, body: payload.Service("/search"), answer: `"hits"`, within: true,
		about: " The vector store is within the gateway, with 1,000 passages, and its work counts as the gateway's.",
	},
	{path: "/retrieve", latency: 30 * time.Millisecond, body: payload.Service("/retrieve"), answer: `"edges"`, about: searchTakes + cypherTakes},
	{
		path: "/retrieve", variant: "by meaning", latency: 30 * time.Millisecond, body: payload.Service("/retrieve by meaning"), answer: `"edges"`,
		about: searchTakes + cypherTakes + alone,
	},
	{
		path: "/retrieve", variant: "stores within", latency: 30 * time.Millisecond, body: payload.Service("/retrieve"), answer: `"hits"`, within: true,
		about: " Vector store and graph are within the gateway, with 1,000 passages and 137 entities.",
	},
	{path: "/graph/query", body: payload.Service("/graph/query"), answer: "queue", about: cypherTakes},
	{
		path: "/graph/extract", body: payload.Service("/graph/extract"), answer: `"EMPLOYED_AT"`,
		about: " The three models asked take 300 ms, 100 ms and 2 s.",
	},
}

// fill puts passages into the gateway's store.
func fill(addr string) error {
	_, err := post("http://"+addr+"/index/chunks", payload.Chunks(1000))
	return err
}

// origin puts the load on Headrace that the replaced service was measured with.
func origin(ctx context.Context, args []string) error {
	o := options{effort: 1}
	fs := flag.NewFlagSet("origin", flag.ExitOnError)
	fs.StringVar(&o.headrace, "headrace", "", "the gateway's `binary`; built if empty")
	fs.StringVar(&o.out, "out", "", "`folder` for report.md and report.svg; the report is printed in any case")
	only := fs.String("only", "", "comma-separated `paths`; all if empty")
	callers := fs.String("callers", "1,10,50,200,1000,5000", "numbers of `callers` at the same time")
	length := fs.Duration("for", 4*time.Second, "how long each of them calls")
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, cleanup, err := newRunner(ctx, o)
	if err != nil {
		return err
	}
	defer cleanup()
	records, err := readRecords()
	if err != nil {
		return err
	}
	result := &report.Run{
		Command: "go run ./benchmarks origin " + strings.Join(args, " "), Date: time.Now().Format("2006-01-02"),
		Machine: measure.Processor(), Versions: r.env["VERSION"] + ", " + runtime.Version(),
	}
	for _, e := range endpoints {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), e.path) {
			continue
		}
		t := report.Table{
			Name:  e.name(),
			About: fmt.Sprintf("Each caller sends its next request when it has its answer, for %v; the upstream takes %v.%s The replaced service is as recorded on another day; ° marks that other programs took more than half a processor then.", *length, e.latency, e.about),
		}
		for n := range strings.SplitSeq(*callers, ",") {
			count, err := strconv.Atoi(n)
			if err != nil {
				return fmt.Errorf("callers %q: %w", n, err)
			}
			s := e.scenario(count, *length)
			found, err := r.run(ctx, s)
			if err != nil {
				return err
			}
			table := found.table()
			t.Columns = table.Columns
			for _, row := range table.Rows {
				row.Name = fmt.Sprintf("**headrace, %d callers**", count)
				t.Rows = append(t.Rows, row)
			}
			t.Rows = append(t.Rows, recorded(records, e.path, count)...)
		}
		result.Tables = append(result.Tables, t)
	}
	result.Notes = r.notes
	return write(result, o.out)
}

// scenario is the load of so many callers.
func (e endpoint) scenario(callers int, length time.Duration) scenario {
	s := scenario{
		name: fmt.Sprintf("%s, %d callers", e.name(), callers), path: e.path, answer: e.answer, targets: []string{"servers"},
		body: e.body, clients: callers, passes: 1, rounds: 1,
		upstream: with(func(s *mock.Settings) {
			s.Latency, s.Numbers, s.Search, s.Cypher = e.latency, 1024, 50*time.Millisecond, 80*time.Millisecond
		}),
		load:    func(p *load.Pool) load.Result { return p.Closed(length) },
		warm:    func(p *load.Pool) load.Result { return p.Closed(500 * time.Millisecond) },
		metrics: []metric{rps, p50, p95, p99, millis(cpu), resident, failures, foreign},
	}
	if e.within {
		s.targets, s.setUp = []string{"origin"}, fill
	}
	return s
}

// turns is the load of fifty callers in slices, for the comparison of two revisions.
func (e endpoint) turns() scenario {
	s := e.scenario(50, time.Second)
	s.name, s.base, s.passes, s.rounds = e.name(), s.targets[0], 2, 10
	s.metrics = []metric{millis(cpu), rps, p50, p95, resident, failures, foreign}
	return s
}

func (e endpoint) name() string {
	if e.variant == "" {
		return e.path
	}
	return e.path + " " + e.variant
}

// millis is a metric of processor time in milliseconds.
func millis(m metric) metric {
	return metric{name: "CPU ms/request", digits: 3, ratio: m.ratio, of: func(s *sample) float64 { return m.of(s) / 1e3 }}
}

func readRecords() ([]record, error) {
	b, err := files.ReadFile("files/origin.jsonl")
	if err != nil {
		return nil, err
	}
	var list []record
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("files/origin.jsonl: %w", err)
		}
		list = append(list, r)
	}
	return list, nil
}

// recorded returns the rows of what the replaced service did with as many
// callers.
func recorded(list []record, path string, callers int) []report.Row {
	var rows []report.Row
	for _, r := range list {
		if r.Endpoint != path || r.Callers != callers {
			continue
		}
		mark := ""
		if r.Foreign > 0.5 {
			mark = " °"
		}
		row := report.Row{Name: fmt.Sprintf("replaced (%s), %d callers%s", r.Version, callers, mark)}
		for _, v := range []float64{r.RPS, r.P50, r.P95, r.P99, r.CPU, r.RSS, 0, math.NaN()} {
			row.Cells = append(row.Cells, stats.MedianOf([]float64{v}))
		}
		rows = append(rows, row)
	}
	return rows
}
