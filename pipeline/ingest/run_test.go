package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/graphjson"
	"github.com/headrace/headrace/pipeline/ingest"
	"github.com/headrace/headrace/providers/embedded"
	"github.com/headrace/headrace/providers/embedder"
)

// A counting embedder tells how many texts it was given.
type counting struct {
	pipeline.Embedder
	mu sync.Mutex
	n  int
}

func (c *counting) Embed(ctx context.Context, texts []string, p pipeline.Purpose) ([][]float32, error) {
	c.mu.Lock()
	c.n += len(texts)
	c.mu.Unlock()
	return c.Embedder.Embed(ctx, texts, p)
}

func (c *counting) take() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n = 0
	return n
}

func open(t *testing.T) (*ingest.Store, *counting) {
	t.Helper()
	env := config.Env{Name: "kb", Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}
	s, err := embedded.Config{Durability: embedded.DurableProcess}.Build(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.(interface{ Close() error }).Close(); err != nil {
			t.Error(err)
		}
	})
	e, err := embedder.HashConfig{Dimensions: 64}.Build(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{Embedder: e}
	return &ingest.Store{Passages: s, Graph: s, Embedder: c, Tenant: "t", Collection: "kb"}, c
}

func files(fsys fstest.MapFS) []ingest.File {
	names, _, _, _ := ingest.Files(fsys, ".")
	var out []ingest.File
	for _, n := range names {
		out = append(out, ingest.File{FS: fsys, Name: n})
	}
	return out
}

func options(titles ...string) ingest.Options {
	return ingest.Options{
		Splitter: ingest.Splitter{Size: 40, Overlap: 10}, Batch: 4, Parallel: 3,
		Graphers: []ingest.Grapher{ingest.NewTitles(titles)},
	}
}

func points(t *testing.T, s *ingest.Store) int {
	t.Helper()
	info, err := s.Passages.Collection(t.Context(), "t", "kb")
	if err != nil {
		t.Fatal(err)
	}
	return info.Points
}

type renamed struct{ pipeline.Embedder }

func (renamed) Model() string { return "another" }

// What another model has embedded is not taken for unchanged, and nothing of it is lost.
func TestAnotherModel(t *testing.T) {
	s, _ := open(t)
	fsys := fstest.MapFS{"a.txt": {Data: []byte("The River Sorrel is long. The weir is of oak piles.")}}
	run := func() error {
		t.Helper()
		p, err := ingest.Run(t.Context(), files(fsys), s, options())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Failed {
			return f.Err
		}
		return nil
	}
	if err := run(); err != nil || points(t, s) != 2 {
		t.Fatal(err, points(t, s))
	}
	s.Embedder = renamed{s.Embedder}
	for _, text := range []string{"", "The River Sorrel is long."} { // the same, and shorter
		if text != "" {
			fsys["a.txt"] = &fstest.MapFile{Data: []byte(text)}
		}
		err := run()
		if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Code != "model_mismatch" || points(t, s) != 2 {
			t.Errorf("%v, %d points; want model_mismatch, 2", err, points(t, s))
		}
	}
	if _, err := s.Passages.Delete(t.Context(), "t", "kb", ""); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil || points(t, s) != 1 {
		t.Error(err, points(t, s))
	}
}

// The same files written again cost nothing; a change costs what has changed;
// and a document that has become shorter loses the rest.
func TestAgain(t *testing.T) {
	s, embedded := open(t)
	fsys := fstest.MapFS{
		"a.md":  {Data: []byte("# Weir\n\nA weir is a low dam here. It raises the River Sorrel. It is of oak piles.")},
		"b.txt": {Data: []byte("The River Sorrel is long.")},
		"c.jsonl": {Data: []byte(`{"doc_id":"c","id":"1","text":"first part","entities":["Ada"]}
{"doc_id":"c","id":"2","text":"second part"}`)},
	}
	f := func(wantNew, wantOld, wantEmbedded int) {
		t.Helper()
		p, err := ingest.Run(t.Context(), files(fsys), s, options("Weir", "River Sorrel"))
		if err != nil || len(p.Failed) > 0 {
			t.Fatal(err, p.Failed)
		}
		if got := embedded.take(); p.New != wantNew || p.Unchanged != wantOld || got != wantEmbedded || p.Documents != 3 || p.Files != 3 {
			t.Errorf("%+v, %d embedded", p, got)
		}
		if got := points(t, s); got != wantNew+wantOld {
			t.Errorf("%d points", got)
		}
	}
	f(6, 0, 6)
	f(0, 6, 0)
	related, err := s.Graph.Related(t.Context(), pipeline.RelatedQuery{
		Tenant: "t", Chunks: []string{pipeline.PointID("t", "kb", "b.txt", "", 0)}, Limit: 5, HubCap: 100, MaxSeeds: 10,
	})
	if err != nil || len(related) != 1 || related[0].DocID != "a.md" {
		t.Errorf("over the graph: %+v, %v", related, err)
	}
	fsys["b.txt"] = &fstest.MapFile{Data: []byte("The river is short.")}
	f(1, 5, 1)
	fsys["a.md"] = &fstest.MapFile{Data: []byte("# Weir\n\nA weir is a low dam here.")}
	f(0, 4, 0) // what is left has not changed
	found, err := s.Passages.Fetch(t.Context(), "t", "kb", []string{pipeline.PointID("t", "kb", "c", "", 1)})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if diff := cmp.Diff(`{"part":"2","source":"c.jsonl"}`, string(found[0].Metadata)); diff != "" || found[0].Text != "second part" {
		t.Errorf("%s%q", diff, found[0].Text)
	}
	s.Again = true
	f(4, 0, 4)
}

// A file that has become empty is a document without chunks: what it said before goes.
func TestEmptied(t *testing.T) {
	f := func(name, text, nothing string) {
		t.Helper()
		s, _ := open(t)
		fsys := fstest.MapFS{name: {Data: []byte(text)}, "other.txt": {Data: []byte("The River Sorrel is long.")}}
		for want := 2; want > 0; want-- {
			p, err := ingest.Run(t.Context(), files(fsys), s, options("Weir", "River Sorrel"))
			if got := points(t, s); err != nil || len(p.Failed) > 0 || p.Documents != want || got != want {
				t.Errorf("%s: %+v, %d points, %v", name, p, got, err)
			}
			fsys[name] = &fstest.MapFile{Data: []byte(nothing)}
		}
	}
	f("a.txt", "A weir is a low dam.", "")
	f("a.md", "# Weir\n\nA low dam.", "---\ntitle: Weir\n---\n\n")
	f("a.html", "<p>A weir is a low dam.", "<script>1</script>")
}

// A failing embedder is out of order.
type failing struct{ pipeline.Embedder }

func (failing) Embed(context.Context, []string, pipeline.Purpose) ([][]float32, error) {
	return nil, errors.New("out of order")
}

// A document that has become shorter stays as it was while no model can do its part,
// and is put right when one can.
func TestShorterWithoutModels(t *testing.T) {
	s, embedded := open(t)
	fsys := fstest.MapFS{"a.txt": {Data: []byte("A weir is a low dam here. It raises the river. It is of oak piles.")}}
	f := func(wantPoints, wantFailed int) {
		t.Helper()
		p, err := ingest.Run(t.Context(), files(fsys), s, options())
		if got := points(t, s); err != nil || got != wantPoints || len(p.Failed) != wantFailed {
			t.Errorf("%d points, %+v, %v", got, p, err)
		}
	}
	f(2, 0)
	fsys["a.txt"] = &fstest.MapFile{Data: []byte("A weir is a high dam here.")}
	s.Embedder = failing{embedded}
	f(2, 1)
	s.Embedder, s.Extract = embedded, func(context.Context, string) (*graphjson.Graph, error) { return nil, errors.New("out of order") }
	f(2, 1)
	s.Extract = nil
	f(1, 0)
}

// A gate lets a number of batches through and holds the next.
type gate struct {
	ingest.Sink
	pass func(docs []*ingest.Prepared) error
}

func (g gate) Write(ctx context.Context, docs []*ingest.Prepared, tell func(ingest.Written)) (ingest.Written, error) {
	if err := g.pass(docs); err != nil {
		return ingest.Written{}, err
	}
	if err := ctx.Err(); err != nil {
		return ingest.Written{}, err
	}
	return g.Sink.Write(ctx, docs, tell)
}

func many(n int) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := range n {
		fsys[fmt.Sprintf("%03d.txt", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "Text number %d.", i)}
	}
	return fsys
}

// An interrupted run finishes what it has begun, and a second does the rest.
func TestResume(t *testing.T) {
	s, embedded := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := options()
	o.Parallel = 1
	calls := 0
	first, err := ingest.Run(ctx, files(many(40)), gate{s, func([]*ingest.Prepared) error {
		if calls++; calls == 3 {
			cancel()
		}
		return nil
	}}, o)
	if !errors.Is(err, ingest.ErrInterrupted) || len(first.Failed) > 0 {
		t.Fatal(err, first.Failed)
	}
	if first.New != 12 || points(t, s) != 12 {
		t.Errorf("%d written, %d points", first.New, points(t, s))
	}
	embedded.take()
	second, err := ingest.Run(t.Context(), files(many(40)), s, o)
	if err != nil || second.New != 28 || second.Unchanged != 12 || embedded.take() != 28 {
		t.Errorf("%+v, %v", second, err)
	}
}

// What fails for a while is written later, when that was said to be.
func TestLater(t *testing.T) {
	busy := fmt.Errorf("embed: %w", &pipeline.Error{Status: 429, RetryAfter: 7 * time.Second, Err: errors.New("busy")})
	f := func(fails int, err error, stop time.Duration, wantTook time.Duration, wantCalls, wantFailed int, wantErr error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := sink(func(calls int) error {
				if calls <= fails {
					return err
				}
				return nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if stop > 0 {
				time.AfterFunc(stop, cancel)
			}
			o := options()
			waited := ""
			o.Progress = func(p ingest.Progress) {
				if p.Waiting != "" && waited == "" {
					waited = p.Waiting
				}
			}
			began := time.Now()
			p, err := ingest.Run(ctx, files(many(2)), s, o)
			if took := time.Since(began); took != wantTook || s.calls != wantCalls || len(p.Failed) != wantFailed || !errors.Is(err, wantErr) || p.Unchanged != 0 || (p.New == 2) != (wantFailed == 0 && wantErr == nil) {
				t.Errorf("took %v, %d calls, %d written, failed %v, %v", took, s.calls, p.New, p.Failed, err)
			}
			if wantTook > 0 && !strings.HasPrefix(waited, "again in 7s: embed: ") {
				t.Errorf("told %q", waited)
			}
		})
	}
	f(2, busy, 0, 14*time.Second, 3, 0, nil)
	f(99, busy, 0, (7+7+7+8+16+32)*time.Second, 7, 2, nil)
	f(99, busy, 10*time.Second, 10*time.Second, 2, 0, ingest.ErrInterrupted)
	f(1, &pipeline.Error{Status: 409, Fault: pipeline.CallerFault}, 0, 0, 1, 2, nil)
	f(1, errors.New("disk full"), 0, 0, 1, 2, nil)
}

// A document that is rejected takes no others with it, however many there are.
func TestRejected(t *testing.T) {
	s, _ := open(t)
	list := files(many(20))
	for i := range list {
		list[i].Path = "docs/" + list[i].Name
	}
	p, err := ingest.Run(t.Context(), list, gate{s, func(docs []*ingest.Prepared) error {
		for _, d := range docs {
			if d.ID[2] == '5' || d.ID < "004" {
				return fmt.Errorf("write: %w", &pipeline.Error{Status: 422, Fault: pipeline.CallerFault, Err: errors.New("too long")})
			}
		}
		return nil
	}}, options())
	if err != nil || len(p.Failed) != 6 || !strings.HasPrefix(p.Failed[0].File, "docs/0") || p.New != 14 || p.Documents != 14 {
		t.Errorf("%d written, failed %v, %v", p.New, p.Failed, err)
	}
}

// A scripted sink fails as it is told to, the first time when half is written.
type scripted struct {
	fails func(calls int) error
	calls int
}

func sink(fails func(calls int) error) *scripted { return &scripted{fails: fails} }

func (s *scripted) Write(_ context.Context, docs []*ingest.Prepared, tell func(ingest.Written)) (ingest.Written, error) {
	s.calls++
	err := s.fails(s.calls)
	switch {
	case s.calls == 1 && err != nil:
		tell(ingest.Written{New: 1})
		return ingest.Written{New: 1}, err // half of it
	case err != nil:
		return ingest.Written{}, err
	case s.calls > 1:
		return ingest.Written{New: len(docs) - 1, Unchanged: 1}, nil
	}
	return ingest.Written{New: len(docs)}, nil
}

// One large document shows how far it is, also while models are asked about it, and counts once.
func TestProgressWithinADocument(t *testing.T) {
	s, _ := open(t)
	s.Extract = func(context.Context, string) (*graphjson.Graph, error) { return nil, nil }
	text := strings.Repeat("The gate of the old mill was opened. ", 2000)
	o := options()
	o.Splitter = ingest.Splitter{Size: 60}
	var wrote, asked []int
	o.Progress = func(p ingest.Progress) { wrote, asked = append(wrote, p.New), append(asked, p.Asked) }
	p, err := ingest.Run(t.Context(), files(fstest.MapFS{"a.txt": {Data: []byte(text)}}), s, o)
	if err != nil || p.New != 2000 || p.Asked != 2000 || p.Without != 2000 {
		t.Fatalf("%+v %v", p, err)
	}
	if !slices.IsSorted(wrote) || !slices.Contains(wrote, 1792) || !slices.Contains(wrote, 256) || wrote[len(wrote)-1] != 2000 {
		t.Errorf("written: %v", wrote)
	}
	if !slices.IsSorted(asked) || !slices.Contains(asked, 1000) || asked[len(asked)-1] != 2000 {
		t.Errorf("asked: %d times", len(asked))
	}
}

// What fails is listed, and does not keep the rest from being written.
func TestFailures(t *testing.T) {
	s, _ := open(t)
	fsys := many(40)
	fsys["bad.txt"] = &fstest.MapFile{Data: []byte("\xff")}
	fsys["same.jsonl"] = &fstest.MapFile{Data: []byte(`{"id":"000.txt","text":"x"}` + "\n" + `{"id":"own","text":"y"}`)}
	o := options()
	shown := 0
	o.Progress = func(ingest.Progress) { shown++ }
	list := files(fsys)
	list[len(list)-1].Path = "docs/same.jsonl"
	p, err := ingest.Run(t.Context(), list, gate{s, func(docs []*ingest.Prepared) error {
		for _, d := range docs {
			if d.ID == "005.txt" {
				panic("broken")
			}
		}
		return nil
	}}, o)
	if err != nil || p.New != 37 || shown < 10 {
		t.Errorf("%+v, %v, shown %d times", p, err, shown)
	}
	got := map[string]string{}
	for _, f := range p.Failed {
		got[f.File] = f.Err.Error()
	}
	for file, want := range map[string]string{"bad.txt": "UTF-8", "docs/same.jsonl": "in 000.txt already, and left out here: give one of them another id", "004.txt": "broken", "007.txt": "broken"} {
		if !strings.Contains(got[file], want) {
			t.Errorf("%s: %q", file, got[file])
		}
	}
	if len(got) != 6 {
		t.Errorf("failed: %v", got)
	}

	twice := many(1)
	p, err = ingest.Run(t.Context(), append(files(twice), files(twice)...), s, options())
	if err != nil || len(p.Failed) != 1 || !strings.Contains(p.Failed[0].Error(), "name each file once, or the folder above both") {
		t.Errorf("%v, %v", p.Failed, err)
	}

	down := errors.New("store is down")
	calls := 0
	o.Parallel = 1
	p, err = ingest.Run(t.Context(), files(many(40)), gate{s, func([]*ingest.Prepared) error { calls++; return down }}, o)
	if !errors.Is(err, down) || calls > 4 || p.Documents != 0 {
		t.Errorf("a store that is down: %v after %d calls", err, calls)
	}
}
