package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/headrace/headrace/pipeline"
)

// maxContext bounds what is put in front of a chunk, in characters.
const maxContext = 200

// A Prepared is a document, cut into chunks, with what it adds to the graph.
type Prepared struct {
	ID, Title, Source string
	Chunks            []Chunk
	Entities          []pipeline.Entity
	Relations         []pipeline.Relation
	Broken            int // relations that were left out, as a part of them is missing

	named map[string]bool // the ids of Entities
}

// A Chunk is a piece of a document as it is stored.
type Chunk struct {
	Text     string // with the title and the headings it stands under in front
	Metadata []byte
	Mentions []string // ids of entities
}

// Prepare cuts the parts of one document, which have the same ID, into chunks.
func Prepare(s Splitter, parts []Document) *Prepared {
	p := &Prepared{ID: parts[0].ID, Title: parts[0].Title, Source: parts[0].Source}
	for i := range parts {
		d := &parts[i]
		first := len(p.Chunks)
		if d.Whole {
			p.Chunks = append(p.Chunks, Chunk{Text: above(d.Title, d.Text), Metadata: d.metadata("")})
		} else {
			s.Markup = d.Markup
			for _, span := range s.Split(d.Text) {
				text := above(place(d, span), d.Text[span.Start:span.End])
				p.Chunks = append(p.Chunks, Chunk{Text: text, Metadata: d.metadata(span.Heading)})
			}
		}
		for _, name := range d.Entities {
			p.mention(name, first)
		}
	}
	return p
}

// place is what a chunk stands under: the title of its document, unless the
// chunk begins with it, and its headings.
func place(d *Document, span Span) string {
	if d.Title == "" || span.Heading == d.Title || strings.HasPrefix(span.Heading, d.Title+" > ") {
		return span.Heading
	}
	start, _, _ := strings.Cut(d.Text[span.Start:span.End], "\n")
	_, begun := heading(start)
	switch {
	case span.Heading != "":
		return d.Title + " > " + span.Heading
	case strings.TrimSpace(strings.TrimLeft(start, "#")) == d.Title, begun == d.Title:
		return ""
	}
	return d.Title
}

func above(context, text string) string {
	if context == "" {
		return text
	}
	if utf8.RuneCountInString(context) > maxContext {
		context = string([]rune(context)[:maxContext])
	}
	return context + "\n" + text
}

// entityID is the id of the entity called name: the same for all spellings that
// differ in case, width and white space only.
func entityID(name string) string {
	return squeeze(strings.ToLower(norm.NFKC.String(name)))
}

// maxEntity bounds the id of an entity, in bytes.
const maxEntity = 1024

// entity adds an entity and returns its id, or "" if name is none.
func (p *Prepared) entity(name, kind string) string {
	id := entityID(name)
	if id == "" || len(id) > maxEntity {
		return ""
	}
	if !p.named[id] {
		if p.named == nil {
			p.named = map[string]bool{}
		}
		p.named[id] = true
		p.Entities = append(p.Entities, pipeline.Entity{ID: id, Type: kind, Name: squeeze(name)})
	}
	return id
}

// mention adds an entity that the document names, and links those of its chunks
// from the first on to it that have the name in them; if none has, the first.
func (p *Prepared) mention(name string, first int) {
	if first >= len(p.Chunks) {
		return
	}
	id := p.entity(name, concept)
	if id == "" {
		return
	}
	found := false
	for i := first; i < len(p.Chunks); i++ {
		if len(p.Chunks) == first+1 || strings.Contains(entityID(p.Chunks[i].Text), id) {
			p.Chunks[i].link(id)
			found = true
		}
	}
	if !found {
		p.Chunks[first].link(id)
	}
}

func (c *Chunk) link(id string) {
	if !slices.Contains(c.Mentions, id) {
		c.Mentions = append(c.Mentions, id)
	}
}

// digest tells whether a chunk has changed, given the model of its vector.
func digest(doc string, index int, c *Chunk, model string) [32]byte {
	h := sha256.New()
	for _, part := range []string{doc, c.Text, string(c.Metadata), model} {
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	h.Write(binary.AppendUvarint(nil, uint64(index)))
	return [32]byte(h.Sum(nil))
}
