package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

// A File is one file to ingest.
type File struct {
	FS     fs.FS
	Name   string // within FS
	Prefix string // of the ids of its documents
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
	Failed []*FileError // what failed, each file once
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
				r.write(context.WithoutCancel(ctx), batch)
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
			r.fail(f.Prefix+f.Name, err)
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
	for _, parts := range Join(list) {
		id := parts[0].ID
		switch other, taken := r.ids[id]; {
		case taken && other == f.Prefix+f.Name:
			return docs, fmt.Errorf("another file is the document %q already: an id is the path below the folder that was named, so name each file once, or the folder above both", id)
		case taken:
			return docs, fmt.Errorf("the document %q is in %s already", id, other)
		}
		r.ids[id] = f.Prefix + f.Name
		p := Prepare(r.Splitter, parts)
		for _, g := range r.Graphers {
			g.Add(p)
		}
		docs = append(docs, p)
	}
	return docs, nil
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

// write writes one batch. A panic of a store is an error like any other.
func (r *run) write(ctx context.Context, batch []*Prepared) {
	done, err := func() (w Written, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("BUG: panic: %v", p)
			}
		}()
		return r.sink.Write(ctx, batch)
	}()
	if err != nil {
		for _, d := range batch {
			r.fail(d.Source, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.progress
	p.New, p.Unchanged = p.New+done.New, p.Unchanged+done.Unchanged
	p.Mentions, p.Without = p.Mentions+done.Mentions, p.Without+done.Without
	if err == nil {
		r.inRow = 0
		for _, d := range batch {
			if len(d.Chunks) > 0 {
				p.Documents++
			}
		}
	} else if r.inRow++; r.inRow == patience {
		r.err = fmt.Errorf("%d batches in a row could not be written; the last: %w", patience, err)
		close(r.broken)
	}
	r.report()
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
