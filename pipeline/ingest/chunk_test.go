package ingest

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func pieces(text string, spans []Span) []string {
	var out []string
	for _, s := range spans {
		out = append(out, text[s.Start:s.End])
	}
	return out
}

func TestSplit(t *testing.T) {
	f := func(s Splitter, text string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, pieces(text, s.Split(text))); diff != "" {
			t.Error(diff)
		}
	}
	f(Splitter{Size: 100}, "One. Two.", "One. Two.")
	f(Splitter{Size: 12}, "One is one. Two is two. Three.", "One is one.", "Two is two.", "Three.")
	f(Splitter{Size: 20}, "One is one.\n\nTwo is. Three is.", "One is one.", "Two is. Three is.")
	// Overlap is whole sentences.
	f(Splitter{Size: 16, Overlap: 8}, "Aa aa. Bb bb. Cc cc. Dd dd.", "Aa aa. Bb bb.", "Bb bb. Cc cc.", "Cc cc. Dd dd.")
	// Initials, numbers and names of hosts end nothing.
	f(Splitter{Size: 31}, "G. Hall paid 3.50 at a.example. Then he left for good.", "G. Hall paid 3.50 at a.example.", "Then he left for good.")
	// Chinese needs no space.
	f(Splitter{Size: 8}, "水車轉動。誰造的？是老林！他走了。", "水車轉動。", "誰造的？是老林！", "他走了。")
	f(Splitter{Size: 9}, "他說：「水來了。」大家跑。", "他說：「水來了。」", "大家跑。")
	// A word is cut only if it is longer than a chunk.
	f(Splitter{Size: 10}, "alpha beta gamma", "alpha", "beta gamma")
	f(Splitter{Size: 4}, "abcdefghij", "abcd", "efgh", "ij")
	f(Splitter{Size: 10}, " \n\n ")
}

func TestSplitMarkdown(t *testing.T) {
	text := "# Mill\n\nIntro.\n\n## Wheel\n\nIt turns. It is big.\n\n```\na. B\n\nc\n```\n\n## Race\n\nWet or not.\n"
	spans := Splitter{Size: 30, Overlap: 10, Markup: true}.Split(text)
	var got []string
	for _, s := range spans {
		got = append(got, s.Heading+"|"+text[s.Start:s.End])
	}
	want := []string{"|# Mill\n\nIntro.", "Mill|## Wheel\n\nIt turns. It is big.", "Mill > Wheel|```\na. B\n\nc\n```", "Mill|## Race\n\nWet or not."}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Headings by underlines; and what looks like one, and is none.
	text = "Mill\n====\nIntro.\n\nWheel\n-----\n\nIt turns.\n\n- item\n---\n\na | b\n--|--\n\n# C# #\n\n    # code\n"
	got = nil
	for _, s := range (Splitter{Size: 30, Markup: true}).Split(text) {
		got = append(got, s.Heading+"|"+text[s.Start:s.End])
	}
	want = []string{"|Mill\n====\nIntro.", "Mill|Wheel\n-----\n\nIt turns.", "Mill > Wheel|- item\n---\n\na | b\n--|--", "|# C# #\n\n    # code"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range (Splitter{Size: 20, Markup: true}).Split("```\n# no heading\n```\nText.") {
		if s.Heading != "" {
			t.Errorf("code has become a heading: %+v", s)
		}
	}
}

// What a heading is, and what code.
func TestSplitHeadings(t *testing.T) {
	f := func(s Splitter, text string, want ...string) {
		t.Helper()
		var got []string
		for _, p := range s.Split(text) {
			got = append(got, p.Heading+"|"+text[p.Start:p.End])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	f(Splitter{Size: 9, Markup: true}, "```\naaaa\nbbbb\ncccc cccc\ndddd\n```\n", "|```\naaaa", "|bbbb", "|cccc cccc", "|dddd\n```")
	f(Splitter{Size: 14, Markup: true}, "~~~\naa\n\nbb\n~~~\nText.", "|~~~\naa\n\nbb\n~~~", "|Text.")
	f(Splitter{Size: 0, Overlap: -1}, "ab", "|a", "|b")
	f(Splitter{Size: 6, Overlap: 9}, "A. B. C. D.", "|A. B.", "|C. D.")
	f(Splitter{Size: 12, Overlap: 6, Markup: true}, "Aa. Bb.\n# C\nDd. Ee. Ff.", "|Aa. Bb.", "|# C\nDd. Ee.", "C|Ee. Ff.")

	// The headings that what comes behind stands under.
	under := func(markup bool, text, want string) {
		t.Helper()
		text += "\n\n" + strings.Repeat("x", 20)
		spans := Splitter{Size: 20, Markup: markup}.Split(text)
		if got := spans[len(spans)-1].Heading; got != want {
			t.Errorf("%q: under %q, want %q", text, got, want)
		}
	}
	under(true, "# A\n###### F\n###### G\n", "A > G")
	under(true, "# A\n####### G", "A")
	under(true, "#A", "")
	under(true, "#", "")
	under(true, "#\tTab", "Tab")
	under(true, "# A ##", "A")
	under(true, "# A\t# \t", "A")
	under(true, "# C#", "C#")
	under(true, "   # A", "A")
	under(true, "    # A", "")
	under(true, "## A\n# B\n### C\n## D\n", "B > D")
	under(true, "``\n# A", "A")
	under(true, "```a`b\n# A", "A")
	under(true, "``` a\n# A", "")
	under(true, "~~~\n```\n# A\n~~~~ \n# B", "B")
	under(true, "````\n```\n# A\n```` x\n# B\n````", "")
	under(true, "```\n# A\n```\n# B", "B")
	under(true, "A\n===", "A")
	under(true, "A\n  --- ", "A")
	under(true, "A\n    ---", "")
	under(true, "a\nb\n===", "")
	under(true, "\n\nA\n=", "A")
	under(true, "a\n\nA\n-", "A")
	under(true, "A\n\n===", "")
	under(true, "===", "")
	under(true, "    c\n---", "")
	under(true, "> q\n---", "")
	under(true, "1) i\n---", "")
	under(true, "| a\n---", "")
	under(true, "1984\n---", "1984")
	under(false, "# A\n\nB\n===", "")
}

// FuzzSplit: chunks cover everything but white space, in order, within bounds,
// and cut no character.
func FuzzSplit(f *testing.F) {
	f.Add("One. Two three.\n\nFour.", 8, 3, false)
	f.Add("# A\n\n```\ncode. Code\n```\n## B\ntext", 10, 9, true)
	f.Add("水車轉動。誰造的？\n\n是老林！", 5, 2, true)
	f.Add("a\u0301\u00a0 \U0001F600. X", 1, 0, false)
	f.Add("\n\n  #  \n~~~\nopen", 3, 2, true)
	f.Add("A\n===\n\n B c\n--\nd\n---", 6, 2, true)
	f.Fuzz(func(t *testing.T, text string, size, overlap int, markup bool) {
		if !utf8.ValidString(text) || len(text) > 1<<12 {
			return
		}
		size = 1 + abs(size)%300
		overlap = abs(overlap) % size
		covered, before := 0, -1
		for _, s := range (Splitter{Size: size, Overlap: overlap, Markup: markup}).Split(text) {
			if s.Start < 0 || s.End <= s.Start || s.End > len(text) || s.Start <= before || s.End <= covered {
				t.Fatalf("span %+v after %d, %d covered", s, before, covered)
			}
			piece := text[s.Start:s.End]
			if n := utf8.RuneCountInString(piece); n > size || !utf8.ValidString(piece) || strings.TrimSpace(piece) != piece {
				t.Fatalf("%d characters of %d: %q", n, size, piece)
			}
			if s.Start > covered && strings.TrimSpace(text[covered:s.Start]) != "" {
				t.Fatalf("lost %q", text[covered:s.Start])
			}
			if s.Start < covered && utf8.RuneCountInString(text[s.Start:covered]) > overlap {
				t.Fatalf("shares %q, more than %d", text[s.Start:covered], overlap)
			}
			covered, before = s.End, s.Start
		}
		if strings.TrimFunc(text[covered:], unicode.IsSpace) != "" {
			t.Fatalf("lost %q", text[covered:])
		}
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}
