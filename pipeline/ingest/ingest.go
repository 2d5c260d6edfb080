// Package ingest reads files, cuts their text into chunks, and writes these into
// a store of passages and, if there is one, a knowledge graph.
//
//	docs, skipped, failed := ingest.Read(os.DirFS("handbook"), ".")
//
// Writing is idempotent: the same documents written again cost next to nothing,
// so that a run that was interrupted is simply repeated. It is not incremental
// beyond that: a file that has gone from the disk stays in the store.
package ingest

import (
	"encoding/json"
	"fmt"
)

// A Document is one text to write, whatever file it came from.
type Document struct {
	ID       string // the same in every run, or the document is written twice
	Part     string // the name of this part, where others have the same ID
	Title    string
	URL      string
	Text     string
	Markup   bool            // Text is Markdown
	Whole    bool            // Text is one chunk already
	Metadata json.RawMessage // a JSON object; nil for none
	Entities []string        // names that the document mentions
	Source   string          // the file that it came from
}

// A FileError is a file that could not be used, and why.
type FileError struct {
	File string
	Err  error
}

// Error implements error.
func (e *FileError) Error() string { return fmt.Sprintf("%s: %v", e.File, e.Err) }

// Unwrap returns why.
func (e *FileError) Unwrap() error { return e.Err }

// metadata is what is stored with each chunk of d: what the document says of
// itself, its title and url, and where the chunk stands, unless the document has
// something of its own under that name.
func (d *Document) metadata(heading string) []byte {
	m := map[string]any{}
	for k, v := range map[string]string{"source": d.Source, "heading": heading, "part": d.Part} {
		if v != "" {
			m[k] = v
		}
	}
	if d.Metadata != nil {
		var own map[string]json.RawMessage
		if json.Unmarshal(d.Metadata, &own) == nil {
			for k, v := range own {
				m[k] = v
			}
		}
	}
	for k, v := range map[string]string{"title": d.Title, "url": d.URL} {
		if v != "" {
			m[k] = v
		}
	}
	if len(m) == 0 {
		return nil
	}
	b, err := json.Marshal(m) // with sorted keys: the same in every run
	if err != nil {
		return nil // Metadata was checked when it was read
	}
	return b
}
