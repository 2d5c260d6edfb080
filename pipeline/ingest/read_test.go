package ingest

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	f := func(name, text string, want ...Document) {
		t.Helper()
		docs, err := Read(fstest.MapFS{name: {Data: []byte(text)}}, name, "")
		if err != nil {
			t.Error(err)
			return
		}
		for i := range want {
			want[i].Source = name
			if want[i].ID == "" {
				want[i].ID = name
			}
		}
		if diff := cmp.Diff(want, docs); diff != "" {
			t.Error(diff)
		}
	}
	f("a.txt", "\uFEFFOne\r\ntwo", Document{Text: "One\ntwo"})
	f("a.txt", " \n", Document{Text: " \n"})
	f("a.md", "Intro\n# Mill #\ntext", Document{Title: "Mill", Text: "Intro\n# Mill #\ntext", Markup: true})
	f("a.md", "---\ntitle: \"The: Mill\"\nurl: https://mill.example\n---\n# Other\n", Document{Title: "The: Mill", URL: "https://mill.example", Text: "# Other\n", Markup: true})
	f("a.md", "---\ntitle: >-\n  The old\n  mill\ntags:\n- a\n# note\nurl: 'it''s' # here\n---\nx", Document{Title: "The old mill", URL: "it's", Text: "x", Markup: true})
	f("a.md", "+++\ntitle = \"The \\\"old\\\" mill\\u0021\" # note\nurl = 'a\\b'\ntags = [\n  \"a\",\n  [\"b\"],\n]\n\n[params]\ntitle = \"other\"\n+++\n# x\n",
		Document{Title: `The "old" mill!`, URL: `a\b`, Text: "# x\n", Markup: true})
	f("a.md", "+++\nabout = \"\"\"\ntitle = \"no\"\n\"\"\"\ntitle = '''\nThe \"mill\"'''\n+++\nx", Document{Title: `The "mill"`, Text: "x", Markup: true})
	f("a.md", "+++\nTitle = \"Z\"\n+++\nx", Document{Title: "Z", Text: "x", Markup: true})
	f("a.md", "+++\n[[page]]\ntitle = 1\n+++\n# Y", Document{Title: "Y", Text: "# Y", Markup: true})
	f("a.md", "+++\ntitle = \"no end\n+++\nx", Document{Text: "x", Markup: true})
	f("a.md", "+++\nText between.\n+++\nx", Document{Text: "+++\nText between.\n+++\nx", Markup: true})
	f("a.md", "+++\na = 1\n", Document{Text: "+++\na = 1\n", Markup: true})
	f("a.md", "+++\n+++\nx", Document{Text: "+++\n+++\nx", Markup: true})
	f("a.md", "---\nTitle: A: b # c\n...\nx", Document{Title: "A: b", Text: "x", Markup: true})
	f("a.md", "---\n\nBetween rules.\n\n---\n\nx\n", Document{Text: "---\n\nBetween rules.\n\n---\n\nx\n", Markup: true})
	f("a.md", "---\n---\nx", Document{Text: "---\n---\nx", Markup: true})
	f("a.md", "# C#\n", Document{Title: "C#", Text: "# C#\n", Markup: true})
	f("a.md", "```sh\n# no title\n```\n    # code\n#\n # Mill ##\n", Document{Title: "Mill", Text: "```sh\n# no title\n```\n    # code\n#\n # Mill ##\n", Markup: true})
	f("a.md", "Mill\n====\n\n# Other", Document{Title: "Mill", Text: "Mill\n====\n\n# Other", Markup: true})
	f("a.md", "old\rline\r\n", Document{Text: "old\nline\n", Markup: true})
	f("a.html", "<h1><div>First</div></h1><ul><li>one<ul><li><p>two</p>three</ul><li></ul><p>four<h2></h2>five",
		Document{Title: "First", Text: "# First\n\n- one\n\n- two\n\nthree\n\nfour\n\nfive", Markup: true})
	f("a.md", "---\nno end: 1\n", Document{Text: "---\nno end: 1\n", Markup: true})
	f("a.HTML", `<html><head><title> The
		Mill</title><style>p{}</style></head><body><nav>menu</nav><h2>Wheel</h2><p>It <b>turns</b>.</p><p>Big &amp; old</p>
		<ul><li>one<li>two</ul><pre>a
  b</pre><script>x()</script></body></html>`,
		Document{Title: "The Mill", Text: "## Wheel\n\nIt turns.\n\nBig & old\n\n- one\n\n- two\n\n```\na\n  b\n```", Markup: true})
	f("a.html", `<table><caption>Gates</caption><tr><th>Name<th>Width<tr><td> <td>2 m<tr><td><p>Sluice</p><td>3 m</table>x<address>Mill Lane</address>y<p hidden>z`,
		Document{Text: "Gates\n\nName | Width\n\n2 m\n\nSluice\n\n3 m\n\nx\n\nMill Lane\n\ny", Markup: true})
	f("a.html", "<pre>```sh\nls\n```</pre><h2>After</h2>",
		Document{Text: "````\n```sh\nls\n```\n````\n\n## After", Markup: true})
	f("a.html", `<h1>First</h1>x`, Document{Title: "First", Text: "# First\n\nx", Markup: true})
	f("a.jsonl", `{"id":"x","title":"T","text":"one","metadata":{"n":1},"url":"u","entities":["A",{"id":"b"},{"id":"c","name":"C"}]}

{"doc_id":"d","id":"p1","text":"two","metadata":null}
{"text":"three"}`,
		Document{ID: "x", Title: "T", Text: "one", Metadata: []byte(`{"n":1}`), URL: "u", Entities: []string{"A", "b", "C"}},
		Document{ID: "d", Part: "p1", Text: "two"},
		Document{ID: "a.jsonl#4", Text: "three"})
}

// What a document says of itself is not lost to what we know of it.
func TestMetadata(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		docs, err := Read(fstest.MapFS{"a.jsonl": {Data: []byte(line)}}, "a.jsonl", "")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(Prepare(Splitter{Size: 100}, docs).Chunks[0].Metadata)); diff != "" {
			t.Error(diff)
		}
	}
	f(`{"doc_id":"d","id":"p","text":"x","title":"T","metadata":{"page":3}}`, `{"page":3,"part":"p","source":"a.jsonl","title":"T"}`)
	f(`{"doc_id":"d","id":"p","text":"x","metadata":{"source":"wiki","part":null,"title":"own"}}`, `{"part":null,"source":"wiki","title":"own"}`)
}

// A chunk that begins with its title is not told of it twice.
func TestTitleOnce(t *testing.T) {
	for _, text := range []string{"# C# #\n\nx", "Mill\n====\n\nx", "# Mill\nx"} {
		docs, err := Read(fstest.MapFS{"a.md": {Data: []byte(text)}}, "a.md", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := Prepare(Splitter{Size: 100}, docs).Chunks[0].Text; got != text {
			t.Errorf("%q", got)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	f := func(name, text, want string) {
		t.Helper()
		docs, err := Read(fstest.MapFS{name: {Data: []byte(text)}}, name, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, docs, err)
		}
	}
	f("a.txt", "\xff", "byte 0xFF in line 1; save it as UTF-8")
	f("a.txt", "caf\u00e9\n\ncaf\xe9\x00", "byte 0xE9 in line 3")
	f("a.txt", "a\n\x00b\xff", "byte 0x00 in line 2")
	f("a.txt", "\xff\xfea\x00", "in UTF-16; save it as UTF-8")
	f("a\xff.txt", "a", "the name of the file is not in UTF-8")
	f("a.pdf", "x", ".pdf")
	if _, err := Read(fstest.MapFS{"a.md": {Mode: fs.ModeNamedPipe}}, "a.md", ""); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Error("a pipe, which may never end:", err)
	}
	f("a.jsonl", "{\"text\":\"a\"}\n{\"txt\":\"b\"}", `line 2: there is no member "txt"; a document has id`)
	f("a.jsonl", "{\"text\":\"a\"}\n[1]\n\n{}\n", `line 2: a document is an object, not array; line 4: "text" is missing or empty`)
	f("a.jsonl", strings.Repeat("1\n", 7), "line 5: a document is an object, not number; and 2 more")
	f("a.jsonl", `{"text":"a","id":7}`, `line 1: "id" is a text, not number`)
	f("a.jsonl", `{"text":"a","entities":"b"}`, `"entities" is a list, not string`)
	f("a.jsonl", `["a"]`, "a document is an object, not array")
	f("a.jsonl", `{"text":"a`, "line 1: the line ends within")
	f("a.jsonl", `{"text":"a"}}`, "more than one")
	f("a.jsonl", `{"text":" "}`, "missing")
	f("a.jsonl", `{"text":"a"} {}`, "more than one")
	f("a.jsonl", `{"text":"a","metadata":[1]}`, "object")
	f("a.jsonl", `{"text":"a","entities":[1]}`, "entity")
	f("a.html", strings.Repeat("<div>", 600)+"x", "512")
}

func TestFiles(t *testing.T) {
	fsys := fstest.MapFS{"b/c.md": {}, "a.TXT": {}, "b/d.pdf": {}, ".git/x.md": {}, "b/.hidden.md": {}, "e.jsonl": {}}
	files, skipped, closed, err := Files(fsys, ".")
	if err != nil || closed != nil {
		t.Fatal(closed, err)
	}
	if diff := cmp.Diff([]string{"a.TXT", "b/c.md", "e.jsonl"}, files); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b/d.pdf"}, skipped); diff != "" {
		t.Error(diff)
	}
}

// A locked folder system cannot list one of its folders.
type locked struct {
	fstest.MapFS
	name string
}

func (l locked) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == l.name {
		return nil, fs.ErrPermission
	}
	return l.MapFS.ReadDir(name)
}

// A folder that cannot be listed is told of, and the rest is read.
func TestFilesLocked(t *testing.T) {
	fsys := fstest.MapFS{"a/x.md": {}, "b/y.md": {}, "c.md": {}}
	files, _, closed, err := Files(locked{fsys, "a"}, ".")
	if err != nil || len(closed) != 1 || closed[0].File != "a" || !errors.Is(closed[0], fs.ErrPermission) {
		t.Error(closed, err)
	}
	if diff := cmp.Diff([]string{"b/y.md", "c.md"}, files); diff != "" {
		t.Error(diff)
	}
	if _, _, _, err := Files(locked{fsys, "."}, "."); !errors.Is(err, fs.ErrPermission) {
		t.Error("the folder that was named:", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(uint8(0), "---\ntitle: x\n---\n# y")
	f.Add(uint8(1), "<h1>x<p>y<pre>```")
	f.Add(uint8(2), `{"doc_id":"d","id":"p","text":"t","entities":["a"]}`)
	f.Fuzz(func(t *testing.T, kind uint8, text string) {
		name := []string{"a.md", "a.html", "a.jsonl"}[kind%3]
		docs, err := Read(fstest.MapFS{name: {Data: []byte(text)}}, name, "")
		if err != nil {
			return
		}
		for _, parts := range Join(docs) {
			p := Prepare(Splitter{Size: 50, Overlap: 10}, parts)
			for _, c := range p.Chunks {
				if strings.TrimSpace(c.Text) == "" {
					t.Errorf("empty chunk of %+v", parts)
				}
			}
		}
	})
}
