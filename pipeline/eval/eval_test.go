package eval

import (
	"math"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ingest"
)

// The expected values are worked out by hand.
func TestScore(t *testing.T) {
	f := func(ranking, gold string, want Scores) {
		t.Helper()
		got := Score(strings.Fields(ranking), strings.Fields(gold))
		for _, pair := range [][2]float64{{got.Recall2, want.Recall2}, {got.Recall5, want.Recall5}, {got.Recall10, want.Recall10}, {got.All10, want.All10}, {got.NDCG10, want.NDCG10}} {
			if math.Abs(pair[0]-pair[1]) > 1e-4 {
				t.Errorf("%+v, want %+v", got, want)
				return
			}
		}
	}
	f("a b", "a b", Scores{1, 1, 1, 1, 1})
	f("b x a", "a b", Scores{0.5, 1, 1, 1, 1.5 / 1.63093})                                    // (1 + 1/2) / (1 + 1/log2 3)
	f("x y z u v a", "a b", Scores{0, 0, 0.5, 0, 0.356207 / 1.63093})                         // 1/log2 7
	f("1 2 3 4 5 6 7 8 9 a b", "a b c", Scores{0, 0, 1.0 / 3, 0, 0.289065 / (1.63093 + 0.5)}) // 1/log2 11
	f("1 2 3 4 5 6 7 8 9 10 a", "a", Scores{})
	f("", "a", Scores{})
	f("a", "", Scores{}) // and no division by nothing
	f("1 2 3 4 5 6 7 8 9 10", "1 2 3 4 5 6 7 8 9 10 11 12", Scores{2.0 / 12, 5.0 / 12, 10.0 / 12, 0, 1})
}

func TestRanking(t *testing.T) {
	got := Ranking([]pipeline.Passage{{DocID: "b"}, {DocID: "a"}, {DocID: "b"}, {DocID: "c"}})
	if diff := cmp.Diff([]string{"b", "a", "c"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTally(t *testing.T) {
	var tally Tally
	tally.Add(Scores{1, 1, 1, 1, 1}, []pipeline.StageTime{{Stage: "sparse", Took: 4 * time.Millisecond}, {Stage: "graph", Took: time.Millisecond}}, false)
	tally.Add(Scores{0, 0.5, 0.5, 0, 0.5}, []pipeline.StageTime{{Stage: "sparse", Took: 2 * time.Millisecond}}, true)
	want := Result{
		Chain: "c", Questions: 2, Degraded: 1, Scores: Scores{0.5, 0.75, 0.75, 0.5, 0.75},
		Stages: []Stage{{"sparse", 2, 4}, {"graph", 1, 1}},
	}
	if diff := cmp.Diff(want, tally.Result("c")); diff != "" {
		t.Error(diff)
	}
	if got := (&Tally{}).Result("none"); got.Scores != (Scores{}) {
		t.Errorf("no questions: %+v", got)
	}
}

func TestQuantile(t *testing.T) {
	var times []time.Duration
	for i := range 20 {
		times = append(times, time.Duration(20-i)*time.Millisecond)
	}
	for q, want := range map[float64]float64{0.5: 10, 0.95: 19, 1: 20, 0: 1} {
		if got := quantile(times, q); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	fsys := fstest.MapFS{
		"own/questions.jsonl":     {Data: []byte("{\"question\":\"Where?\",\"gold\":[\"a.md\"]}\n\n{\"question\":\"Who?\",\"gold\":[\"a.md\",\"b/c.txt\"]}\n")},
		"own/a.md":                {Data: []byte("# A\n\nHere.")},
		"own/b/c.txt":             {Data: []byte("She.")},
		"m/musique_x.json":        {Data: []byte(`[{"question":"Q","paragraphs":[{"title":"T","paragraph_text":"one","is_supporting":true},{"title":"T","paragraph_text":"two","is_supporting":false}]}]`)},
		"m/musique_x_corpus.json": {Data: []byte(`[{"title":"T","text":"two"},{"title":"T","text":"one"}]`)},
		"m/openie_x.json":         {Data: []byte(`{"docs":[{"title":"T","text":"one","extracted_triples":[["a","b","c"]]}],"n":NaN}`)},
		"d/DRCD_dev.json":         {Data: []byte(`{"version":"1","data":[{"title":"水","paragraphs":[{"id":"7-1","context":"水是濕的。","qas":[{"question":"水如何？"}]}]}]}`)},
	}
	f := func(name, format string, want Set) {
		t.Helper()
		got, err := Load(fsys, name, format, true)
		if err != nil {
			t.Error(err)
			return
		}
		triples := got.Triples
		got.Triples = nil
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Error(diff)
		}
		if want.Name == "musique_x" && triples.Len() != 1 {
			t.Error("no triples")
		}
	}
	own := Set{
		Name:      "questions",
		Questions: []Question{{"Where?", []string{"a.md"}}, {"Who?", []string{"a.md", "b/c.txt"}}},
		Documents: []ingest.Document{{ID: "a.md", Title: "A", Text: "# A\n\nHere.", Markup: true, Source: "a.md"}, {ID: "b/c.txt", Text: "She.", Source: "b/c.txt"}},
	}
	f("own", "", own)
	f("own/questions.jsonl", "", own)
	if bare, err := Load(fsys, "own", "", false); err != nil || bare.Documents != nil {
		t.Errorf("the documents were read: %v, %v", bare, err)
	}
	f("m", "", Set{
		Name: "musique_x", Questions: []Question{{"Q", []string{"00001"}}},
		Documents: []ingest.Document{{ID: "00000", Title: "T", Text: "two", Whole: true}, {ID: "00001", Title: "T", Text: "one", Whole: true}},
	})
	drcd := Set{
		Name: "DRCD_dev", Questions: []Question{{"水如何？", []string{"7-1"}}},
		Documents: []ingest.Document{{ID: "7-1", Title: "水", Text: "水是濕的。", Whole: true}},
	}
	f("d", "", drcd)
	f("d/DRCD_dev.json", "drcd", drcd)

	g := func(name, format, want string) {
		t.Helper()
		if _, err := Load(fsys, name, format, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g("own/b", "", "format")
	g("nowhere", "", "nowhere")
	g("own", "musique", "missing")
	fsys["m/musique_x.json"].Data = []byte(`[{"question":"Q","paragraphs":[{"title":"T","paragraph_text":"three","is_supporting":true}]}]`)
	g("m", "", "not in the corpus")
	fsys["own/questions.jsonl"].Data = []byte("{\"question\":\"Q\",\"gold\":[\"x\"]}\n{\"question\":\"Q\"}\n")
	g("own", "", "line 2")
	fsys["own/questions.jsonl"].Data = []byte("{\"question\":\" \",\"gold\":[\"x\"]}\n")
	g("own", "", "line 1")
	fsys["own/questions.jsonl"].Data = []byte("{\"question\":\"Q\",\"gold\":[\"\"]}\n")
	g("own", "", "line 1")
	fsys["own/questions.jsonl"].Data = []byte("\n")
	g("own", "", "questions.jsonl: there are no questions in it")
	fsys["own/questions.jsonl"].Data = []byte("[1]\n{\"question\":5,\"gold\":[\"x\"]}\n{\"question\":\"Q\",\"gold\":\"x\"}\n{\"question\":\"Q\",\"gold\":[1]}\n{\"question\":\n{}\n{}\n")
	g("own", "", `questions.jsonl: line 1: a question is an object, not array; line 2: "question" is a text, not number; line 3: "gold" is a list, not string; line 4: "gold" is a text, not number; line 5: the line ends within its JSON value; and 2 more`)
	for data, want := range map[string]string{
		`{"data":[]}`: "DRCD_dev: there are no questions in it", `[]`: "read d/DRCD_dev.json: what is in it is an object, not array", `{"data":[{"title":1}]}`: `"data.title" is a text, not number`,
		`{"data":[`: "invalid JSON: ",
	} {
		fsys["d/DRCD_dev.json"].Data = []byte(data)
		g("d", "", want)
	}
	g("d", "musique", "musique_*_corpus.json")
	// SQuAD's paragraphs have no ids.
	fsys["d/DRCD_dev.json"].Data = []byte(`{"data":[{"paragraphs":[{"context":"a","qas":[{"question":"A"}]},{"context":"b","qas":[{"question":"B"}]}]}]}`)
	f("d", "", Set{
		Name: "DRCD_dev", Questions: []Question{{"A", []string{"00000"}}, {"B", []string{"00001"}}},
		Documents: []ingest.Document{{ID: "00000", Text: "a", Whole: true}, {ID: "00001", Text: "b", Whole: true}},
	})

	fsys["d/DRCD_dev.json"].Data = append([]byte("\uFEFF"), fsys["d/DRCD_dev.json"].Data...)
	if _, err := Load(fsys, "d", "", true); err != nil {
		t.Error(err)
	}
	g("own", "drcd", "DRCD_*.json")
	g("d", "musik", "its format is not told")
	// A supporting paragraph that stands twice is one document, and triples may be missing, but not broken.
	fsys["m/musique_x.json"].Data = []byte(`[{"question":"Q","paragraphs":[{"title":"T","paragraph_text":"one","is_supporting":true},{"title":"T","paragraph_text":"one","is_supporting":true}]}]`)
	musique := Set{
		Name: "musique_x", Questions: []Question{{"Q", []string{"00001"}}},
		Documents: []ingest.Document{{ID: "00000", Title: "T", Text: "two", Whole: true}, {ID: "00001", Title: "T", Text: "one", Whole: true}},
	}
	f("m", "", musique)
	fsys["m/openie_x.json"].Data = []byte(`{"docs":[{`)
	g("m", "", "triples: unexpected EOF")
	delete(fsys, "m/openie_x.json")
	if set, err := Load(fsys, "m/musique_x.json", "", true); err != nil || set.Triples != nil || len(set.Questions) != 1 {
		t.Errorf("%+v, %v", set, err)
	}
	delete(fsys, "m/musique_x.json")
	g("m", "", "read m/musique_x.json: ")

	// Whatever an editor makes of the file.
	long := strings.Repeat("long ", 1<<18)
	fsys["own/questions.jsonl"].Data = []byte("\uFEFF{\"question\":\"Where?\",\"gold\":[\"a.md\",\"a\",\"a.md\"]}\r\n\r\n{\"question\":\"" + long + "\",\"gold\":[\"a\"],\"note\":1}")
	own.Questions = []Question{{"Where?", []string{"a.md", "a"}}, {long, []string{"a"}}}
	f("own", "", own)
	if diff := cmp.Diff([]string{"a"}, own.Unknown()); diff != "" {
		t.Error(diff)
	}
	// A file of questions may have any name, and is no document itself.
	fsys["own/more.jsonl"] = &fstest.MapFile{Data: []byte("{\"question\":\"More?\",\"gold\":[\"b/c.txt\"]}")}
	if set, err := Load(fsys, "own/more.jsonl", "", false); err != nil || set.Name != "more" || set.Questions[0].Text != "More?" {
		t.Errorf("%+v, %v", set, err)
	}
	delete(fsys, "own/more.jsonl")
	fsys["own/bad.md"] = &fstest.MapFile{Data: []byte("\xff\xfe\x00\xd8")}
	g("own", "", "bad.md")
	delete(fsys, "own/bad.md")
}
