package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// A line is one document of a JSONL file. Unknown members are refused, so that
// a misspelt one is not lost unseen.
type line struct {
	ID       string          `json:"id"`
	DocID    string          `json:"doc_id"`
	Title    string          `json:"title"`
	Text     string          `json:"text"`
	URL      string          `json:"url"`
	Metadata json.RawMessage `json:"metadata"`
	Entities []entityName    `json:"entities"`
}

// An entityName is a name, or an object that has one.
type entityName string

// UnmarshalJSON implements json.Unmarshaler.
func (n *entityName) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*n = entityName(s)
		return nil
	}
	var o struct{ ID, Name string }
	if err := json.Unmarshal(b, &o); err != nil || o.ID+o.Name == "" {
		return errors.New("an entity is a name, or an object with id or name")
	}
	if o.Name == "" {
		o.Name = o.ID
	}
	*n = entityName(o.Name)
	return nil
}

// lines reads a JSONL file: one document on each line, or several lines of the
// same doc_id, which are its parts, in that order. A document without an id is
// called after its line. If a line is wrong, nothing of the file is taken.
func lines(file, text string) ([]Document, error) {
	var docs []Document
	var wrong WrongLines
	at := 0
	for raw := range strings.Lines(text) {
		at++
		if strings.TrimSpace(raw) == "" {
			continue
		}
		d, err := parseLine(raw)
		if err != nil {
			wrong.Add(at, err)
			continue
		}
		if d.ID == "" {
			d.ID = fmt.Sprintf("%s#%d", file, at)
		}
		docs = append(docs, d)
	}
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	return docs, nil
}

// maxWrong is how many wrong lines of a file are told.
const maxWrong = 5

// WrongLines are what is wrong with a file of lines. The zero value is nothing.
type WrongLines struct {
	told []string
	more int
}

// Add notes what is wrong with a line, which is counted from 1.
func (w *WrongLines) Add(line int, err error) {
	if len(w.told) == maxWrong {
		w.more++
		return
	}
	w.told = append(w.told, fmt.Sprintf("line %d: %v", line, err))
}

// Err names the first lines, and how many more there are; nil if none is wrong.
func (w *WrongLines) Err() error {
	switch {
	case w.told == nil:
		return nil
	case w.more > 0:
		return fmt.Errorf("%s; and %d more", strings.Join(w.told, "; "), w.more)
	}
	return errors.New(strings.Join(w.told, "; "))
}

func parseLine(raw string) (Document, error) {
	var l line
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return Document{}, Plainly(err, "a document")
	}
	if _, err := dec.Token(); err != io.EOF {
		return Document{}, errors.New("there is more than one JSON value")
	}
	if strings.TrimSpace(l.Text) == "" {
		return Document{}, errors.New(`"text" is missing or empty`)
	}
	if m := strings.TrimSpace(string(l.Metadata)); m == "null" {
		l.Metadata = nil
	} else if m != "" && m[0] != '{' {
		return Document{}, errors.New(`"metadata" is an object`)
	}
	d := Document{ID: l.DocID, Part: l.ID, Title: l.Title, Text: l.Text, URL: l.URL, Metadata: l.Metadata}
	if d.ID == "" {
		d.ID, d.Part = l.ID, ""
	}
	for _, e := range l.Entities {
		d.Entities = append(d.Entities, string(e))
	}
	return d, nil
}

// Plainly says what the decoder has against JSON without its words for our types. what
// is what an object there is called: a document.
func Plainly(err error, what string) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind := "a list"
		switch e.Type.Kind() {
		case reflect.String:
			kind = "a text"
		case reflect.Struct, reflect.Map:
			kind = "an object"
		}
		if e.Field == "" {
			return fmt.Errorf("%s is %s, not %s", what, kind, e.Value)
		}
		return fmt.Errorf("%q is %s, not %s", strings.ToLower(e.Field), kind, e.Value)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("there is no member %s; a document has id, doc_id, title, text, url, metadata and entities", name)
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok && err.Error() == endOfInput || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the line ends within its JSON value")
	}
	return err
}

// endOfInput is what the decoder says of a text that ends too soon.
const endOfInput = "unexpected end of JSON input"
