package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/benchmarks/stats"
)

var update = flag.Bool("update", false, "write the golden files")

func example() *Run {
	none := stats.Median{Value: math.NaN()}
	return &Run{
		Command: "go run ./benchmarks", Date: "2026-01-02", Machine: "2 × Example, Linux 6", Versions: "headrace abc, go1.26",
		Notes: []string{"nginx: not installed"},
		Goals: []Goal{
			{Name: "CPU, 1 KB", Want: "≤ 1.10", Measured: stats.Median{N: 20, Value: 1.071, Low: 1.04, High: 1.09}, Digits: 2, Met: true},
			{Name: "idle stream, KiB", Want: "≤ 12.0", Measured: stats.Median{N: 1, Value: 14, Low: 14, High: 14}, Digits: 1},
			{Name: "retrieval", Want: "≤ 2", Measured: none},
		},
		Tables: []Table{{
			Name: "chat-1k", About: "One chat completion.",
			Columns: []Column{{Name: "req/s"}, {Name: "CPU × raw", Digits: 2, Spread: true}, {Name: "never"}},
			Rows: []Row{
				{"raw", []stats.Median{{N: 9, Value: 23900, Low: 23000, High: 25000}, {N: 9, Value: 1, Low: 1, High: 1}, none}},
				{"headrace", []stats.Median{{N: 9, Value: 1234567.8, Low: 1, High: 2}, {N: 9, Value: 1.066, Low: 1.04, High: 1.09}, none}},
				{"direct", []stats.Median{{N: 9, Value: 999, Low: 990, High: 1010}, none, none}},
			},
		}},
		Charts: []Chart{
			{Title: "CPU per request", Unit: "× raw", Digits: 2, Better: "less", Limit: 1.1, Bars: []Bar{
				{Name: "raw", Value: stats.Median{N: 9, Value: 1, Low: 1, High: 1}},
				{Name: "headrace", Value: stats.Median{N: 9, Value: 1.07, Low: 1.04, High: 1.09}, Ours: true},
				{Name: "a <slow> one", Value: stats.Median{N: 9, Value: 40, Low: 39, High: 42}},
				{Name: "absent", Value: none},
			}},
			{Title: "Throughput", Unit: "req/s", Better: "more", Bars: []Bar{{Name: "headrace", Value: stats.Median{N: 1, Value: 22000, Low: 22000, High: 22000}, Ours: true}}},
		},
	}
}

func TestGolden(t *testing.T) {
	f := func(file string, write func(io.Writer, *Run) error) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := write(&b, example()); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (if this is meant, run with -update):\n%s", file, diff)
		}
		return b.Bytes()
	}
	f("testdata/run.md", Markdown)
	picture := xml.NewDecoder(bytes.NewReader(f("testdata/run.svg", SVG)))
	for {
		if _, err := picture.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
}

// Nothing is drawn outside of the picture, however far off a value is.
func TestScale(t *testing.T) {
	c := example().Charts[0]
	if got := scale(c); math.Abs(got-6.6) > 1e-9 {
		t.Errorf("the scale ends at %v, want six times the goal", got)
	}
	c.Better = "more"
	if got := scale(c); got != 42 {
		t.Errorf("the scale ends at %v, want the longest bar", got)
	}
}
