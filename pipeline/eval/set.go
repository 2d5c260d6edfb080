package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/ingest"
)

// A Set is questions, and the documents to find the answers in.
type Set struct {
	Name      string
	Questions []Question
	Documents []ingest.Document
	// Triples are what a graph is made from; nil: from the titles.
	Triples *ingest.Triples
}

// The formats of sets.
const (
	Own     = "headrace"
	MuSiQue = "musique"
	DRCD    = "drcd"
)

// Load reads a set in one of the formats, or with an empty format in the one
// that the names of the files tell. name is a file, or a folder with the files
// of one set: for headrace questions.jsonl with the documents around it, which
// are only read if documents says so.
func Load(fsys fs.FS, name, format string, documents bool) (*Set, error) {
	dir, file := path.Dir(name), path.Base(name)
	if info, err := fs.Stat(fsys, name); err != nil {
		return nil, err
	} else if info.IsDir() {
		dir, file = name, ""
	}
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	f := folder{fsys, dir, file, names, documents}
	if format == "" {
		format = f.guess()
	}
	var set *Set
	switch format {
	case Own:
		set, err = f.own()
	case MuSiQue:
		set, err = f.musique()
	case DRCD:
		set, err = f.drcd()
	default:
		return nil, fmt.Errorf("its format is not told by the names of its files: %s has questions.jsonl, %s musique_*_corpus.json, and %s DRCD_*.json", Own, MuSiQue, DRCD)
	}
	if err == nil && len(set.Questions) == 0 {
		return nil, fmt.Errorf("%s: there are no questions in it", set.Name)
	}
	return set, err
}

// A folder is where a set lies. file is "" unless one was named.
type folder struct {
	fsys      fs.FS
	dir       string
	file      string
	names     []string
	documents bool
}

func (f folder) guess() string {
	switch {
	case strings.HasSuffix(f.file, ".jsonl"), f.file == "" && slices.Contains(f.names, "questions.jsonl"):
		return Own
	case f.find("musique", "_corpus.json") != "":
		return MuSiQue
	case f.find("drcd", ".json") != "":
		return DRCD
	}
	return ""
}

// find returns the first file whose name begins and ends so, in any case.
func (f folder) find(prefix, suffix string) string {
	for _, n := range f.names {
		if low := strings.ToLower(n); strings.HasPrefix(low, prefix) && strings.HasSuffix(low, suffix) {
			return n
		}
	}
	return ""
}

// decode reads one JSON file into v.
func (f folder) decode(name string, v any) error {
	b, err := fs.ReadFile(f.fsys, path.Join(f.dir, name))
	if err == nil {
		b = bytes.TrimPrefix(b, []byte("\uFEFF"))
		if err = chat.Valid(b); err == nil {
			if err = json.Unmarshal(b, v); err != nil {
				err = ingest.Plainly(err, "what is in it")
			}
		}
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path.Join(f.dir, name), err)
	}
	return nil
}

// own reads questions, one object on each line: {"question": …, "gold": [ids]}.
// The documents are the files beside them.
func (f folder) own() (*Set, error) {
	name := f.file
	if name == "" {
		name = "questions.jsonl"
	}
	text, err := fs.ReadFile(f.fsys, path.Join(f.dir, name))
	if err != nil {
		return nil, err
	}
	set := &Set{Name: strings.TrimSuffix(name, ".jsonl")}
	var wrong ingest.WrongLines
	at := 0
	for line := range bytes.Lines(bytes.TrimPrefix(text, []byte("\uFEFF"))) {
		at++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		q, err := question(line)
		if err != nil {
			wrong.Add(at, err)
			continue
		}
		set.Questions = append(set.Questions, q)
	}
	if err := wrong.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(set.Questions) == 0 {
		return nil, fmt.Errorf("%s: there are no questions in it", name)
	}
	if !f.documents {
		return set, nil
	}
	return set, f.around(set, name)
}

// question reads one line. A document that is named twice counts once.
func question(line []byte) (Question, error) {
	var q struct {
		Question string
		Gold     []string
	}
	if err := json.Unmarshal(line, &q); err != nil {
		return Question{}, ingest.Plainly(err, "a question")
	}
	out := Question{Text: q.Question}
	for _, id := range q.Gold {
		if id != "" && !slices.Contains(out.Gold, id) {
			out.Gold = append(out.Gold, id)
		}
	}
	if strings.TrimSpace(out.Text) == "" || len(out.Gold) == 0 {
		return Question{}, errors.New(`"question" or "gold" is missing or empty; a line is {"question": "…", "gold": ["document id"]}`)
	}
	return out, nil
}

// Unknown are the gold documents that are not among the set's documents, in order:
// they count as not found, whatever a chain does.
func (s *Set) Unknown() []string {
	known := map[string]bool{}
	for i := range s.Documents {
		known[s.Documents[i].ID] = true
	}
	var out []string
	for _, q := range s.Questions {
		for _, id := range q.Gold {
			if !known[id] {
				known[id] = true
				out = append(out, id)
			}
		}
	}
	return out
}

// around reads the documents beside a file of questions.
func (f folder) around(set *Set, questions string) error {
	sub, err := fs.Sub(f.fsys, f.dir)
	if err != nil {
		return err
	}
	files, _, closed, err := ingest.Files(sub, ".")
	if err == nil && len(closed) > 0 {
		err = closed[0]
	}
	if err != nil {
		return err
	}
	for _, name := range files {
		if name == questions {
			continue
		}
		docs, err := ingest.Read(sub, name, "")
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		set.Documents = append(set.Documents, docs...)
	}
	return nil
}

// musique reads a set as HippoRAG cuts it out of MuSiQue: questions, a corpus,
// and triples that a model found in it.
func (f folder) musique() (*Set, error) {
	corpusFile := f.find("musique", "_corpus.json")
	if corpusFile == "" {
		return nil, errors.New("a file is missing: musique_*_corpus.json")
	}
	set := &Set{Name: strings.TrimSuffix(corpusFile, "_corpus.json")}
	var corpus []struct{ Title, Text string }
	if err := f.decode(corpusFile, &corpus); err != nil {
		return nil, err
	}
	ids := map[[2]string]string{}
	for i, p := range corpus {
		id := fmt.Sprintf("%05d", i)
		ids[[2]string{p.Title, p.Text}] = id
		set.Documents = append(set.Documents, ingest.Document{ID: id, Title: p.Title, Text: p.Text, Whole: true})
	}
	var questions []struct {
		Question   string
		Paragraphs []struct {
			Title        string
			Text         string `json:"paragraph_text"`
			IsSupporting bool   `json:"is_supporting"`
		}
	}
	if err := f.decode(set.Name+".json", &questions); err != nil {
		return nil, err
	}
	for _, q := range questions {
		one := Question{Text: q.Question}
		for _, p := range q.Paragraphs {
			if !p.IsSupporting {
				continue
			}
			id, ok := ids[[2]string{p.Title, p.Text}]
			if !ok {
				return nil, fmt.Errorf("%s.json: the paragraph %q of %q is not in the corpus", set.Name, p.Title, q.Question)
			}
			if !slices.Contains(one.Gold, id) {
				one.Gold = append(one.Gold, id)
			}
		}
		set.Questions = append(set.Questions, one)
	}
	triples := f.find("openie", ".json")
	if triples == "" {
		return set, nil
	}
	file, err := f.fsys.Open(path.Join(f.dir, triples))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // read only: nothing is lost
	set.Triples, err = ingest.ReadTriples(file)
	return set, err
}

// drcd reads a set in the format of DRCD, which is SQuAD's: paragraphs are
// documents, and the answer to a question is in its own.
func (f folder) drcd() (*Set, error) {
	name := f.file
	if name == "" {
		name = f.find("drcd", ".json")
	}
	if name == "" {
		return nil, errors.New("a file is missing: DRCD_*.json")
	}
	var root struct {
		Data []struct {
			Title      string
			Paragraphs []struct {
				ID      string
				Context string
				QAs     []struct{ Question string }
			}
		}
	}
	if err := f.decode(name, &root); err != nil {
		return nil, err
	}
	set := &Set{Name: strings.TrimSuffix(name, ".json")}
	for _, a := range root.Data {
		for _, p := range a.Paragraphs {
			if p.ID == "" { // as in SQuAD
				p.ID = fmt.Sprintf("%05d", len(set.Documents))
			}
			set.Documents = append(set.Documents, ingest.Document{ID: p.ID, Title: a.Title, Text: p.Context, Whole: true})
			for _, q := range p.QAs {
				set.Questions = append(set.Questions, Question{q.Question, []string{p.ID}})
			}
		}
	}
	return set, nil
}
