package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/rag"
)

// maxName bounds the words of a name that can be found in a text.
const maxName = 16

// A graph is all of one tenant's. What it hands out, properties among it, is
// replaced when it changes and never modified.
type graph struct {
	entities  map[string]*entity
	relations map[relationKey]*relation
	chunks    map[string]*chunk
	names     map[string][]*entity // by words as in a span
	words     map[string][]*entity // by the terms of name and id
}

type entity struct {
	pipeline.Entity
	edges  []edge // the heaviest first, then by type and other end
	chunks []*chunk
}

// degree is with how many relations and chunks an entity is connected.
func (e *entity) degree() int { return len(e.edges) + len(e.chunks) }

type relationKey struct{ src, kind, dst string }

type relation struct {
	pipeline.Relation
	weight float64
	docs   []string // that support it; "" for what was written without one
}

func keyOf(r *pipeline.Relation) relationKey { return relationKey{r.Src, r.Type, r.Dst} }

// An edge is a relation seen from one of its ends.
type edge struct {
	*relation
	to *entity
}

func compareEdges(a, b edge) int {
	return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.Type, b.Type),
		cmp.Compare(a.to.ID, b.to.ID), cmp.Compare(a.Src, b.Src))
}

type chunk struct {
	id, doc  string
	index    int
	entities []*entity
}

func newGraph() *graph {
	return &graph{
		entities: map[string]*entity{}, relations: map[relationKey]*relation{}, chunks: map[string]*chunk{},
		names: map[string][]*entity{}, words: map[string][]*entity{},
	}
}

// put adds an entity, or gives the one of its id what e says.
func (g *graph) put(e pipeline.Entity) {
	old := g.entities[e.ID]
	if old == nil {
		old = &entity{}
		g.entities[e.ID] = old
	} else if old.Name == e.Name {
		old.Entity = e
		return
	} else {
		g.forget(old)
	}
	old.Entity = e
	for _, key := range namesOf(&e) {
		g.names[key] = append(g.names[key], old)
	}
	for _, word := range wordsOf(&e) {
		g.words[word] = append(g.words[word], old)
	}
}

// forget takes an entity out of what finds it by its name.
func (g *graph) forget(e *entity) {
	drop := func(index map[string][]*entity, key string) {
		list := slices.DeleteFunc(index[key], func(x *entity) bool { return x == e })
		if index[key] = list; len(list) == 0 {
			delete(index, key)
		}
	}
	for _, key := range namesOf(&e.Entity) {
		drop(g.names, key)
	}
	for _, word := range wordsOf(&e.Entity) {
		drop(g.words, word)
	}
}

// namesOf returns what an entity is called, as keys of a span.
func namesOf(e *pipeline.Entity) []string {
	var out []string
	for _, name := range [...]string{e.Name, e.ID} {
		s := spanOf(clip(name, 1024), maxName+1)
		if n := len(s.ends); n == 0 || n > maxName || n == 1 && rag.NamesNothing(string(s.text[:len(s.text)-1])) {
			continue
		}
		if key := string(s.text); !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	return out
}

// wordsOf returns the different terms that an entity is found by.
func wordsOf(e *pipeline.Entity) []string {
	var out []string
	for _, text := range [...]string{e.Name, e.ID} {
		terms(clip(text, 1024), func(t string) {
			if len(out) < 2*maxTerms && !slices.Contains(out, t) {
				out = append(out, t)
			}
		})
	}
	return out
}

// relate adds a relation between entities that are there, or replaces it.
func (g *graph) relate(r *relation) {
	if old := g.relations[keyOf(&r.Relation)]; old != nil {
		g.separate(old)
	}
	g.relations[keyOf(&r.Relation)] = r
	src, dst := g.entities[r.Src], g.entities[r.Dst]
	src.insert(edge{r, dst})
	if src != dst {
		dst.insert(edge{r, src})
	}
}

// separate removes a relation.
func (g *graph) separate(r *relation) {
	delete(g.relations, keyOf(&r.Relation))
	src, dst := g.entities[r.Src], g.entities[r.Dst]
	src.remove(edge{r, dst})
	if src != dst {
		dst.remove(edge{r, src})
	}
}

func (e *entity) insert(x edge) {
	at, _ := slices.BinarySearchFunc(e.edges, x, compareEdges)
	e.edges = slices.Insert(e.edges, at, x)
}

func (e *entity) remove(x edge) {
	if at, ok := slices.BinarySearchFunc(e.edges, x, compareEdges); ok {
		e.edges = slices.Delete(e.edges, at, at+1)
	}
}

// mention says that a chunk, which is made if need be, names an entity.
func (g *graph) mention(id, doc string, index int, name string) {
	c := g.chunks[id]
	if c == nil {
		c = &chunk{id: id}
		g.chunks[id] = c
	}
	c.doc, c.index = doc, index
	e := g.entities[name]
	if !slices.Contains(c.entities, e) {
		c.entities = append(c.entities, e)
		e.chunks = append(e.chunks, c)
	}
}

// weightOf is the property weight of a relation, 1 without one.
func weightOf(props []pipeline.Prop) float64 {
	for _, p := range props {
		if p.Key == "weight" {
			if w, err := strconv.ParseFloat(string(p.Value), 64); err == nil {
				return w
			}
		}
	}
	return 1
}

// joined returns old with the newer properties over it. A property that is null
// is one that is not there.
func joined(old, newer []pipeline.Prop) []pipeline.Prop {
	out := slices.Clone(old)
	for _, p := range newer {
		at := slices.IndexFunc(out, func(o pipeline.Prop) bool { return o.Key == p.Key })
		switch null := string(p.Value) == "null" || len(p.Value) == 0; {
		case null && at >= 0:
			out = slices.Delete(out, at, at+1)
		case null:
		case at >= 0:
			out[at].Value = slices.Clone(p.Value)
		default:
			out = append(out, pipeline.Prop{Key: p.Key, Value: slices.Clone(p.Value)})
		}
	}
	return out
}

// frame puts strings into one, each behind its length.
func frame(list []string) []byte {
	out := []byte{}
	for _, s := range list {
		out = append(binary.AppendUvarint(out, uint64(len(s))), s...)
	}
	return out
}

// unframe reads what frame wrote.
func unframe(b []byte) ([]string, error) {
	var out []string
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return nil, fmt.Errorf("%w: a list breaks off", errDamaged)
		}
		out = append(out, string(b[size:size+int(n)]))
		b = b[size+int(n):]
	}
	return out, nil
}

func frameProps(props []pipeline.Prop) []byte {
	var list []string
	for _, p := range props {
		list = append(list, p.Key, string(p.Value))
	}
	return frame(list)
}

func unframeProps(b []byte) ([]pipeline.Prop, error) {
	list, err := unframe(b)
	if err != nil {
		return nil, err
	}
	if len(list)%2 != 0 {
		return nil, fmt.Errorf("%w: properties break off", errDamaged)
	}
	var out []pipeline.Prop
	for i := 0; i < len(list); i += 2 {
		out = append(out, pipeline.Prop{Key: list[i], Value: []byte(list[i+1])})
	}
	return out, nil
}

// graphOf returns a tenant's graph, which it makes if there is none.
func (s *store) graphOf(tenant string) *graph {
	g := s.graphs[tenant]
	if g == nil {
		g = newGraph()
		s.graphs[tenant] = g
	}
	return g
}

// loadGraph fills memory with the graphs of all tenants.
func (s *store) loadGraph(ctx context.Context) error {
	err := each(ctx, s.file.read, func(scan func(...any) error) error {
		var tenant string
		var e pipeline.Entity
		var props []byte
		err := scan(&tenant, &e.ID, &e.Type, &e.Name, &props)
		if err == nil {
			e.Props, err = unframeProps(props)
		}
		if err == nil {
			s.graphOf(tenant).put(e)
		}
		return err
	}, "SELECT tenant, id, type, name, props FROM entities")
	if err != nil {
		return err
	}
	if err := s.loadRelations(ctx); err != nil {
		return err
	}
	return each(ctx, s.file.read, func(scan func(...any) error) error {
		var tenant, id, doc, name string
		var index int
		if err := scan(&tenant, &id, &doc, &index, &name); err != nil {
			return err
		}
		g := s.graphOf(tenant)
		if g.entities[name] == nil {
			return fmt.Errorf("%w: a chunk mentions an entity that is not there", errDamaged)
		}
		g.mention(id, doc, index, name)
		return nil
	}, `SELECT m.tenant, m.chunk, c.doc_id, c.idx, m.entity
		FROM mentions m JOIN chunks c ON c.tenant = m.tenant AND c.id = m.chunk`)
}

// loadRelations sorts edges at the end: one by one would take long at a hub.
func (s *store) loadRelations(ctx context.Context) error {
	err := each(ctx, s.file.read, func(scan func(...any) error) error {
		var tenant string
		r := &relation{}
		var props, docs []byte
		err := scan(&tenant, &r.Src, &r.Type, &r.Dst, &props, &docs)
		if err == nil {
			r.Props, err = unframeProps(props)
		}
		if err == nil {
			r.docs, err = unframe(docs)
		}
		if err != nil {
			return err
		}
		g := s.graphOf(tenant)
		src, dst := g.entities[r.Src], g.entities[r.Dst]
		if src == nil || dst == nil {
			return fmt.Errorf("%w: a relation has an end that is not there", errDamaged)
		}
		r.weight = weightOf(r.Props)
		r.Src, r.Dst = src.ID, dst.ID // one copy of each
		g.relations[keyOf(&r.Relation)] = r
		src.edges = append(src.edges, edge{r, dst})
		if src != dst {
			dst.edges = append(dst.edges, edge{r, src})
		}
		return nil
	}, "SELECT tenant, src, type, dst, props, docs FROM relations")
	for _, g := range s.graphs {
		for _, e := range g.entities {
			slices.SortFunc(e.edges, compareEdges)
		}
	}
	return err
}
