// Package graphjson is the knowledge graph as clients and models write it:
//
//	{"nodes": [{"id", "type", "props": [{"key", "value"}]}], "edges": [{"src", "dst", "type", "props"}]}
//
// Normalise makes that of the many shapes that models answer with, and Validate
// says whether it keeps to the schema, which is checked here by hand: nothing is
// ever fetched for it.
package graphjson

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// Schema is the JSON Schema of a graph, for those who want to read it.
//
//go:embed schema.json
var Schema []byte

// SchemaHash is the SHA-256 of Schema in hexadecimal.
var SchemaHash = func() string {
	sum := sha256.Sum256(Schema)
	return hex.EncodeToString(sum[:])
}()

// What one graph may hold.
const (
	MaxNodes = 5000
	MaxEdges = 10000
)

// A Graph is a part of a knowledge graph. Its lists are never nil where
// Normalise made it.
type Graph struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// A Node is a thing.
type Node struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Props []Prop `json:"props"`
}

// An Edge says how two things relate.
type Edge struct {
	Src   string `json:"src"`
	Dst   string `json:"dst"`
	Type  string `json:"type"`
	Props []Prop `json:"props"`
}

// A Prop is one property. Its value is JSON.
type Prop struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// Validate reports the first thing about g that the schema does not allow.
func (g *Graph) Validate() error {
	if len(g.Nodes) > MaxNodes || len(g.Edges) > MaxEdges {
		return fmt.Errorf("the graph has %d nodes and %d edges; at most %d and %d are taken", len(g.Nodes), len(g.Edges), MaxNodes, MaxEdges)
	}
	for i, n := range g.Nodes {
		if n.ID == "" || n.Type == "" {
			return fmt.Errorf("nodes[%d] has no id or no type", i)
		}
		if err := scalars(n.Props); err != nil {
			return fmt.Errorf("nodes[%d] %w", i, err)
		}
	}
	for i, e := range g.Edges {
		if e.Src == "" || e.Dst == "" || e.Type == "" {
			return fmt.Errorf("edges[%d] has no src, no dst or no type", i)
		}
		if err := scalars(e.Props); err != nil {
			return fmt.Errorf("edges[%d] %w", i, err)
		}
	}
	return nil
}

func scalars(props []Prop) error {
	for _, p := range props {
		if p.Key == "" {
			return errors.New("has a property without a key")
		}
		if !scalar(p.Value) {
			return fmt.Errorf("has the property %.100q whose value is a list or an object", p.Key)
		}
	}
	return nil
}

func scalar(v json.RawMessage) bool { return len(v) > 0 && v[0] != '{' && v[0] != '[' }

// Prune drops properties that say nothing: without a key, null or blank.
func (g *Graph) Prune() {
	for i := range g.Nodes {
		g.Nodes[i].Props = pruned(g.Nodes[i].Props)
	}
	for i := range g.Edges {
		g.Edges[i].Props = pruned(g.Edges[i].Props)
	}
}

func pruned(props []Prop) []Prop {
	kept := props[:0]
	for _, p := range props {
		s, isText := chat.Text(p.Value)
		if p.Key == "" || string(p.Value) == "null" || isText && len(bytes.TrimSpace([]byte(s))) == 0 {
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

// Retype makes types of what a model calls types, as far as they are none, so that a graph
// store takes them. It returns what has become of those; nil if all were types.
func (g *Graph) Retype() (changed map[string]string) {
	as := func(was, without string) string {
		now := cmp.Or(pipeline.TypeOf(was), without)
		if now != was {
			if changed == nil {
				changed = map[string]string{}
			}
			changed[was] = now
		}
		return now
	}
	for i := range g.Nodes {
		if n := &g.Nodes[i]; n.Type != pipeline.GenericType {
			n.Type = as(n.Type, pipeline.GenericType)
		}
	}
	for i := range g.Edges {
		g.Edges[i].Type = as(g.Edges[i].Type, relatedTo)
	}
	return changed
}

// A Source is where a graph was found; all but the tenant may be empty. A chunk
// is one of a document.
type Source struct{ Tenant, Collection, DocID, ChunkID string }

// Write is what a graph store is asked to write of g. The chunk that it was found
// in mentions every entity, so that the way over the graph leads to and from it.
func (g *Graph) Write(from Source) pipeline.GraphWrite {
	w := pipeline.GraphWrite{Tenant: from.Tenant, DocID: from.DocID}
	w.Entities, w.Relations = g.store()
	if from.DocID == "" || from.ChunkID == "" {
		return w
	}
	m := pipeline.Mention{PointID: pipeline.PointID(from.Tenant, from.Collection, from.DocID, from.ChunkID, 0), DocID: from.DocID}
	named := map[string]bool{}
	mention := func(entity string) {
		if m.Entity = entity; !named[entity] {
			named[entity] = true
			w.Mentions = append(w.Mentions, m)
		}
	}
	for _, e := range w.Entities {
		mention(e.ID)
	}
	for _, r := range w.Relations {
		mention(r.Src)
		mention(r.Dst)
	}
	return w
}

// store is g as a graph store takes it. A value that no store keeps, a list or
// an object, is kept as its JSON text.
func (g *Graph) store() (entities []pipeline.Entity, relations []pipeline.Relation) {
	for _, n := range g.Nodes {
		e := pipeline.Entity{ID: n.ID, Type: n.Type, Props: stored(n.Props)}
		for _, p := range n.Props {
			if p.Key == "name" {
				e.Name, _ = chat.Text(p.Value)
			}
		}
		entities = append(entities, e)
	}
	for _, e := range g.Edges {
		relations = append(relations, pipeline.Relation{Src: e.Src, Dst: e.Dst, Type: e.Type, Props: stored(e.Props)})
	}
	return entities, relations
}

func stored(props []Prop) []pipeline.Prop {
	var out []pipeline.Prop
	for _, p := range props {
		v := []byte(p.Value)
		if len(v) == 0 {
			v = []byte("null")
		}
		if !scalar(v) {
			v = chat.AppendString(nil, string(v))
		}
		out = append(out, pipeline.Prop{Key: p.Key, Value: v})
	}
	return out
}

// Of is the graph of some relations, with those entities that they name; it is what
// Write takes apart.
func Of(entities map[string]*pipeline.Entity, relations []pipeline.Relation) *Graph {
	g := &Graph{Nodes: []Node{}, Edges: make([]Edge, 0, len(relations))}
	seen := map[string]bool{}
	for _, r := range relations {
		for _, id := range [...]string{r.Src, r.Dst} {
			e := entities[id]
			if e == nil || seen[id] {
				continue
			}
			seen[id] = true
			n := Node{ID: id, Type: e.Type, Props: shown(e.Props)}
			if e.Name != "" && !slices.ContainsFunc(n.Props, func(p Prop) bool { return p.Key == "name" }) {
				n.Props = append(n.Props, Prop{Key: "name", Value: chat.AppendString(nil, e.Name)})
			}
			g.Nodes = append(g.Nodes, n)
		}
		g.Edges = append(g.Edges, Edge{Src: r.Src, Dst: r.Dst, Type: r.Type, Props: shown(r.Props)})
	}
	return g
}

func shown(props []pipeline.Prop) []Prop {
	out := make([]Prop, 0, len(props)+1)
	for _, p := range props {
		out = append(out, Prop{Key: p.Key, Value: p.Value})
	}
	return out
}
