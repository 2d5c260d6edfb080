package graphjson

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

func TestNormalise(t *testing.T) {
	f := func(said, want string) {
		t.Helper()
		raw, err := Find(said)
		var g *Graph
		if err == nil {
			g, err = Normalise(raw)
		}
		if err == nil {
			g.Prune()
			err = g.Validate()
		}
		got := "error"
		if err == nil {
			b, _ := json.Marshal(g)
			got = string(b)
		}
		if got != want {
			t.Errorf("%s\ngot  %s %v\nwant %s", said, got, err, want)
		}
	}
	const two = `{"nodes":[{"id":"a","type":"Entity","props":[]},{"id":"b","type":"Entity","props":[]}],"edges":[{"src":"a","dst":"b","type":"RELATED_TO","props":[]}]}`
	const asTwo = `{"nodes":[{"id":"a"},{"id":"b"}],"edges":[{"src":"a","dst":"b"}]}`
	f(asTwo, two)
	f("```json\n"+asTwo+"\n```", two)
	f("Here: "+asTwo+" done {", two)
	f(`The form {"nodes":[...],"edges":[...]} is filled in so: `+asTwo, two)
	f(`In {words}: [{"id":"a"},{"id":"b"},{"from":"a","to":"b"}]`, two)
	// A part of what is no whole is no answer: its edges would be lost without a word.
	f(`{"nodes":[{"id":"a"},{"id":"b"}],"edges":[{"src":"a","dst":"b"},]}`, "error")
	f(`{"nodes":[{"id":"a"},{"id":"b"}],"edges":[{"src":"a","ds`, "error")
	f("```json\n{ \"nodes\":[{\"id\":\"a\"},{\"id\":\"b\"}], edges: []}\n```", "error")
	f(`{"nodes":[],"edges":[{"src":"a"`, "error")
	f(`{"graph":`+asTwo, two) // whole in itself
	f("[1] "+asTwo, "error")  // the first whole value is a list of no nodes
	f(`[{"id":"a"},{"id":"b"},{"from":"a","to":"b"}]`, two)
	f(`{"items":[{"id":"a"},{"id":"b"},{"source":"a","target":"b"}]}`, two)
	f(`{"nodes":[{"name":"Bob","label":"Person","props":{"age":3}},{"node_id":"acme","labels":["Company","Org"]},{"id":"x"}],"edges":[{"source":"Bob","target":"acme","label":"WORKS"}]}`,
		`{"nodes":[{"id":"Bob","type":"Person","props":[{"key":"age","value":3},{"key":"name","value":"Bob"}]},{"id":"acme","type":"Company","props":[]},{"id":"x","type":"Entity","props":[]}],"edges":[{"src":"Bob","dst":"acme","type":"WORKS","props":[]}]}`)
	f(`{"nodes":[{"id":"a","type":"T","props":[{"key":"k","value":1}]},{"id":"a","type":"U","props":[{"key":"k","value":1},{"key":"k","value":2}]}],"edges":[]}`,
		`{"nodes":[{"id":"a","type":"T","props":[{"key":"k","value":1},{"key":"k","value":2}]}],"edges":[]}`)
	f(`{"nodes":[{"id":"a"},{"id":"a","type":"T"},{"id":"a"}]}`, `{"nodes":[{"id":"a","type":"T","props":[]}],"edges":[]}`)
	f(`{"nodes":[{"id":"a","props":[{"key":"","value":1},{"key":"n","value":null},{"key":"s","value":"  "},{"key":"z","value":0},{"key":"f","value":false}]}]}`,
		`{"nodes":[{"id":"a","type":"Entity","props":[{"key":"z","value":0},{"key":"f","value":false}]}],"edges":[]}`)
	f(`{"nodes":[{"id":7}]}`, `{"nodes":[{"id":"7","type":"Entity","props":[]}],"edges":[]}`)
	f(`{"nodes":[{"type":"T"}],"edges":[]}`, "error")
	f(`{"nodes":[{"id":"a","props":{"o":{"x":1}}}],"edges":[]}`, "error")
	f(`{"edges":[{"src":"a"}]}`, "error")
	f(`{"a":1}`, "error")
	f(`sorry`, "error")
	f(``, "error")
}

func TestStore(t *testing.T) {
	g, err := Normalise(json.RawMessage(`{"nodes":[{"id":"a","name":"A","props":{"o":{"x":[1]},"n":null}}],"edges":[{"src":"a","dst":"a","type":"R"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	w := g.Write(Source{Tenant: "t", Collection: "kb", DocID: "d"})
	entities, relations := w.Entities, w.Relations
	if len(entities) != 1 || entities[0].Name != "A" || string(entities[0].Props[0].Value) != `"{\"x\":[1]}"` || len(relations) != 1 || relations[0].Type != "R" {
		t.Errorf("%+v %+v", entities, relations)
	}
	if w.Tenant != "t" || w.DocID != "d" || w.Mentions != nil {
		t.Errorf("%+v", w)
	}
	g.Edges[0].Dst = "b"
	mentions := g.Write(Source{Tenant: "t", Collection: "kb", DocID: "d", ChunkID: "c"}).Mentions
	id := pipeline.PointID("t", "kb", "d", "c", 7)
	if g.Edges[0].Src = "c"; len(g.Write(Source{DocID: "d", ChunkID: "c"}).Mentions) != 3 || g.Write(Source{ChunkID: "c"}).Mentions != nil {
		t.Error("the chunk does not mention all that its graph names, or there is none")
	}
	if len(mentions) != 2 || mentions[0] != (pipeline.Mention{PointID: id, DocID: "d", Entity: "a"}) || mentions[1].PointID != id || mentions[1].Entity != "b" {
		t.Errorf("%+v", mentions)
	}
}

// Validate holds a graph to the schema, wherever it comes from.
func TestValidate(t *testing.T) {
	node := Node{ID: "a", Type: "T", Props: []Prop{{"k", json.RawMessage("1")}}}
	edge := Edge{Src: "a", Dst: "b", Type: "R", Props: []Prop{{"k", json.RawMessage(`"v"`)}}}
	f := func(want string, change func(g *Graph)) {
		t.Helper()
		g := &Graph{Nodes: []Node{node, node}, Edges: []Edge{edge, edge}}
		change(g)
		got := ""
		if err := g.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	props := func(key, value string) []Prop { return []Prop{{key, json.RawMessage(value)}} }
	f("", func(*Graph) {})
	f("", func(g *Graph) {
		g.Nodes, g.Edges = slices.Repeat(g.Nodes, MaxNodes/2), slices.Repeat(g.Edges, MaxEdges/2)
	})
	f("the graph has 5002 nodes and 2 edges; at most 5000 and 10000 are taken", func(g *Graph) { g.Nodes = slices.Repeat(g.Nodes, MaxNodes/2+1) })
	f("the graph has 2 nodes and 10002 edges; at most 5000 and 10000 are taken", func(g *Graph) { g.Edges = slices.Repeat(g.Edges, MaxEdges/2+1) })
	f("nodes[1] has no id or no type", func(g *Graph) { g.Nodes[1].ID = "" })
	f("nodes[1] has no id or no type", func(g *Graph) { g.Nodes[1].Type = "" })
	f("nodes[1] has a property without a key", func(g *Graph) { g.Nodes[1].Props = props("", "1") })
	f(`nodes[1] has the property "k" whose value is a list or an object`, func(g *Graph) { g.Nodes[1].Props = props("k", "[1]") })
	f("edges[1] has no src, no dst or no type", func(g *Graph) { g.Edges[1].Src = "" })
	f("edges[1] has no src, no dst or no type", func(g *Graph) { g.Edges[1].Dst = "" })
	f("edges[1] has no src, no dst or no type", func(g *Graph) { g.Edges[1].Type = "" })
	f("edges[1] has a property without a key", func(g *Graph) { g.Edges[1].Props = props("", "1") })
	f(`edges[1] has the property "k" whose value is a list or an object`, func(g *Graph) { g.Edges[1].Props = props("k", `{"a":1}`) })
}

// A subgraph shows each entity once, by the name that it has, and every relation.
func TestOf(t *testing.T) {
	named := []pipeline.Prop{{Key: "name", Value: []byte(`"own"`)}}
	g := Of(map[string]*pipeline.Entity{
		"a": {ID: "a", Type: "T", Name: "A"}, "b": {ID: "b", Type: "U", Name: "B", Props: named}, "c": {ID: "c", Type: "V"}, "d": {ID: "d"},
	}, []pipeline.Relation{
		{Src: "a", Dst: "b", Type: "R", Props: []pipeline.Prop{{Key: "k", Value: []byte("1")}}}, {Src: "b", Dst: "c", Type: "R"}, {Src: "c", Dst: "gone", Type: "S"},
	})
	got, _ := json.Marshal(g)
	const want = `{"nodes":[{"id":"a","type":"T","props":[{"key":"name","value":"A"}]},{"id":"b","type":"U","props":[{"key":"name","value":"own"}]},{"id":"c","type":"V","props":[]}],` +
		`"edges":[{"src":"a","dst":"b","type":"R","props":[{"key":"k","value":1}]},{"src":"b","dst":"c","type":"R","props":[]},{"src":"c","dst":"gone","type":"S","props":[]}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSchemaIsJSON(t *testing.T) {
	if !json.Valid(Schema) || len(SchemaHash) != 64 {
		t.Error(SchemaHash)
	}
}

// Whatever a model says, what passes is a graph that keeps to the schema, and
// normalising it again changes nothing.
func FuzzNormalise(f *testing.F) {
	f.Add(`{"nodes":[{"name":"Bob","labels":["P"],"props":{"a":3}}],"edges":[{"from":"Bob","to":1}]}`)
	f.Add("x {[ ```json\n[{\"id\":\"a\"}]")
	f.Fuzz(func(t *testing.T, said string) {
		raw, err := Find(said)
		if err != nil {
			return
		}
		g, err := Normalise(raw)
		if err != nil {
			return
		}
		g.Prune()
		if g.Validate() != nil {
			return
		}
		b, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Normalise(b)
		if err != nil || again.Validate() != nil || len(again.Nodes) != len(g.Nodes) || len(again.Edges) != len(g.Edges) {
			t.Fatalf("%s: %v", b, err)
		}
	})
}
