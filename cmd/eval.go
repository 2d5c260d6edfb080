package cmd

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/headrace/headrace"
	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/eval"
	"github.com/headrace/headrace/pipeline/ingest"
)

//go:embed eval.yaml
var evalConfig []byte

type evalCmd struct {
	Set        string   `help:"Question set: a file, or a folder with all its files; the built-in sample if none is named." placeholder:"FILE|DIR"`
	Format     string   `help:"Format of the set: headrace, musique or drcd; told by the names of its files if none is named." enum:"headrace,musique,drcd," default:""`
	Chain      []string `help:"Chain to measure: a route of the file, or a model with a chain. All routes of the built-in file if none is named." placeholder:"NAME"`
	Config     string   `help:"Configuration file with the chains, instead of the built-in one; needs --collection." short:"c" placeholder:"FILE"`
	Collection string   `help:"Ask this collection of the file's stores." placeholder:"NAME"`
	Index      bool     `help:"Index the set into that collection first, as ingest would; otherwise it is asked as it is."`
	Tenant     string   `help:"Whose collection it is." default:"default"`
	JSON       bool     `help:"Print JSON."`
	Limit      int      `help:"Ask the first so many questions only."`
}

// Run measures and prints.
func (c *evalCmd) Run(e *env) error {
	if (c.Config != "") != (c.Collection != "") {
		return errors.New("--config and --collection go together: chains of your own ask a collection that is there already, or made with --index")
	}
	if c.Index && c.Config == "" {
		return errors.New("--index goes with --config: the built-in file indexes the set anyway")
	}
	if c.Limit < 0 {
		return fmt.Errorf("--limit %d: it is how many questions are asked, or 0 for all", c.Limit)
	}
	set, err := c.load()
	if err != nil {
		return err
	}
	if c.Limit > 0 && c.Limit < len(set.Questions) {
		set.Questions = set.Questions[:c.Limit]
	}
	src := config.Source{File: "eval.yaml", Data: evalConfig, Getenv: os.LookupEnv}
	if c.Config != "" {
		if src, err = source(c.Config); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := config.Load(ctx, src, e.components, log, nil)
	if err != nil {
		return err
	}
	defer s.Release()
	chains, err := c.chains(s)
	if err != nil {
		return fmt.Errorf("%s: %w", src.File, err)
	}
	m := measuring{set: set, tenant: c.Tenant, collection: c.Collection}
	if !c.indexes() {
		err = m.holds(ctx, s)
	} else if err = m.index(ctx, s); err != nil {
		err = fmt.Errorf("index the set: %w", err)
	}
	if err != nil {
		return err
	}
	if unknown := set.Unknown(); c.indexes() && len(unknown) > 0 {
		fmt.Fprintf(e.err, "%s: %d gold documents are not in the set and count as not found; the first: %q\n", set.Name, len(unknown), unknown[0])
	}
	r := report{Set: set.Name, Passages: m.passages, Questions: len(set.Questions)}
	bar := newBar(e.err)
	for _, chain := range chains {
		result, err := m.measure(ctx, chain, bar)
		bar.clear()
		if err != nil {
			return fmt.Errorf("chain %s: %w", chain.name, err)
		}
		r.Chains = append(r.Chains, result)
	}
	if c.JSON {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	return r.print(e.out)
}

// indexes reports whether the documents of the set are needed.
func (c *evalCmd) indexes() bool { return c.Config == "" || c.Index }

// load reads the set.
func (c *evalCmd) load() (*eval.Set, error) {
	if c.Set == "" {
		corpus, err := fs.Sub(headrace.SampleCorpus, "examples/corpus")
		if err != nil {
			return nil, err
		}
		set, err := eval.Load(corpus, ".", eval.Own, c.indexes())
		if err == nil {
			set.Name = "sample"
		}
		return set, err
	}
	info, err := os.Stat(c.Set)
	if err != nil {
		return nil, err
	}
	dir, name := filepath.Split(filepath.Clean(c.Set))
	if info.IsDir() {
		dir, name = c.Set, "."
	} else if dir == "" {
		dir = "."
	}
	set, err := eval.Load(os.DirFS(dir), name, c.Format, c.indexes())
	if err != nil {
		return nil, fmt.Errorf("--set %s: %w", c.Set, err)
	}
	return set, nil
}

// A named is a chain and what it is called.
type named struct {
	name  string
	chain pipeline.Chain
	model *pipeline.Model
}

// chains finds those to measure.
func (c *evalCmd) chains(s *config.Snapshot) ([]named, error) {
	var all []named
	var names []string
	add := func(n named) {
		all = append(all, n)
		names = append(names, n.name)
	}
	for _, r := range s.Routes {
		add(named{r.Name, r.Chain, s.Models.Any()})
	}
	routes := len(all)
	for _, m := range s.Models.List() {
		if m.Chain != nil {
			add(named{m.Name, m.Chain, m})
		}
	}
	if len(c.Chain) == 0 {
		if c.Config != "" {
			return nil, fmt.Errorf("choose with --chain between %s", strings.Join(names, ", "))
		}
		return all[:routes], nil
	}
	var out []named
	for _, name := range c.Chain {
		i := slices.Index(names, name)
		if i < 0 {
			return nil, fmt.Errorf("there is no chain %q; there is: %s", name, strings.Join(names, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// measuring is one set against some chains.
type measuring struct {
	set                *eval.Set
	tenant, collection string
	passages           int
}

// holds refuses a collection in which there is nothing: every score would be 0.
func (m *measuring) holds(ctx context.Context, s *config.Snapshot) error {
	names := config.Names[pipeline.VectorStore](s)
	for _, name := range names {
		store, _ := config.Lookup[pipeline.VectorStore](s, name)
		info, err := store.Collection(ctx, m.tenant, m.collection)
		if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Code == "collection_not_found" {
			continue
		}
		if err != nil {
			return fmt.Errorf("look up the collection %q in %s: %w", m.collection, name, err)
		}
		if info.Points > 0 {
			return nil
		}
	}
	if len(names) == 0 {
		return nil // the chain finds its passages elsewhere
	}
	return fmt.Errorf("there is nothing of tenant %q in the collection %q of %s", m.tenant, m.collection, strings.Join(names, ", "))
}

// index writes the set into the stores of the file.
func (m *measuring) index(ctx context.Context, s *config.Snapshot) error {
	m.collection = cmp.Or(m.collection, "chunks")
	store, err := openStore(s, &ingestCmd{Tenant: m.tenant, Collection: m.collection})
	if err != nil {
		return err
	}
	var grapher ingest.Grapher = m.set.Triples
	if m.set.Triples == nil {
		var titles []string
		for i := range m.set.Documents {
			titles = append(titles, m.set.Documents[i].Title)
		}
		grapher = ingest.NewTitles(titles)
	}
	var batch []*ingest.Prepared
	for _, parts := range ingest.Join(m.set.Documents) {
		p := ingest.Prepare(ingest.Splitter{Size: 1000, Overlap: 200}, parts)
		grapher.Add(p)
		m.passages += len(p.Chunks)
		if batch = append(batch, p); len(batch) == 256 {
			if _, err := store.Write(ctx, batch, nil); err != nil {
				return err
			}
			batch = nil
		}
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
	}
	_, err = store.Write(ctx, batch, nil)
	return err
}

// measure asks every question of one chain, one after the other.
func (m *measuring) measure(ctx context.Context, n named, b *bar) (eval.Result, error) {
	var t eval.Tally
	for i, q := range m.set.Questions {
		b.asked(n.name, i, len(m.set.Questions))
		if ctx.Err() != nil {
			return eval.Result{}, errors.New("interrupted")
		}
		if err := m.ask(ctx, n, q, &t); err != nil {
			return eval.Result{}, fmt.Errorf("ask %q: %w", q.Text, err)
		}
	}
	return t.Result(n.name), nil
}

func (m *measuring) ask(ctx context.Context, n named, q eval.Question, t *eval.Tally) error {
	ex := pipeline.Acquire(ctx)
	defer ex.Release()
	body := chat.AppendString([]byte(`{"model":"eval","rag":{"enabled":true,"collection":`), m.collection)
	body = chat.AppendString(append(body, `},"messages":[{"role":"user","content":`...), q.Text)
	ex.Request.Body = append(body, `}]}`...)
	ex.Request.Header.SetMethod("POST")
	ex.Request.Header.SetRequestURI("/v1/chat/completions")
	ex.Request.Header.SetContentType("application/json")
	ex.Request.Header.SetContentLength(len(ex.Request.Body))
	ex.Op, ex.Route, ex.Tenant, ex.Model = pipeline.OpChat, n.name, m.tenant, n.model
	ex.Target = &pipeline.Target{Name: "eval", Provider: silent{}}
	ex.Targets = []*pipeline.Target{ex.Target}
	if err := n.chain.Handle(ex.Context(), ex); err != nil {
		return err
	}
	var stages []pipeline.StageTime
	degraded := false
	if r := ex.Retrieval; r != nil {
		stages, degraded = r.Stages, len(r.Degraded) > 0
	}
	t.Add(eval.Score(eval.Ranking(ex.Passages), q.Gold), stages, degraded)
	return nil
}

// silent stands for the models of a chain: only what is found counts.
type silent struct{}

func (silent) Call(_ context.Context, ex *pipeline.Exchange) error {
	ex.Response.Header.SetStatusCode(200)
	ex.Response.Header.SetContentType("application/json")
	ex.Response.SetBody([]byte(`{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"-"}}]}`))
	return nil
}

// report is what is printed.
type report struct {
	Set       string        `json:"set"`
	Questions int           `json:"questions"`
	Passages  int           `json:"passages,omitempty"`
	Chains    []eval.Result `json:"chains"`
}

func (r *report) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: %d questions", r.Set, r.Questions)
	if r.Passages > 0 {
		fmt.Fprintf(out, ", %d passages", r.Passages)
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "chain\tR@2\tR@5\tR@10\tall@10\tnDCG@10\tstage p50/p95 in ms")
	for _, c := range r.Chains {
		var stages []string
		for _, s := range c.Stages {
			stages = append(stages, fmt.Sprintf("%s %.2f/%.2f", s.Name, s.P50, s.P95))
		}
		s := c.Scores
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.3f\t%s\n", c.Chain, 100*s.Recall2, 100*s.Recall5, 100*s.Recall10, 100*s.All10, s.NDCG10, strings.Join(stages, ", "))
		if c.Degraded > 0 {
			fmt.Fprintf(w, "\tparts missing for %d questions\n", c.Degraded)
		}
	}
	return w.Flush()
}
