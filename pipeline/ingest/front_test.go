package ingest

import "testing"

// What stands in front of a page, and where the page begins: want is title, url and
// the rest, "|" between.
func TestFrontMatter(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		title, url, rest := frontMatter(text)
		if got := title + "|" + url + "|" + rest; got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	f("---\ntitle: a # b\nurl: u#v\n---\nx", "a|u#v|x")
	f("---\nTitle:   a\n\n# c\nother: y\n...\nx", "a||x")
	f("---\ntitle: 'a'' \"b\"' # c\nurl: \"\\\"u\\\"\"\n---\nx", "a' \"b\"|\"u\"|x")
	f("---\ntitle: '\nurl: \"u\n---\nx", "'|\"u|x")
	f("---\ntitle: |+\n\tThe  old\n  mill\n---\nx", "The old mill||x")
	f("---\ntitle: >\n  The\n\n  mill\nurl:\n  u\n  v\n---\nx", "The mill|u v|x")
	f("---\ntags:\n- title: no\n  url: no\ntitle: a\n---\nx", "a||x")
	// These are rules.
	for _, text := range []string{"---\n---\nx", "---\n# a\n\n---\nx", "---\ntitle: a\nx\n---\n", "---\ntitle: a\n", "---\nA sentence: it says so\n", "--\ntitle: a\n--\n", "x\n---\ntitle: a\n---\n"} {
		f(text, "||"+text)
	}
	f("+++\n# c\n\ntitle = \"a \\\"b\\\" \\u00e9 \\q\"\nurl='c:\\d'\n+++\nx", "a \"b\" é \\q|c:\\d|x")
	f("+++\n\"TITLE\" = 'a' # c\ntags = [\n  \"title = 1\",\n]\n[menu]\nurl = \"no\"\n+++\nx", "a||x")
	f("+++\ntitle = \"\"\"a\\\"\"\"\"\nurl = 'u'\n+++\nx", "a\"|u|x")
	f("+++\ntext = '''\ntitle = \"no\"\n+++ \n'''\ntitle = '''a\n  b'''\n+++\nx", "||'''\ntitle = '''a\n  b'''\n+++\nx")
	f("+++\ntext = '''\ntitle = \"no\"\n'''\ntitle = '''a\n  b'''\n+++\nx", "a b||x")
	f("+++\ntext = \"\"\" one line \"\"\"\ntitle = \"\"\"a\nb\"\"\"\n+++\nx", "a b||x")
	f("+++\ntitle = \"a\nurl = 5\n+++\nx", "||x")
	f("+++\ntitle = '''a\n+++", "||") // the first such line ends it, as in Hugo
	f("+++\ntitle = \"a\\", "||+++\ntitle = \"a\\")
	for _, text := range []string{"+++\n+++\nx", "+++\n# c\n+++\nx", "+++\nx\ntitle = 'a'\n+++\n", "+++\ntitle = 'a'\n"} {
		f(text, "||"+text)
	}
}
