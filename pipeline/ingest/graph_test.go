package ingest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/graphjson"
)

func TestTitles(t *testing.T) {
	titles := NewTitles([]string{"River Sorrel", "Sorrel", "Weir (dam)", "青溪", "It", "x", "River Sorrel", ""})
	f := func(text string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, titles.find(text)); diff != "" {
			t.Error(diff)
		}
	}
	f("The river  SORREL has a weir, and the weir is old.", "river sorrel", "weir")
	f("Weirs and sorrels are no weirdos.")
	f("It is sorrel", "sorrel")
	f("林氏在青溪上游", "青溪")
	f("river\nsorrel-weir", "river sorrel", "weir")
	f("")
}

func TestTitlesAdd(t *testing.T) {
	p := Prepare(Splitter{Size: 60}, []Document{{ID: "w", Title: "Weir (dam)", Text: "A weir is low.\n\nIt crosses the River Sorrel, which is a long way from here.", Source: "w"}})
	NewTitles([]string{"Weir (dam)", "River Sorrel"}).Add(p)
	var mentions [][]string
	for _, c := range p.Chunks {
		mentions = append(mentions, c.Mentions)
	}
	if diff := cmp.Diff([][]string{{"weir"}, {"weir", "river sorrel"}}, mentions); diff != "" {
		t.Error(diff)
	}
	want := []pipeline.Entity{{ID: "weir", Type: "Topic", Name: "Weir"}, {ID: "river sorrel", Type: "Topic", Name: "River Sorrel"}}
	if diff := cmp.Diff(want, p.Entities); diff != "" {
		t.Error(diff)
	}
}

func TestTriples(t *testing.T) {
	f := func(text string) {
		t.Helper()
		triples, err := ReadTriples(strings.NewReader(text))
		if err != nil {
			t.Error(err)
			return
		}
		p := Prepare(Splitter{Size: 100}, []Document{{ID: "d", Title: "Ada", Text: "Ada built it.", Whole: true}})
		triples.Add(p)
		if diff := cmp.Diff([]string{"ada", "the mill", "oak"}, p.Chunks[0].Mentions); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]pipeline.Relation{{Src: "ada", Dst: "the mill", Type: "BUILT_IN_1824"}}, p.Relations); diff != "" {
			t.Error(diff)
		}
		other := Prepare(Splitter{Size: 100}, []Document{{ID: "e", Text: "Ada."}})
		if triples.Add(other); len(other.Entities) > 0 {
			t.Errorf("another document got entities: %v", other.Entities)
		}
	}
	f(`{"docs":[{"title":"Ada","text":"Ada  built it.","extracted_entities":["Oak","ADA"],"extracted_triples":[["Ada","built (in 1824)","The Mill"],["Ada","x"],["Ada","is","ada"]]}],"mean":NaN}`)
	f("\n{\"doc_id\":\"d\",\"triples\":[[\"Ada\",\"built in 1824\",\"The  mill\"]],\"entities\":[\"Oak\"]}\n")

	f("\uFEFF{\"doc_id\":\"d\",\"triples\":[[\"Ada\",\"built in 1824\",\"The mill\"]]}\r\n{\"doc_id\":\"d\",\"entities\":[\"Oak\"]}\r\n")

	if _, err := ReadTriples(strings.NewReader("{\"doc_id\":\"d\"}\n{\"triples\":[]}")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line about no document: %v", err)
	}
	if _, err := ReadTriples(strings.NewReader("nonsense")); err == nil {
		t.Error("nonsense was read")
	}
}

// Triples with a part missing are told, and refuse nothing else. Numbers are names.
func TestBrokenTriples(t *testing.T) {
	const text = `{"doc_id":"d","triples":[["Ada","built"],["Ada",null,"The mill"],["Ada","--","The mill"],["","is","x"],["y","is",{"a":1}],["a","b","c","d"],["Ada","is","ada"],["Ada","born in",1790]],"entities":["Oak",null]}`
	triples, err := ReadTriples(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	p := Prepare(Splitter{Size: 100}, []Document{{ID: "d", Text: "Ada built it."}})
	triples.Add(p)
	if want := []pipeline.Relation{{Src: "ada", Dst: "1790", Type: "BORN_IN"}}; p.Broken != 6 || !cmp.Equal(p.Relations, want) {
		t.Errorf("%d broken, %v", p.Broken, p.Relations)
	}
	if want := []string{"ada", "the mill", "1790", "oak"}; !cmp.Equal(p.Chunks[0].Mentions, want) || len(p.Entities) != len(want) {
		t.Errorf("%q are mentioned, of %v", p.Chunks[0].Mentions, p.Entities)
	}
	if _, err := ReadTriples(strings.NewReader(`{"doc_id":"d","triples":{}}`)); err == nil || !strings.Contains(err.Error(), `line 1: "triples" is a list, not object`) {
		t.Error(err)
	}
}

// Edges whose ends are no nodes are told too; names stand for ids.
func TestBrokenEdges(t *testing.T) {
	raw := `{"nodes":[{"id":"b","props":{"name":"Bob"}},{"id":"acme"}],"edges":[{"src":"b","dst":"acme"},{"src":"Bob","dst":"ACME","type":"part owns"},{"src":"b","dst":"Zed"},{"src":"b"}]}`
	g, err := graphjson.Normalise([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	p := Prepare(Splitter{Size: 100}, []Document{{ID: "d", Text: "Bob."}})
	p.take(0, g)
	if want := []pipeline.Relation{{Src: "bob", Dst: "acme", Type: "RELATED_TO"}, {Src: "bob", Dst: "acme", Type: "part_owns"}}; p.Broken != 2 || !cmp.Equal(p.Relations, want) {
		t.Errorf("%d broken, %+v", p.Broken, p.Relations)
	}
}

func TestRelationType(t *testing.T) {
	f := func(words, want string) {
		t.Helper()
		if got := relationType(words); got != want {
			t.Errorf("%q: %q", words, got)
		}
	}
	f("published by", "PUBLISHED_BY")
	f("1st in `x`) DETACH", "ST_IN_X_DETACH")
	f("建於", "建於")
	f("--", "")
	f(strings.Repeat("ab ", 40), strings.Repeat("AB_", 21)+"A")
}
