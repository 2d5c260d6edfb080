package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A File is one file to ingest.
type File struct {
	FS     fs.FS
	Name   string // within FS
	Prefix string // of the ids of its documents
	Path   string // what messages call it; empty: Prefix and Name
}

func (f *File) path() string {
	if f.Path != "" {
		return f.Path
	}
	return f.Prefix + f.Name
}

// Options are what an ingestion does, and how.
type Options struct {
	Splitter Splitter
	Batch    int       // chunks that are written at once; a document is never parted
	Parallel int       // batches that are written at the same time
	Graphers []Grapher // what the graph is made from
	// Progress is told of every batch and of every file that failed, one at a
	// time. It may be nil.
	Progress func(Progress)
}

// Progress is how far an ingestion has come.
type Progress struct {
	Files, AllFiles int // read, and in all
	Documents       int // written
	Written
	Failed  []*FileError // what failed, each file once
	Waiting string       // why nothing is written just now, and how long that takes; or empty
}

// ErrInterrupted says that an ingestion was told to stop. What was written stays;
// doing the same again goes on from there.
var ErrInterrupted = errors.New("interrupted; what is written stays, and the same command goes on from there")

var errBroken = errors.New("nothing can be written") // Run replaces it by the reason

// patience is how many batches may fail in a row before the rest is left.
const patience = 3

// Run reads the files and writes their documents. When ctx ends it finishes the
// batches in flight and returns ErrInterrupted. Files that fail are listed in
// the Progress returned and do not keep others from being written; if nothing
// can be written any more, the error says so.
func Run(ctx context.Context, files []File, sink Sink, o Options) (Progress, error) {
	r := &run{sink: sink, Options: o, batches: make(chan []*Prepared), broken: make(chan struct{}), ids: map[string]string{}}
	r.progress.AllFiles = len(files)
	var workers sync.WaitGroup
	for range max(o.Parallel, 1) {
		workers.Go(func() {
			for batch := range r.batches {
				r.write(ctx, batch)
			}
		})
	}
	err := r.read(ctx, files)
	close(r.batches)
	workers.Wait()
	if r.err != nil {
		err = r.err
	}
	return r.progress, err
}

// A run is one ingestion. Its reader is the caller's goroutine.
type run struct {
	Options
	sink    Sink
	batches chan []*Prepared
	broken  chan struct{} // closed once nothing can be written any more
	ids     map[string]string

	mu       sync.Mutex
	progress Progress
	inRow    int
	err      error
}

// read sends what the files hold to the writers, in batches.
func (r *run) read(ctx context.Context, files []File) error {
	var batch []*Prepared
	chunks := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		// Whether to stop comes first: a writer may be free as well.
		if ctx.Err() != nil {
			return ErrInterrupted
		}
		select {
		case <-r.broken:
			return errBroken
		default:
		}
		select {
		case r.batches <- batch:
		case <-r.broken:
			return errBroken
		case <-ctx.Done():
			return ErrInterrupted
		}
		batch, chunks = nil, 0
		return nil
	}
	for _, f := range files {
		docs, err := r.documents(f)
		if err != nil {
			r.fail(f.path(), err)
		}
		for _, d := range docs {
			if chunks > 0 && chunks+len(d.Chunks) > r.Batch {
				if err := flush(); err != nil {
					return err
				}
			}
			batch, chunks = append(batch, d), chunks+len(d.Chunks)
		}
		r.mu.Lock()
		r.progress.Files++
		r.mu.Unlock()
	}
	return flush()
}

// documents reads and cuts one file.
func (r *run) documents(f File) ([]*Prepared, error) {
	list, err := Read(f.FS, f.Name, f.Prefix)
	if err != nil {
		return nil, err
	}
	var docs []*Prepared
	var clash error // the first
	broken := 0
	for _, parts := range Join(list) {
		id := parts[0].ID
		if other, taken := r.ids[id]; taken {
			fix := "give one of them another id"
			if id == f.Prefix+f.Name {
				fix = "an id is the path below the folder that was named, so name each file once, or the folder above both"
			}
			if clash == nil {
				clash = fmt.Errorf("the document %q is in %s already, and left out here: %s", id, other, fix)
			}
			continue
		}
		r.ids[id] = f.path()
		p := Prepare(r.Splitter, parts)
		p.Source = f.path()
		for _, g := range r.Graphers {
			g.Add(p)
		}
		broken += p.Broken
		docs = append(docs, p)
	}
	r.mu.Lock()
	r.progress.Broken += broken
	r.mu.Unlock()
	return docs, clash
}

// Join puts the parts of each document together, in the order they came.
func Join(list []Document) [][]Document {
	var out [][]Document
	at := map[string]int{}
	for _, d := range list {
		i, ok := at[d.ID]
		if !ok {
			i = len(out)
			at[d.ID] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], d)
	}
	return out
}

// write writes one batch. What fails for a while is tried again until ctx ends; what is
// under way then is finished. A panic of a store is an error like any other.
func (r *run) write(ctx context.Context, batch []*Prepared) {
	var before Written // by attempts before this one
	var told Written   // of what is counted already
	tell := func(w Written) {
		r.mu.Lock()
		defer r.mu.Unlock()
		p := &r.progress
		p.New, p.Asked = p.New+before.New+w.New-told.New, p.Asked+w.Asked-told.Asked
		told.New, told.Asked = before.New+w.New, w.Asked
		r.report()
	}
	once := func() (w Written, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("BUG: panic: %v", p)
			}
		}()
		return r.sink.Write(context.WithoutCancel(ctx), batch, tell)
	}
	done, err := once()
	for n := 0; err != nil && n < tries; n++ {
		wait, ok := later(err)
		if !ok {
			break
		}
		wait = min(max(wait, time.Second<<n), longest)
		if !r.wait(ctx, wait, err) {
			if ctx.Err() != nil {
				err = ErrInterrupted
			}
			break
		}
		before = done
		done, err = once()
		done.New, done.Unchanged = done.New+before.New, max(0, done.Unchanged-before.New)
	}
	if errors.Is(err, ErrInterrupted) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = cmp.Or(r.err, err)
		return
	}
	alone := rejected(err)
	if alone && len(batch) > 1 { // for what is in one of them, perhaps
		before = Written{}
		tell(Written{}) // each counts for itself
		for i := range batch {
			r.write(ctx, batch[i:i+1])
		}
		return
	}
	if err != nil {
		for _, d := range batch {
			r.fail(d.Source, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.progress
	p.New, p.Unchanged = p.New+done.New-told.New, p.Unchanged+done.Unchanged
	p.Mentions, p.Without, p.Broken = p.Mentions+done.Mentions, p.Without+done.Without, p.Broken+done.Broken
	p.Asked += done.Asked - told.Asked
	if err == nil {
		r.inRow = 0
		for _, d := range batch {
			if len(d.Chunks) > 0 {
				p.Documents++
			}
		}
	} else if alone {
		r.inRow = 0 // the next one may be taken
	} else if r.inRow++; r.inRow == patience && r.err == nil {
		r.err = fmt.Errorf("%d batches in a row could not be written; the last: %w", patience, err)
		close(r.broken)
	}
	r.report()
}

// tries is how often a batch is written again that fails for a while: for two minutes,
// or longer if so asked. longest is the longest wait in between.
const (
	tries   = 6
	longest = 5 * time.Minute
)

// later reports whether what failed may work another time, and when, if that was said.
func later(err error) (wait time.Duration, ok bool) {
	if e, ok := errors.AsType[*refusal](err); ok {
		return e.wait, e.passing
	}
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		return e.RetryAfter, e.Status == 429 || e.Status == 502 || e.Status == 503 || e.Status == 504
	}
	return 0, false
}

// rejected reports whether it was for what is in the documents that they were not
// written.
func rejected(err error) bool {
	status := 0
	if e, ok := errors.AsType[*refusal](err); ok {
		status = e.status
	} else if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Fault == pipeline.CallerFault {
		status = e.Status
	}
	return status == 400 || status == 413 || status == 422
}

// wait waits before a batch is written again, and says so. It reports false if ctx has
// ended, or others have found that nothing can be written any more.
func (r *run) wait(ctx context.Context, d time.Duration, why error) bool {
	tell := func(waiting string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.progress.Waiting = waiting
		r.report()
	}
	tell(fmt.Sprintf("again in %s: %v", d.Round(time.Second), why))
	defer tell("")
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.broken:
		return false
	case <-ctx.Done():
		return false
	}
}

// fail notes that a file could not be read or written.
func (r *run) fail(file string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.progress.Failed {
		if f.File == file {
			return
		}
	}
	r.progress.Failed = append(r.progress.Failed, &FileError{file, err})
	r.report()
}

func (r *run) report() {
	if r.Progress != nil {
		r.Progress(r.progress)
	}
}
