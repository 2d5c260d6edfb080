package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// maxFile is the size of the largest file that is read, in bytes.
const maxFile = 64 << 20

// formats are how files are read, by the end of their names.
var formats = map[string]func(file string, text string) ([]Document, error){
	".txt": plain, ".text": plain, ".md": markdown, ".markdown": markdown,
	".html": page, ".htm": page, ".xhtml": page, ".jsonl": lines, ".ndjson": lines,
}

// Files lists the files below root that Read can read, in order, those that it
// cannot, and the folders that cannot be listed, which keep nothing else from being
// read. Names that begin with a dot are passed over.
func Files(fsys fs.FS, root string) (files, skipped []string, closed []*FileError, err error) {
	err = fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == root:
			return err
		case err != nil:
			closed = append(closed, &FileError{name, fmt.Errorf("what is in it cannot be listed: %w", err)})
		case strings.HasPrefix(d.Name(), ".") && name != root:
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir():
		case formats[strings.ToLower(path.Ext(name))] == nil || !d.Type().IsRegular():
			skipped = append(skipped, name)
		default:
			files = append(files, name)
		}
		return nil
	})
	return files, skipped, closed, err
}

// Read reads the documents of one file. Their ids begin with prefix. One without a
// text is a document all the same: it may have had one before.
func Read(fsys fs.FS, name, prefix string) ([]Document, error) {
	read := formats[strings.ToLower(path.Ext(name))]
	if read == nil {
		return nil, fmt.Errorf("%q is no format that can be read; txt, md, html and jsonl are", path.Ext(name))
	}
	if !utf8.ValidString(name) {
		return nil, errors.New("the name of the file is not in UTF-8; give it another")
	}
	if info, err := fs.Stat(fsys, name); err != nil {
		return nil, err
	} else if info.Size() > maxFile {
		return nil, fmt.Errorf("%d bytes are more than the %d that a file may have", info.Size(), maxFile)
	}
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimPrefix(b, []byte("\uFEFF"))
	if err := encoded(b); err != nil {
		return nil, err
	}
	docs, err := read(prefix+name, strings.ReplaceAll(string(b), "\r\n", "\n"))
	for i := range docs {
		docs[i].Source = prefix + name
	}
	return docs, err
}

// encoded refuses what is not text in UTF-8, and says where that shows.
func encoded(b []byte) error {
	const save = "; save it as UTF-8"
	if bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff")) {
		return errors.New("is not text in UTF-8 but in UTF-16" + save)
	}
	at := bytes.IndexByte(b, 0)
	if at < 0 && utf8.Valid(b) {
		return nil
	}
	for i := 0; i < len(b) && (at < 0 || i < at); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			at = i
			break
		}
		i += n
	}
	return fmt.Errorf("is not text in UTF-8: byte 0x%02X in line %d"+save, b[at], 1+bytes.Count(b[:at], []byte("\n")))
}

// plain reads a text. It has no title: its first line may be anything.
func plain(file, text string) ([]Document, error) {
	return []Document{{ID: file, Text: text}}, nil
}

// markdown reads a Markdown file. Its title is that of its front matter, or else
// its first heading of the first level.
func markdown(file, text string) ([]Document, error) {
	d := Document{ID: file, Markup: true}
	d.Title, d.URL, d.Text = frontMatter(text)
	if d.Title == "" {
		for line := range strings.Lines(d.Text) {
			if line = strings.TrimSpace(line); level(line) == 1 {
				d.Title = strings.TrimSpace(strings.Trim(line, "#"))
				break
			}
		}
	}
	return []Document{d}, nil
}

// frontMatter takes the block between two lines of dashes off the front of text.
// Of its fields only title and url are of use here, and these are one line each.
func frontMatter(text string) (title, url, rest string) {
	block, ok := strings.CutPrefix(text, "---\n")
	if !ok {
		return "", "", text
	}
	for line := range strings.Lines(block) {
		block = block[len(line):]
		line = strings.TrimSpace(line)
		if line == "---" || line == "..." {
			return title, url, block
		}
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if n := len(value); n >= 2 && value[0] == value[n-1] && (value[0] == '"' || value[0] == '\'') {
			value = value[1 : n-1]
		}
		switch strings.ToLower(key) {
		case "title":
			title = value
		case "url":
			url = value
		}
	}
	return "", "", text // never closed: it was a rule
}
