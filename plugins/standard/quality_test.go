package standard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/rag"
	"github.com/headrace/headrace/providers/embedded"
	"github.com/headrace/headrace/tests/harness"
)

// readData reads a file of the data for measurements, which is no part of this
// repository.
func readData(t *testing.T, name string, to any) {
	t.Helper()
	if raced() || testing.Short() {
		t.Skip("the quality of answers is measured without the race detector, which finds nothing here and takes long")
	}
	b, err := os.ReadFile(harness.Data(t, filepath.Join("retrieval", name)))
	if err != nil {
		t.Fatal(err)
	}
	// Written by Python, which takes NaN for JSON.
	if err := json.Unmarshal(bytes.ReplaceAll(b, []byte(": NaN"), []byte(": null")), to); err != nil {
		t.Fatal(err)
	}
}

// raced reports whether the race detector is on.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A library is a store full of passages, and routes that search it in several
// ways.
type library struct {
	*config.Snapshot
	store embedded.Store
	embed pipeline.Embedder
}

func newLibrary(t *testing.T) *library {
	t.Helper()
	found := pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		ex.Response.SetBody([]byte("{}"))
		return nil
	})
	l := &library{Snapshot: pipetest.Load(t, Components().With(embedded.Component, pipetest.Fixed[pipeline.Handler]("found", found)), `
stores:
  kb: { embedded: {} }
  meaning: { hash_embedder: {} }
  judge: { lexical_reranker: {} }
routes:
  - { name: words, match: { path: /1 }, chain: [ retrieve: { store: kb, mode: sparse, timeout: 1m }, found ] }
  - { name: hybrid, match: { path: /2 }, chain: [ retrieve: { store: kb, embedder: meaning, weights: { dense: 0.01 }, timeout: 1m }, found ] }
  - { name: words+graph, match: { path: /3 }, chain: [ retrieve: { store: kb, mode: sparse, timeout: 1m }, graph: { store: kb, passages: kb, timeout: 1m }, found ] }
  - { name: hybrid+graph, match: { path: /4 }, chain: [ retrieve: { store: kb, embedder: meaning, weights: { dense: 0.01 }, timeout: 1m }, graph: { store: kb, passages: kb, timeout: 1m }, found ] }
  - { name: pool, match: { path: /5 }, chain: [ retrieve: { store: kb, mode: sparse, timeout: 1m }, graph: { store: kb, passages: kb, merge: pool, timeout: 1m }, found ] }
`)}
	var ok bool
	if l.store, ok = config.Lookup[embedded.Store](l.Snapshot, "kb"); !ok {
		t.Fatal("no store was built")
	}
	if l.embed, ok = config.Lookup[pipeline.Embedder](l.Snapshot, "meaning"); !ok {
		t.Fatal("no embedder was built")
	}
	return l
}

// write indexes texts under their number.
func (l *library) write(t *testing.T, texts []string, withVectors bool) {
	t.Helper()
	vectors := make([][]float32, len(texts))
	if withVectors {
		var err error
		if vectors, err = l.embed.Embed(t.Context(), texts, pipeline.ForStoring); err != nil {
			t.Fatal(err)
		}
	}
	var points []pipeline.Point
	for i, text := range texts {
		points = append(points, pipeline.Point{Passage: pipeline.Passage{ID: point(i), DocID: fmt.Sprint(i), Text: text}, Vector: vectors[i]})
	}
	if _, err := l.store.Upsert(t.Context(), pipeline.Upsert{Tenant: rag.DefaultTenant, Collection: "chunks", Points: points}); err != nil {
		t.Fatal(err)
	}
}

func point(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }

// ask returns the ids of what a route finds.
func (l *library) ask(t *testing.T, route int, question string) []string {
	t.Helper()
	ex := pipetest.Exchange(t, string(append(append([]byte(`{"messages":[`), chat.AppendMessage(nil, "user", question)...), "]}"...)))
	defer ex.Release()
	if err := l.Routes[route].Chain.Handle(ex.Context(), ex); err != nil {
		t.Fatal(err)
	}
	if len(ex.Retrieval.Degraded) > 0 {
		t.Fatalf("degraded: %v", ex.Retrieval.Degraded)
	}
	var ids []string
	for i := range ex.Passages {
		ids = append(ids, ex.Passages[i].ID)
	}
	return ids
}

// recall is the share of gold among the first k, in per cent.
func recall(ids []string, gold map[string]bool, k int) float64 {
	n := 0
	for _, id := range ids[:min(k, len(ids))] {
		if gold[id] {
			n++
		}
	}
	return 100 * float64(n) / float64(len(gold))
}

// Questions that take several documents to answer: the graph finds what the
// words of the question do not name, and costs the first ranks nothing.
func TestMultiHop(t *testing.T) {
	type paragraph struct {
		Title, Text   string
		ParagraphText string     `json:"paragraph_text"`
		Supporting    bool       `json:"is_supporting"`
		Triples       [][]string `json:"extracted_triples"`
	}
	var corpus []paragraph
	var questions []struct {
		Question   string
		Paragraphs []paragraph
	}
	var extracted struct{ Docs []paragraph }
	readData(t, "hipporag_musique_train100/musique_train_corpus.json", &corpus)
	readData(t, "hipporag_musique_train100/musique_train.json", &questions)
	readData(t, "hipporag_musique_train100/openie_musique_train_results_ner_gpt-3.5-turbo-1106_1890.json", &extracted)
	l := newLibrary(t)
	ids := map[string]string{}
	var texts []string
	for i, p := range corpus {
		text := p.Title + "\n" + p.Text
		ids[text] = point(i)
		texts = append(texts, text)
	}
	l.write(t, texts, true)
	for _, doc := range extracted.Docs {
		id, ok := ids[doc.Title+"\n"+doc.Text]
		if !ok {
			continue
		}
		w := pipeline.GraphWrite{Tenant: rag.DefaultTenant}
		for _, triple := range doc.Triples {
			if len(triple) != 3 || triple[0] == "" || triple[2] == "" {
				continue
			}
			for _, name := range []string{triple[0], triple[2]} {
				e := strings.ToLower(name)
				w.Entities = append(w.Entities, pipeline.Entity{ID: e, Type: "Thing", Name: name})
				w.Mentions = append(w.Mentions, pipeline.Mention{PointID: id, DocID: id, Entity: e})
			}
			w.Relations = append(w.Relations, pipeline.Relation{Src: strings.ToLower(triple[0]), Dst: strings.ToLower(triple[2]), Type: "RELATED_TO"})
		}
		if _, err := l.store.Write(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	at := []int{2, 5, 10, 35}
	mean := make([][4]float64, len(l.Routes))
	for _, q := range questions {
		gold := map[string]bool{}
		for _, p := range q.Paragraphs {
			if p.Supporting {
				gold[ids[p.Title+"\n"+p.ParagraphText]] = true
			}
		}
		for r := range l.Routes {
			got := l.ask(t, r, q.Question)
			for i, k := range at {
				mean[r][i] += recall(got, gold, k) / float64(len(questions))
			}
		}
	}
	for r := range l.Routes {
		t.Logf("%-13s R@2 %.1f  R@5 %.1f  R@10 %.1f  R@35 %.1f", l.Routes[r].Name, mean[r][0], mean[r][1], mean[r][2], mean[r][3])
	}
	words, hybrid, wordsGraph, hybridGraph, pool := mean[0], mean[1], mean[2], mean[3], mean[4]
	if wordsGraph[0] != words[0] || wordsGraph[1] != words[1] || hybridGraph[0] != hybrid[0] || hybridGraph[1] != hybrid[1] {
		t.Error("the graph has changed the first ranks")
	}
	floor := func(what string, got, least float64) {
		t.Helper()
		if got < least {
			t.Errorf("%s: %.1f, want at least %.1f", what, got, least)
		}
	}
	floor("R@2 by words", words[0], 38)
	floor("R@5 by words", words[1], 47)
	floor("R@10 by words and the graph", wordsGraph[2], 67)
	// The offline embedder knows words only, and adds nothing to them.
	floor("R@10 by both and the graph", hybridGraph[2], 67)
	floor("R@35 of the pool for a reranker", pool[3], 85)
}

// Chinese needs no splitter.
func TestChinese(t *testing.T) {
	var data struct {
		Data []struct {
			Paragraphs []struct {
				Context string
				QAs     []struct{ Question string }
			}
		}
	}
	readData(t, "drcd_zh_tw/DRCD_dev.json", &data)
	l := newLibrary(t)
	var texts []string
	type asked struct {
		text string
		of   int
	}
	var questions []asked
	for _, d := range data.Data {
		for _, p := range d.Paragraphs {
			for _, q := range p.QAs {
				questions = append(questions, asked{q.Question, len(texts)})
			}
			texts = append(texts, p.Context)
		}
	}
	l.write(t, texts, false)
	const step = 4 // a part of them will do
	words, n := 0.0, 0
	for i := 0; i < len(questions); i += step {
		q := questions[i]
		words += recall(l.ask(t, 0, q.text), map[string]bool{point(q.of): true}, 5)
		n++
	}
	words /= float64(n)
	t.Logf("R@5 by words %.1f", words)
	if words < 96 {
		t.Errorf("R@5 by words: %.1f, want at least 96", words)
	}
}
