package mock

import (
	"flag"
	"fmt"
	"net/url"
	"time"
)

// Settings is how the upstream behaves. They can be changed while it runs.
type Settings struct {
	// Latency passes before an answer, or before the first event of a stream.
	Latency time.Duration
	// Tail is the share of answers (0 to 1) that take TailFactor times as long.
	Tail       float64
	TailFactor float64
	// Errors is the share of requests (0 to 1) answered with status 500.
	Errors float64
	// Chunks is the number of events of a stream with text, sent Pace apart.
	Chunks int
	Pace   time.Duration
	// Numbers is the length of an embedding.
	Numbers int
	// Search is how long the vector store takes for a search, Cypher the graph store for
	// a statement.
	Search, Cypher time.Duration
	// Watch notes when a caller hangs up during Latency, see Stats.Departed.
	Watch bool
}

// Defaults answers at once.
var Defaults = Settings{TailFactor: 10, Chunks: 100, Pace: 20 * time.Millisecond, Numbers: 256}

// Flags binds the settings to names: on the command line, and in the query of
// a request that changes them.
func (s *Settings) Flags(fs *flag.FlagSet) {
	fs.DurationVar(&s.Latency, "latency", s.Latency, "time before an answer or a stream")
	fs.Float64Var(&s.Tail, "tail", s.Tail, "share of slow answers")
	fs.Float64Var(&s.TailFactor, "tail_factor", s.TailFactor, "how many times the latency a slow answer takes")
	fs.Float64Var(&s.Errors, "errors", s.Errors, "share of requests answered with status 500")
	fs.IntVar(&s.Chunks, "chunks", s.Chunks, "events of a stream")
	fs.DurationVar(&s.Pace, "pace", s.Pace, "time between two events")
	fs.IntVar(&s.Numbers, "numbers", s.Numbers, "length of an embedding")
	fs.DurationVar(&s.Search, "search", s.Search, "time that a search takes in the vector store")
	fs.DurationVar(&s.Cypher, "cypher", s.Cypher, "time that a statement takes in the graph store")
	fs.BoolVar(&s.Watch, "watch", s.Watch, "note when callers hang up")
}

// query returns the settings as Flags names them.
func (s Settings) query() string {
	q := url.Values{}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	s.Flags(fs)
	fs.VisitAll(func(f *flag.Flag) { q.Set(f.Name, f.Value.String()) })
	return q.Encode()
}

// parse returns the settings that the query asks for: the defaults where it
// is silent.
func parse(query string) (Settings, error) {
	s := Defaults
	q, err := url.ParseQuery(query)
	if err != nil {
		return s, fmt.Errorf("settings %q: %w", query, err)
	}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	s.Flags(fs)
	for name, values := range q {
		if err := fs.Set(name, values[0]); err != nil {
			return s, fmt.Errorf("setting %s=%s: %w", name, values[0], err)
		}
	}
	return s, nil
}
