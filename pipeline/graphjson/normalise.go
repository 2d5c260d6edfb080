package graphjson

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// What models call the two lists.
var (
	nodeLists = []string{"nodes", "entities"}
	edgeLists = []string{"edges", "relations", "relationships"}
)

// relatedTo is the type of an edge that has none.
const relatedTo = "RELATED_TO"

var (
	errNoJSON  = errors.New("the answer holds no JSON object or list")
	errNoGraph = errors.New("the answer's JSON is no graph: it has neither nodes nor edges")
)

// Find returns the JSON object or list in what a model said: the whole of it,
// the inside of a fenced block, or the first between other words.
func Find(said string) (json.RawMessage, error) {
	b := []byte(said)
	// An object that is cut off, or no JSON, may be followed by a whole one. A list
	// behind it may be its own, such as its nodes without its edges.
	broken := false
	// The tries are bounded, so that a text of braces costs no square of its
	// length.
	for range 32 {
		i := bytes.IndexAny(b, "{[")
		if i < 0 {
			break
		}
		b = b[i:]
		var v json.RawMessage
		if json.NewDecoder(bytes.NewReader(b)).Decode(&v) == nil && chat.Valid(v) == nil {
			if !broken || first(v, nodeLists...) != nil && first(v, edgeLists...) != nil {
				return v, nil
			}
			b = b[len(v):]
			continue
		}
		if next := bytes.TrimLeft(b[1:], " \t\r\n"); b[0] == '{' && len(next) > 0 && next[0] == '"' {
			broken = true
		}
		b = b[1:]
	}
	return nil, errNoJSON
}

// Normalise makes a graph of the JSON value raw. It takes name and node_id for
// an id, label and labels for a type, source, target, from and to for the ends
// of an edge, a dictionary for properties, a bare list or items for the nodes.
// Nodes with the same id become one. What has no type is an Entity, or
// RELATED_TO; what has no id keeps none, which Validate refuses.
func Normalise(raw json.RawMessage) (*Graph, error) {
	g := &Graph{Nodes: []Node{}, Edges: []Edge{}}
	known := map[string]int{}
	node := func(v json.RawMessage) {
		n := nodeOf(v)
		if i, ok := known[n.ID]; ok && n.ID != "" {
			g.Nodes[i].Props = joined(g.Nodes[i].Props, n.Props)
			if g.Nodes[i].Type == pipeline.GenericType {
				g.Nodes[i].Type = n.Type
			}
			return
		}
		known[n.ID] = len(g.Nodes)
		n.Props = joined([]Prop{}, n.Props)
		g.Nodes = append(g.Nodes, n)
	}
	either := func(v json.RawMessage) {
		if first(v, "src", "source", "from") != nil {
			g.Edges = append(g.Edges, edgeOf(v))
		} else {
			node(v)
		}
	}
	if len(raw) > 0 && raw[0] == '[' {
		for v := range chat.Array(raw) {
			either(v)
		}
		return g, nil
	}
	nodes, edges, items := first(raw, nodeLists...), first(raw, edgeLists...), first(raw, "items")
	if nodes == nil && edges == nil && items == nil {
		return nil, errNoGraph
	}
	for v := range chat.Array(nodes) {
		node(v)
	}
	for v := range chat.Array(items) {
		either(v)
	}
	for v := range chat.Array(edges) {
		g.Edges = append(g.Edges, edgeOf(v))
	}
	return g, nil
}

func nodeOf(v json.RawMessage) Node {
	n := Node{ID: name(v, "id", "node_id", "name"), Type: name(v, "type", "label")}
	if n.Type == "" {
		for l := range chat.Array(first(v, "labels")) {
			n.Type, _ = chat.Text(l)
			break
		}
	}
	if n.Type == "" {
		n.Type = pipeline.GenericType
	}
	n.Props = propsOf(v)
	if called := name(v, "name"); called != "" {
		n.Props = joined(n.Props, []Prop{{Key: "name", Value: chat.AppendString(nil, called)}})
	}
	return n
}

func edgeOf(v json.RawMessage) Edge {
	e := Edge{
		Src: name(v, "src", "source", "from"), Dst: name(v, "dst", "target", "to"),
		Type: name(v, "type", "label", "relation"), Props: joined([]Prop{}, propsOf(v)),
	}
	if e.Type == "" {
		e.Type = relatedTo
	}
	return e
}

// propsOf reads properties, as a list of keys and values or as a dictionary.
func propsOf(v json.RawMessage) []Prop {
	raw := first(v, "props", "properties")
	var out []Prop
	if len(raw) > 0 && raw[0] == '{' {
		for k, v := range chat.Object(raw) {
			out = append(out, Prop{Key: string(k), Value: v})
		}
		return out
	}
	for p := range chat.Array(raw) {
		value := json.RawMessage(chat.Get(p, "value"))
		if value == nil {
			value = json.RawMessage("null")
		}
		out = append(out, Prop{Key: name(p, "key"), Value: value})
	}
	return out
}

// joined adds to props those of more that it does not hold yet.
func joined(props, more []Prop) []Prop {
	type pair struct{ key, value string }
	have := map[pair]bool{}
	for _, p := range props {
		have[pair{p.Key, string(p.Value)}] = true
	}
	for _, p := range more {
		if k := (pair{p.Key, string(p.Value)}); !have[k] {
			have[k] = true
			props = append(props, p)
		}
	}
	return props
}

// first is the value of the first of these keys that v has.
func first(v json.RawMessage, keys ...string) json.RawMessage {
	for _, k := range keys {
		if got := chat.Get(v, k); got != nil && string(got) != "null" {
			return got
		}
	}
	return nil
}

// name is the text of the first of these keys that has one. Numbers count: some
// models number their nodes.
func name(v json.RawMessage, keys ...string) string {
	for _, k := range keys {
		got := chat.Get(v, k)
		if s, ok := chat.Text(got); ok && s != "" {
			return s
		}
		if _, ok := chat.Int(got); ok {
			return string(got)
		}
	}
	return ""
}
