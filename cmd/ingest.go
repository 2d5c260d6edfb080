package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/headrace/headrace"
	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/graphjson"
	"github.com/headrace/headrace/pipeline/ingest"
	"github.com/headrace/headrace/pipeline/rag"
)

type ingestCmd struct {
	Paths      []string `arg:"" optional:"" help:"Files (txt, md, html, jsonl) and folders of them." placeholder:"DIR|FILE"`
	Sample     bool     `help:"Ingest the built-in sample corpus."`
	Config     string   `help:"Configuration file; ./gateway.yaml if there is one, else the built-in copy." short:"c" placeholder:"FILE"`
	Collection string   `help:"Collection to write into." default:"kb"`
	Tenant     string   `help:"Whose documents they are." default:"default"`
	Store      string   `help:"Store of passages, by its name in the file; not needed if there is one only." placeholder:"NAME"`
	Embedder   string   `help:"Embedder, by its name in the file; 'none' for none; not needed if there is one only." placeholder:"NAME"`
	GraphStore string   `help:"Store of the graph, by its name in the file; not needed if there is one only." placeholder:"NAME"`
	Graph      []string `help:"What to make a graph from: 'titles' links each chunk to the titles in its text; 'triples:FILE' reads triples; 'extract' asks the models of the file's /graph/extract." sep:"none" placeholder:"titles|triples:FILE|extract"`
	URL        string   `help:"Write through the gateway that runs there, not into the stores of the file." placeholder:"URL"`
	Key        string   `help:"Key for that gateway; it decides on the tenant." env:"HEADRACE_KEY" placeholder:"KEY"`
	Size       int      `help:"Characters of a chunk, at most." default:"1000"`
	Overlap    int      `help:"Characters that a chunk shares with the one before it, at most." default:"200"`
	Batch      int      `help:"Chunks written at once." default:"64"`
	Parallel   int      `help:"Batches written at the same time." default:"4"`
	Again      bool     `help:"Write what has not changed, too."`
}

// Run ingests. It fails if any file does.
func (c *ingestCmd) Run(e *env) error {
	if err := c.check(); err != nil {
		return err
	}
	files, closed, err := c.files(e)
	if err != nil {
		return err
	}
	extract := slices.Contains(c.Graph, "extract")
	if extract && c.URL != "" {
		return errors.New("--graph extract writes into the stores of the file, and not through a gateway: leave out --url")
	}
	graphers, err := graphers(c.Graph, files)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process
		fmt.Fprintln(e.err, "stopping when what is under way is written; a second signal stops at once")
	})()
	sink, release, err := c.sink(ctx, e)
	if err != nil {
		return err
	}
	defer release()
	if extract {
		c.Batch = min(c.Batch, extracted)
	}
	bar := newBar(e.err)
	done, err := ingest.Run(ctx, files, sink, ingest.Options{
		Splitter: ingest.Splitter{Size: c.Size, Overlap: c.Overlap}, Batch: c.Batch, Parallel: c.Parallel,
		Graphers: graphers, Progress: bar.show,
	})
	bar.end(done)
	fmt.Fprintf(e.out, "%d documents: %d chunks written, %d unchanged, %d mentions\n", done.Documents, done.New, done.Unchanged, done.Mentions)
	if done.Without > 0 {
		fmt.Fprintf(e.out, "%d chunks in which no model found a graph\n", done.Without)
	}
	if done.Broken > 0 {
		fmt.Fprintf(e.out, "%d relations left out, as their subject, type or object is missing or no name\n", done.Broken)
	}
	told(e.err, append(closed, done.Failed...))
	switch {
	case err != nil:
		return err
	case len(done.Failed) > 0:
		return fmt.Errorf("%d of %d files failed", len(done.Failed), len(files))
	case len(closed) > 0:
		return fmt.Errorf("%d folders could not be listed", len(closed))
	}
	return nil
}

// check refuses flags that make no sense.
func (c *ingestCmd) check() error {
	switch {
	case c.Size < 50:
		return fmt.Errorf("--size %d: a chunk has 50 characters or more", c.Size)
	case c.Overlap < 0 || c.Overlap >= c.Size:
		return fmt.Errorf("--overlap %d: a chunk shares less than the %d characters that it has, and 0 or more", c.Overlap, c.Size)
	case c.Batch < 1:
		return fmt.Errorf("--batch %d: 1 chunk or more is written at once", c.Batch)
	case c.Parallel < 1:
		return fmt.Errorf("--parallel %d: 1 batch or more is written at the same time", c.Parallel)
	case c.Collection == "" || len(c.Collection) > 200:
		return fmt.Errorf("--collection %.20q: a collection has a name of 1 to 200 bytes", c.Collection)
	case c.Tenant == "":
		return errors.New(`--tenant "": the documents are somebody's; without keys that is default`)
	}
	return nil
}

// told says what failed. Files that failed together, for one reason, are one line.
func told(out io.Writer, failed []*ingest.FileError) {
	var reasons []string
	files := map[string][]string{}
	for _, f := range failed {
		why := f.Err.Error()
		if files[why] == nil {
			reasons = append(reasons, why)
		}
		files[why] = append(files[why], f.File)
	}
	const most = 3
	for _, why := range reasons {
		names := files[why]
		some := strings.Join(names[:min(len(names), most)], ", ")
		if n := len(names) - most; n > 0 {
			some += fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(out, "failed: %s: %s\n", some, why)
	}
}

// files finds what to ingest, and notes what is passed over. closed are folders that
// cannot be listed.
func (c *ingestCmd) files(e *env) (files []ingest.File, closed []*ingest.FileError, err error) {
	if c.Sample == (len(c.Paths) > 0) {
		return nil, nil, errors.New("name files or folders to ingest, or --sample")
	}
	if c.Sample {
		files, err = sampleFiles()
		return files, nil, err
	}
	for _, path := range c.Paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, nil, err
		}
		if !info.IsDir() {
			files = append(files, ingest.File{FS: os.DirFS(filepath.Dir(path)), Name: filepath.Base(path), Path: path})
			continue
		}
		fsys := os.DirFS(path)
		names, skipped, unlisted, err := ingest.Files(fsys, ".")
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", path, err)
		}
		for _, dir := range unlisted {
			closed = append(closed, &ingest.FileError{File: filepath.Join(path, dir.File), Err: dir.Err})
		}
		if len(names) == 0 {
			fmt.Fprintf(e.err, "nothing to read: %s: no txt, md, html or jsonl file in it\n", path)
		}
		for _, name := range names {
			files = append(files, ingest.File{FS: fsys, Name: name, Path: filepath.Join(path, name)})
		}
		for _, name := range skipped {
			fmt.Fprintf(e.err, "skipped: %s: no txt, md, html or jsonl file, or a link to one\n", filepath.Join(path, name))
		}
	}
	return files, closed, nil
}

// sampleFiles are the documents of the sample corpus.
func sampleFiles() ([]ingest.File, error) {
	corpus, err := fs.Sub(headrace.SampleCorpus, "examples/corpus")
	if err != nil {
		return nil, err
	}
	names, _, _, err := ingest.Files(corpus, ".")
	var files []ingest.File
	for _, name := range names {
		if strings.HasSuffix(name, ".md") {
			files = append(files, ingest.File{FS: corpus, Name: name})
		}
	}
	return files, err
}

// graphers are what makes the graph. For titles every file is read once more.
func graphers(kinds []string, files []ingest.File) ([]ingest.Grapher, error) {
	var out []ingest.Grapher
	for _, kind := range kinds {
		name, value, _ := strings.Cut(kind, ":")
		switch {
		case kind == "extract": // when chunks are written: it is asked for those that have changed
		case name == "titles" && value == "":
			out = append(out, ingest.NewTitles(titles(files)))
		case name == "triples" && value != "":
			f, err := os.Open(value)
			if err != nil {
				return nil, err
			}
			t, err := ingest.ReadTriples(f)
			_ = f.Close() // only read
			if err != nil {
				return nil, fmt.Errorf("%s: %w", value, err)
			}
			out = append(out, t)
		default:
			return nil, fmt.Errorf("--graph %q: it is titles, triples:FILE or extract", kind)
		}
	}
	return out, nil
}

// extracted is how many chunks are written at once when models are asked about each:
// a batch that has begun is finished whatever happens.
const extracted = 8

// extractor puts texts to the file's own endpoint for extraction, with the models,
// bounds and races that it is set up with.
func extractor(s *config.Snapshot, tenant string) (ingest.Extractor, error) {
	const path = "/graph/extract"
	at := slices.IndexFunc(s.Routes, func(r config.Route) bool { return slices.Contains(r.Paths, path) })
	if at < 0 {
		return nil, errors.New("there is no route for " + path + ", whose models --graph extract would ask: see `headrace docs serve_extract`")
	}
	route := s.Routes[at]
	return func(ctx context.Context, text string) (*graphjson.Graph, error) {
		ex := pipeline.Acquire(ctx)
		defer ex.Release()
		ex.Request.Body = append(chat.AppendString([]byte(`{"context":`), text), '}')
		ex.Request.Header.SetMethod(http.MethodPost)
		ex.Request.Header.SetRequestURI(path)
		ex.Request.Header.SetContentType("application/json")
		ex.Request.Header.SetContentLength(len(ex.Request.Body))
		ex.Route, ex.Tenant, ex.Models = route.Name, tenant, s.Models
		if err := route.Chain.Handle(ex.Context(), ex); err != nil {
			return nil, unextracted(err)
		}
		answer, _ := ex.Response.Whole()
		var found struct{ Data *graphjson.Graph }
		if err := json.Unmarshal(answer, &found); err != nil {
			return nil, fmt.Errorf("%s: the answer holds no graph: %w", path, err)
		}
		return found.Data, nil
	}, nil
}

// unextracted forgives that models answered and had no graph. That none of them could
// be asked is an error: another time they may.
func unextracted(err error) error {
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok || e.Code != "graph_extraction_failed" {
		return err
	}
	var why struct {
		Detail struct {
			Attempts []struct{ Outcome, Message string }
		}
	}
	if err := json.Unmarshal(e.Body, &why); err != nil {
		return e
	}
	said := "no model was asked"
	for _, a := range why.Detail.Attempts {
		if a.Outcome != "error" {
			return nil
		}
		said = a.Message
	}
	return errors.New(said)
}

// titles are those of all documents. Files that cannot be read are told of when
// they are ingested.
func titles(files []ingest.File) []string {
	var titles []string
	for _, f := range files {
		docs, _ := ingest.Read(f.FS, f.Name, f.Prefix)
		for i := range docs {
			if docs[i].Title != "" {
				titles = append(titles, docs[i].Title)
			}
		}
	}
	return titles
}

// sink opens what to write into; release closes it.
func (c *ingestCmd) sink(ctx context.Context, e *env) (sink ingest.Sink, release func(), err error) {
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, nil, fmt.Errorf("--url %q is no address of a gateway; write it as http://127.0.0.1:8080", c.URL)
		}
		if c.Tenant != rag.DefaultTenant {
			return nil, nil, errors.New("--tenant has no effect with --url: the key decides whose documents they are; leave it out, and give the key of that tenant as --key")
		}
		if c.Store+c.Embedder+c.GraphStore != "" {
			return nil, nil, errors.New("--store, --embedder and --graph-store have no effect with --url: the gateway's file decides; leave them out")
		}
		return &ingest.Gateway{URL: c.URL, Key: c.Key, Collection: c.Collection, Again: c.Again, Client: &http.Client{Timeout: 5 * time.Minute}}, func() {}, nil
	}
	src, err := source(c.Config)
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := config.Load(ctx, src, e.components, log, nil)
	if err != nil {
		if strings.Contains(err.Error(), "open already") {
			err = fmt.Errorf("%w\nif a gateway is running with this file, write through it with --url", err)
		}
		return nil, nil, err
	}
	store, err := openStore(s, c)
	if err == nil {
		err = lasting(store.Passages)
	}
	if err != nil {
		s.Release()
		return nil, nil, fmt.Errorf("%s: %w", src.File, err)
	}
	return store, s.Release, nil
}

// lasting refuses a store that would forget everything with the command's end.
func lasting(store any) error {
	if l, ok := store.(interface{ Lasting() bool }); ok && !l.Lasting() {
		return errors.New("the store of passages keeps everything in memory, which ends with this command: give it a path " +
			"(in the built-in file: HEADRACE_DATA=FOLDER), or write through a running gateway with --url")
	}
	return nil
}

// openStore finds the components to write with.
func openStore(s *config.Snapshot, c *ingestCmd) (*ingest.Store, error) {
	store := &ingest.Store{Tenant: c.Tenant, Collection: c.Collection, Again: c.Again}
	var err error
	if store.Passages, err = choose[pipeline.VectorStore](s, c.Store, "store of passages", "--store"); err != nil {
		return nil, err
	}
	if store.Passages == nil {
		return nil, errors.New("the file has no store of passages; add one, such as `stores: { kb: { embedded: { path: data } } }`")
	}
	if c.Embedder != "none" {
		if store.Embedder, err = choose[pipeline.Embedder](s, c.Embedder, "embedder", "--embedder"); err != nil {
			return nil, err
		}
	}
	if store.Graph, err = choose[pipeline.GraphStore](s, c.GraphStore, "store of a graph", "--graph-store"); err != nil {
		return nil, err
	}
	if store.Graph == nil && len(c.Graph) > 0 {
		return nil, errors.New("--graph has nothing to write into: the file has no store of a graph; add one, such as `stores: { kb: { embedded: { path: data } } }`")
	}
	if slices.Contains(c.Graph, "extract") {
		if store.Extract, err = extractor(s, c.Tenant); err != nil {
			return nil, err
		}
	}
	return store, nil
}

// choose returns the component called name; without a name the only one there
// is, or T's zero value if there is none.
func choose[T any](s *config.Snapshot, name, what, flag string) (component T, err error) {
	names := config.Names[T](s)
	if name == "" && len(names) == 1 {
		name = names[0]
	}
	if name == "" && len(names) == 0 {
		return component, nil
	}
	component, ok := config.Lookup[T](s, name)
	switch {
	case ok:
		return component, nil
	case name == "":
		return component, fmt.Errorf("there is more than one %s: choose with %s between %s", what, flag, strings.Join(names, ", "))
	}
	return component, fmt.Errorf("%s %q is no %s; there is: %s", flag, name, what, strings.Join(names, ", "))
}
