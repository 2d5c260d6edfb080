package embedded_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/providers/embedded"
	"github.com/headrace/headrace/tests/harness"
)

// shared reads a file of the test data beside the module.
func shared(t *testing.T, path string, into any) {
	t.Helper()
	if embedded.RaceDetector {
		t.Skip("takes a minute with the race detector, which it has nothing to show")
	}
	raw, err := os.ReadFile(harness.Data(t, filepath.Join("retrieval", path)))
	if err == nil {
		// Written by Python, which takes NaN for JSON.
		err = json.Unmarshal(bytes.ReplaceAll(raw, []byte(": NaN"), []byte(": null")), into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A corpus is texts indexed as chunks of their own documents.
type corpus struct {
	store embedded.Store
	ids   map[string]string // by text
	texts map[string]string // by id
}

func index(t *testing.T, texts []string) corpus {
	t.Helper()
	c := corpus{open(t, ""), map[string]string{}, map[string]string{}}
	var points []pipeline.Point
	for i, text := range texts {
		id := pipeline.PointID("t", "kb", fmt.Sprint(i), "", 0)
		c.ids[text], c.texts[id] = id, text
		points = append(points, pipeline.Point{Passage: pipeline.Passage{ID: id, DocID: fmt.Sprint(i), Text: text}})
	}
	if _, err := c.store.Upsert(t.Context(), pipeline.Upsert{Tenant: "t", Collection: "kb", Points: points}); err != nil {
		t.Fatal(err)
	}
	return c
}

// search returns the ids of what the words of a question find.
func (c *corpus) search(t *testing.T, question string, limit int) []string {
	t.Helper()
	legs, err := c.store.Search(t.Context(), pipeline.SearchQuery{Tenant: "t", Collection: "kb", Text: question, Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range legs.Sparse {
		out = append(out, p.ID)
	}
	return out
}

// A recall is how much of what is wanted stands among the first k.
type recall map[int]float64

func (r recall) add(found []string, gold map[string]bool, questions int) {
	for k := range r {
		n := 0
		for _, id := range found[:min(k, len(found))] {
			if gold[id] {
				n++
			}
		}
		r[k] += 100 * float64(n) / float64(len(gold)) / float64(questions)
	}
}

func (r recall) atLeast(t *testing.T, what string, k int, floor float64) {
	t.Helper()
	t.Logf("%s: R@%d %.1f", what, k, r[k])
	if r[k] < floor {
		t.Errorf("%s: R@%d is %.1f; it should be at least %.1f", what, k, r[k], floor)
	}
}

// phrase makes one entity of the ways to write it.
func phrase(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}), " ")
}

// Two-hop questions over 1,890 passages, by words and then with the graph of
// ready-made triples and names: the words' first five, then the graph's five.
func TestMultiHop(t *testing.T) {
	var passages []struct{ Title, Text string }
	shared(t, "hipporag_musique_train100/musique_train_corpus.json", &passages)
	var questions []struct {
		Question   string
		Paragraphs []struct {
			Title string
			Text  string `json:"paragraph_text"`
			Gold  bool   `json:"is_supporting"`
		}
	}
	shared(t, "hipporag_musique_train100/musique_train.json", &questions)
	var open struct {
		Docs []struct {
			Title, Text string
			Entities    []string   `json:"extracted_entities"`
			Triples     [][]string `json:"extracted_triples"`
		}
	}
	shared(t, "hipporag_musique_train100/openie_musique_train_results_ner_gpt-3.5-turbo-1106_1890.json", &open)
	var texts []string
	for _, p := range passages {
		texts = append(texts, p.Title+"\n"+p.Text)
	}
	c := index(t, texts)
	w := pipeline.GraphWrite{Tenant: "t"}
	for i, d := range open.Docs {
		mention := func(e string) {
			if e == "" {
				return
			}
			w.Entities = append(w.Entities, pipeline.Entity{ID: e, Type: "Phrase", Name: e})
			w.Mentions = append(w.Mentions, pipeline.Mention{PointID: c.ids[d.Title+"\n"+d.Text], DocID: fmt.Sprint(i), Entity: e})
		}
		for _, e := range d.Entities {
			mention(phrase(e))
		}
		for _, triple := range d.Triples {
			if len(triple) < 2 {
				continue
			}
			src, dst := phrase(triple[0]), phrase(triple[len(triple)-1])
			mention(src)
			mention(dst)
			w.Relations = append(w.Relations, pipeline.Relation{Src: src, Dst: dst, Type: cmp.Or(pipeline.TypeOf(triple[1]), "IS")})
		}
	}
	if _, err := c.store.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	words, graph := recall{2: 0, 5: 0, 10: 0}, recall{2: 0, 5: 0, 10: 0}
	for _, q := range questions {
		gold := map[string]bool{}
		for _, p := range q.Paragraphs {
			if p.Gold {
				gold[c.ids[p.Title+"\n"+p.Text]] = true
			}
		}
		found := c.search(t, q.Question, 10)
		words.add(found, gold, len(questions))
		first := found[:min(5, len(found))]
		more, err := c.store.Related(t.Context(), pipeline.RelatedQuery{Tenant: "t", Chunks: first, Limit: 5, HubCap: 200, MaxSeeds: 20})
		if err != nil {
			t.Fatal(err)
		}
		both := append([]string{}, first...)
		for _, m := range more {
			both = append(both, m.ID)
		}
		graph.add(both, gold, len(questions))
	}
	words.atLeast(t, "words", 2, 39)
	words.atLeast(t, "words", 5, 48.1)
	words.atLeast(t, "words", 10, 60.4)
	graph.atLeast(t, "graph", 2, words[2])
	graph.atLeast(t, "graph", 5, words[5])
	graph.atLeast(t, "graph", 10, 69)
}

// Questions in traditional Chinese, each about one of 1,000 passages.
func TestChinese(t *testing.T) {
	var set struct {
		Data []struct {
			Paragraphs []struct {
				Context string
				QAs     []struct{ Question string }
			}
		}
	}
	shared(t, "drcd_zh_tw/DRCD_dev.json", &set)
	var texts []string
	for _, d := range set.Data {
		for _, p := range d.Paragraphs {
			texts = append(texts, p.Context)
		}
	}
	c := index(t, texts)
	type asked struct{ question, id string }
	var all []asked
	for _, d := range set.Data {
		for _, p := range d.Paragraphs {
			for _, q := range p.QAs {
				all = append(all, asked{q.Question, c.ids[p.Context]})
			}
		}
	}
	if os.Getenv("HEADRACE_ALL") == "" {
		// A fourth of them tell as much, in less time.
		n := 0
		all = slices.DeleteFunc(all, func(asked) bool { n++; return n%4 != 0 })
	}
	r := recall{5: 0}
	for _, q := range all {
		r.add(c.search(t, q.question, 5), map[string]bool{q.id: true}, len(all))
	}
	r.atLeast(t, fmt.Sprintf("%d questions", len(all)), 5, 98)
}
