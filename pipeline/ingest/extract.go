package ingest

import (
	"context"
	"fmt"
	"sync"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/graphjson"
)

// An Extractor has a model make a graph of a text; nil means that it found none there.
// An error means that nobody could be asked.
type Extractor func(ctx context.Context, text string) (*graphjson.Graph, error)

// asking is how many chunks of one document are with a model at the same time.
const asking = 4

// extract adds to d what models make of its chunks, and calls asked after each, one at a
// time. Of those that nothing could be made of it returns how many there are.
func (s *Store) extract(ctx context.Context, d *Prepared, asked func()) (without int, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	graphs := make([]*graphjson.Graph, len(d.Chunks))
	free := make(chan struct{}, asking)
	var workers sync.WaitGroup
	var once sync.Once
	var telling sync.Mutex
	for k := range d.Chunks {
		free <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		workers.Go(func() {
			defer func() { <-free }()
			g, failed := s.ask(ctx, d.Chunks[k].Text)
			if graphs[k] = g; failed != nil {
				once.Do(func() { err = fmt.Errorf("extract a graph from chunk %d of %q: %w", k+1, d.ID, failed) })
				stop()
				return
			}
			telling.Lock()
			defer telling.Unlock()
			asked()
		})
	}
	workers.Wait()
	if err == nil {
		err = ctx.Err()
	}
	for k, g := range graphs {
		if g == nil {
			without++
			continue
		}
		d.take(k, g)
	}
	return without, err
}

// ask makes a panic of the extractor an error.
func (s *Store) ask(ctx context.Context, text string) (g *graphjson.Graph, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("BUG: panic: %v", v)
		}
	}()
	return s.Extract(ctx, text)
}

// take adds a graph that was found in chunk k, which mentions all its entities. What
// has the same name in several graphs is one entity.
func (p *Prepared) take(k int, g *graphjson.Graph) {
	g.Retype()
	w := g.Write(graphjson.Source{})
	ids := make(map[string]string, len(w.Entities)) // by those of the graph
	named := make(map[string]bool, len(w.Entities))
	end := func(name string) string {
		if id := ids[name]; id != "" {
			return id
		}
		if id := entityID(name); named[id] { // models name nodes by their names, too
			return id
		}
		return ""
	}
	for _, e := range w.Entities {
		name := e.Name
		if name == "" {
			name = e.ID
		}
		id := p.entity(name, e.Type)
		if id == "" {
			continue
		}
		ids[e.ID], named[id] = id, true
		p.Chunks[k].link(id)
		for i := range p.Entities {
			if p.Entities[i].ID == id && p.Entities[i].Props == nil {
				p.Entities[i].Props = e.Props
			}
		}
	}
	for _, r := range w.Relations {
		src, dst := end(r.Src), end(r.Dst)
		if src == "" || dst == "" { // or is no node of the graph
			p.Broken++
			continue
		}
		p.Relations = append(p.Relations, pipeline.Relation{Src: src, Dst: dst, Type: r.Type, Props: r.Props})
	}
}
