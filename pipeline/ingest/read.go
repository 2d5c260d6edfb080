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
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("is no regular file; name one, or a folder")
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
	docs, err := read(prefix+name, strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(b)))
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
		d.Title = firstHeading(d.Text)
	}
	return []Document{d}, nil
}

// firstHeading is the first heading of the first level that is not code.
func firstHeading(text string) string {
	fence, paragraph := "", ""
	for raw := range strings.Lines(text) {
		line := strings.TrimSpace(raw)
		switch {
		case fence != "":
			if closes(line, fence) {
				fence = ""
			}
			continue
		case opens(line) != "":
			fence, paragraph = opens(line), ""
			continue
		}
		if level, title := heading(raw); level == 1 && title != "" {
			return title
		} else if level > 0 || line == "" {
			paragraph = ""
			continue
		}
		if underline(raw) == 1 && titled(paragraph) {
			return strings.TrimSpace(paragraph)
		}
		paragraph += raw
	}
	return ""
}
