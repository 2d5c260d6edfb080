package ingest

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/graphjson"
)

// What a chunk has in front: the title of its document and its headings, none twice.
func TestPlace(t *testing.T) {
	f := func(title, text string, want ...string) {
		t.Helper()
		var got []string
		for _, c := range Prepare(Splitter{Size: 20}, []Document{{ID: "d", Title: title, Text: text, Markup: true}}).Chunks {
			got = append(got, c.Text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	const body = "It is a low, old dam" // fills a chunk
	f("", body, body)
	f("Weir", body, "Weir\n"+body)
	f("Weir", "# Weir\n"+body, "# Weir", "Weir\n"+body)
	f("Weir", "# Weir #\n"+body, "# Weir #", "Weir\n"+body)
	f("Weir", "Weir\n====\n"+body, "Weir\n====", "Weir\n"+body)
	f("Weir", "# Weirs\n"+body, "Weir\n# Weirs", "Weir > Weirs\n"+body)
	f("Weir", "# Weir\n"+body+"\n## Use\n"+body, "# Weir", "Weir\n"+body, "Weir\n## Use", "Weir > Use\n"+body)
	f("Dam", "# Weir\n"+body+"\n## Use\n"+body, "Dam\n# Weir", "Dam > Weir\n"+body, "Dam > Weir\n## Use", "Dam > Weir > Use\n"+body)
	f(strings.Repeat("é", maxContext), body, strings.Repeat("é", maxContext)+"\n"+body)
	f(strings.Repeat("é", maxContext)+"x", body, strings.Repeat("é", maxContext)+"\n"+body)
}

// An entity that a document names is linked to the chunks that say it.
func TestMention(t *testing.T) {
	f := func(parts []Document, want ...[]string) {
		t.Helper()
		p := Prepare(Splitter{Size: 12}, parts)
		var got [][]string
		for _, c := range p.Chunks {
			got = append(got, c.Mentions)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", parts, diff)
		}
	}
	f([]Document{{Text: "Ada  Ｋ came. Bob came. ada k left.", Entities: []string{"ADA K", "Bob", "ada k", "Eve", "", strings.Repeat("x", maxEntity+1)}}},
		[]string{"ada k", "eve"}, []string{"bob"}, []string{"ada k"})
	f([]Document{{Text: "Ada left.", Entities: []string{"Eve", strings.Repeat("x", maxEntity)}}}, []string{"eve", strings.Repeat("x", maxEntity)})
	f([]Document{{Text: "Ada left.", Entities: []string{"Bob"}}, {Text: "Ada came.", Entities: []string{"Ada"}}, {Text: " ", Entities: []string{"Eve"}}}, []string{"bob"}, []string{"ada"})
	f([]Document{{Text: "Ada  came.\nBob.", Whole: true}}, nil)
}

// Whatever is stored of a chunk tells whether it has changed.
func TestDigest(t *testing.T) {
	seen := map[[32]byte]int{}
	for i, d := range [][32]byte{
		digest("a", 0, &Chunk{Text: "b", Metadata: []byte("c")}, "d"), digest("a", 1, &Chunk{Text: "b", Metadata: []byte("c")}, "d"),
		digest("ab", 0, &Chunk{Metadata: []byte("c")}, "d"), digest("a", 0, &Chunk{Text: "bc"}, "d"), digest("a", 0, &Chunk{Text: "b", Metadata: []byte("cd")}, ""),
		digest("A", 0, &Chunk{Text: "b", Metadata: []byte("c")}, "d"), digest("a", 0, &Chunk{Text: "B", Metadata: []byte("c")}, "d"),
		digest("a", 0, &Chunk{Text: "b", Metadata: []byte("C")}, "d"), digest("a", 0, &Chunk{Text: "b", Metadata: []byte("c")}, "D"),
	} {
		if before, ok := seen[d]; ok {
			t.Errorf("%d and %d are one", before, i)
		}
		seen[d] = i
	}
	if digest("a", 0, &Chunk{Text: "b", Mentions: []string{"x"}}, "d") != digest("a", 0, &Chunk{Text: "b"}, "d") {
		t.Error("what a chunk mentions is not stored with it")
	}
}

// What models find in chunks is put together, and what they fail at is left out.
func TestExtract(t *testing.T) {
	prepared := func() *Prepared {
		return Prepare(Splitter{Size: 10}, []Document{{ID: "d", Text: "Ada came. Bob left. Eve sat. Zoe ran."}})
	}
	node := func(id, kind string, props ...graphjson.Prop) graphjson.Node {
		return graphjson.Node{ID: id, Type: kind, Props: props}
	}
	name, age := graphjson.Prop{Key: "name", Value: []byte(`"Ada"`)}, graphjson.Prop{Key: "age", Value: []byte("5")}
	graphs := map[string]*graphjson.Graph{
		"Ada came.": {Nodes: []graphjson.Node{node("1", "Person", name), node("Mill", "Place")}, Edges: []graphjson.Edge{
			{Src: "1", Dst: "Mill", Type: "AT"}, {Src: "Ada", Dst: "MILL", Type: "KNOWS"}, {Src: "1", Dst: "2", Type: "AT"}, {Src: "2", Dst: "1", Type: "AT"},
		}},
		"Bob left.": {Nodes: []graphjson.Node{node("ada", "Person", age), node("bob", "Person")}},
		"Zoe ran.":  {},
	}
	var asked int
	s := &Store{Extract: func(_ context.Context, text string) (*graphjson.Graph, error) { return graphs[text], nil }}
	p := prepared()
	without, err := s.extract(t.Context(), p, func() { asked++ })
	if err != nil || without != 1 || asked != 4 || p.Broken != 2 {
		t.Errorf("%d without, %d asked, %d broken, %v", without, asked, p.Broken, err)
	}
	var mentions [][]string
	for _, c := range p.Chunks {
		mentions = append(mentions, c.Mentions)
	}
	if diff := cmp.Diff([][]string{{"ada", "mill"}, {"ada", "bob"}, nil, nil}, mentions); diff != "" {
		t.Error(diff)
	}
	want := []pipeline.Relation{{Src: "ada", Dst: "mill", Type: "AT"}, {Src: "ada", Dst: "mill", Type: "KNOWS"}}
	if diff := cmp.Diff(want, p.Relations); diff != "" {
		t.Error(diff)
	}
	if len(p.Entities) != 3 || p.Entities[0].Type != "Person" || p.Entities[0].Name != "Ada" {
		t.Errorf("%+v", p.Entities)
	}

	// The first failure ends it, a panic too; and so does the end of the context.
	var calls atomic.Int32
	s.Extract = func(ctx context.Context, text string) (*graphjson.Graph, error) {
		if calls.Add(1); strings.HasPrefix(text, "Bob") {
			return nil, errors.New("no model")
		}
		<-ctx.Done()
		return nil, nil
	}
	if _, err := s.extract(t.Context(), prepared(), func() {}); err == nil || err.Error() != `extract a graph from chunk 2 of "d": no model` {
		t.Error(err)
	}
	s.Extract = func(context.Context, string) (*graphjson.Graph, error) { panic("as asked") }
	if _, err := s.extract(t.Context(), prepared(), func() {}); err == nil || !strings.HasSuffix(err.Error(), "BUG: panic: as asked") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls.Store(0)
	s.Extract = func(context.Context, string) (*graphjson.Graph, error) { calls.Add(1); return nil, nil }
	if _, err := s.extract(ctx, prepared(), func() {}); !errors.Is(err, context.Canceled) || calls.Load() != 0 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}
