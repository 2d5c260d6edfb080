package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/headrace/headrace/pipeline"
)

// The types of the entities that are written here.
const (
	concept = "Concept"
	topic   = "Topic"
)

// A Grapher adds to a document what it says of the graph.
type Grapher interface {
	Add(p *Prepared)
}

// Titles is a Grapher without a model: what a document is called is an entity,
// and every chunk that has the title of a document in its text mentions it.
type Titles struct {
	root  node
	names map[string]string // by id
}

type node struct {
	next map[rune]*node
	id   string // of the title that ends here
}

// NewTitles returns a Grapher for documents with these titles. Titles of fewer
// than two characters, or three of Latin script, are everywhere and left out,
// and what stands in brackets at the end of one is not part of it.
func NewTitles(titles []string) *Titles {
	t := &Titles{names: map[string]string{}}
	for _, title := range titles {
		name := Topic(title)
		id := entityID(name)
		if n := utf8.RuneCountInString(id); n < 2 || n < 3 && len(id) == n || len(id) > maxEntity {
			continue
		}
		if t.names[id] != "" {
			continue
		}
		t.names[id] = name
		at := &t.root
		for _, r := range id {
			if at.next == nil {
				at.next = map[rune]*node{}
			}
			if at.next[r] == nil {
				at.next[r] = &node{}
			}
			at = at.next[r]
		}
		at.id = id
	}
	return t
}

// Topic is what a title names: "Weir (river)" is about a weir.
func Topic(title string) string {
	title = squeeze(title)
	for _, pair := range []string{"()", "（）"} {
		open, shut := pair[:len(pair)/2], pair[len(pair)/2:]
		if i := strings.LastIndex(title, open); i > 0 && strings.HasSuffix(title, shut) {
			title = strings.TrimSpace(title[:i])
		}
	}
	return title
}

// Add implements Grapher.
func (t *Titles) Add(p *Prepared) {
	own := entityID(Topic(p.Title))
	for i := range p.Chunks {
		if t.names[own] != "" {
			p.Chunks[i].link(p.entity(t.names[own], topic))
		}
		for _, id := range t.find(p.Chunks[i].Text) {
			p.Chunks[i].link(p.entity(t.names[id], topic))
		}
	}
}

// find returns the titles in text, each once, as whole words. Of titles that
// overlap, the longest at the first place counts.
func (t *Titles) find(text string) []string {
	var out []string
	runes := []rune(squeeze(strings.ToLower(norm.NFKC.String(text))))
	for i := 0; i < len(runes); i++ {
		if i > 0 && joined(runes[i-1], runes[i]) {
			continue
		}
		at, end, id := &t.root, i, ""
		for k := i; k < len(runes); k++ {
			if at = at.next[runes[k]]; at == nil {
				break
			}
			if at.id != "" && (k+1 == len(runes) || !joined(runes[k], runes[k+1])) {
				end, id = k, at.id
			}
		}
		if id != "" {
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
			i = end
		}
	}
	return out
}

// joined reports whether no word ends between a and b. Scripts without spaces
// have no words that one could tell.
func joined(a, b rune) bool {
	word := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	wide := func(r rune) bool {
		return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai)
	}
	return word(a) && word(b) && !wide(a) && !wide(b)
}

// Triples is a Grapher that has been told what each document says.
type Triples struct {
	byID, byText map[string]*facts
}

// facts are what is known of one document.
type facts struct {
	DocID    string   `json:"doc_id"`
	Title    string   `json:"title"`
	Text     string   `json:"text"`
	Entities []said   `json:"extracted_entities"`
	Named    []said   `json:"entities"`
	Triples  [][]said `json:"extracted_triples"`
	Said     [][]said `json:"triples"`
}

// said is what a model said where a name was wanted; empty if it is none.
type said string

// UnmarshalJSON implements json.Unmarshaler.
func (s *said) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '"':
		return json.Unmarshal(b, (*string)(s))
	case '{', '[', 'n':
		*s = ""
	default: // a number, such as a year
		*s = said(b)
	}
	return nil
}

// ReadTriples reads triples of subject, relation and object, in either of two
// forms: one object per line with doc_id, or title and text, and triples and
// entities; or one object whose docs have title, text, extracted_triples and
// extracted_entities, as HippoRAG writes them.
func ReadTriples(r io.Reader) (*Triples, error) {
	t := &Triples{byID: map[string]*facts{}, byText: map[string]*facts{}}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read triples: %w", err)
	}
	b = bytes.TrimPrefix(b, []byte("\uFEFF"))
	docs, err := hippo(b)
	if err != nil {
		return nil, fmt.Errorf("triples: %w", err)
	}
	at := 0
	for raw := range bytes.Lines(b) {
		if docs != nil {
			break
		}
		at++
		if len(bytes.TrimSpace(raw)) == 0 {
			continue
		}
		var f facts
		if err := json.Unmarshal(raw, &f); err != nil {
			return nil, fmt.Errorf("triples, line %d: %w", at, Plainly(err, "a document"))
		}
		if err := t.add(&f); err != nil {
			return nil, fmt.Errorf("triples, line %d: %w", at, err)
		}
	}
	for i := range docs {
		if err := t.add(&docs[i]); err != nil {
			return nil, fmt.Errorf("triples, document %d: %w", i+1, err)
		}
	}
	return t, nil
}

// hippo returns the docs of an object that begins with them, or nil. What
// follows is not read: those files end in numbers that are no JSON.
func hippo(b []byte) ([]facts, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, nil
	}
	if key, err := dec.Token(); err != nil || key != "docs" {
		return nil, nil
	}
	docs := []facts{}
	return docs, dec.Decode(&docs)
}

func (t *Triples) add(f *facts) error {
	all, key := t.byID, f.DocID
	if key == "" {
		all, key = t.byText, squeeze(f.Title+"\n"+f.Text)
	}
	if f.DocID == "" && f.Text == "" {
		return errors.New("neither doc_id nor text tells what document it is about")
	}
	if before := all[key]; before != nil { // a document may have several lines
		f.Entities, f.Named = append(before.Entities, f.Entities...), append(before.Named, f.Named...)
		f.Triples, f.Said = append(before.Triples, f.Triples...), append(before.Said, f.Said...)
	}
	all[key] = f
	return nil
}

// Len is the number of documents that something is known of.
func (t *Triples) Len() int { return len(t.byID) + len(t.byText) }

// Add implements Grapher. A document is recognised by its id, or by title and
// text if it is one chunk.
func (t *Triples) Add(p *Prepared) {
	f := t.byID[p.ID]
	if f == nil && len(p.Chunks) > 0 {
		f = t.byText[squeeze(p.Chunks[0].Text)]
	}
	if f == nil {
		return
	}
	for _, triple := range append(f.Triples, f.Said...) {
		if len(triple) != 3 {
			p.Broken++
			continue // models leave parts out; what is left says nothing
		}
		if entityID(string(triple[0])) == "" || entityID(string(triple[2])) == "" {
			p.Broken++
			continue
		}
		src, dst := p.entity(string(triple[0]), concept), p.entity(string(triple[2]), concept)
		if src == "" || dst == "" || src == dst { // too long for names, or the same
			continue
		}
		p.mention(string(triple[0]), 0)
		p.mention(string(triple[2]), 0)
		kind := relationType(string(triple[1]))
		if kind == "" {
			p.Broken++
			continue
		}
		p.Relations = append(p.Relations, pipeline.Relation{Src: src, Dst: dst, Type: kind})
	}
	for _, name := range append(f.Entities, f.Named...) {
		p.mention(string(name), 0)
	}
}

// relationType makes of words like "published by" a name that every graph store
// takes: PUBLISHED_BY. It is empty if there are no letters in them.
func relationType(words string) string {
	var b bytes.Buffer
	chars := 0
	for _, r := range strings.ToUpper(norm.NFKC.String(words)) {
		switch {
		case chars == 64:
		case unicode.IsLetter(r), unicode.IsDigit(r) && chars > 0:
			b.WriteRune(r)
			chars++
		case chars > 0 && !bytes.HasSuffix(b.Bytes(), []byte{'_'}):
			b.WriteByte('_')
			chars++
		}
	}
	return string(bytes.TrimRight(b.Bytes(), "_"))
}
