package embedded

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func termsOf(s string) []string {
	out := []string{}
	terms(s, func(t string) { out = append(out, t) })
	return out
}

func TestTerms(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		if got := termsOf(text); !slices.Equal(got, append([]string{}, want...)) {
			t.Errorf("%q: %q; want %q", text, got, want)
		}
	}
	f("The Quick, brown-fox!", "quick", "brown", "fox")
	f("who is it")
	f("Müller's CAFÉ", "muller", "cafe")
	f("ＡＢＣ１２", "abc12")
	f("張忠謀是誰?", "張忠", "忠謀", "謀是", "是誰")
	f("用Go寫", "用", "go", "寫")
	f("東京タワー", "東京", "京タ", "タワ", "ワー")
	f("がか", "がか")
	f("대한민국", "대한", "한민", "민국")
	f("हिन्दी", "हिन्दी")
	f("بُنِيَ السَّدُّ، بني السد", "بني", "السد", "بني", "السد")
	f("أحمد احمد آثار اثار مـــصر مصر", "احمد", "احمد", "اثار", "اثار", "مصر", "مصر")
	f("שָׁלוֹם שלום", "שלום", "שלום")
	f("กิน กน", "กิ", "ิน", "กน")
	f("straße STRASSE", "strasse", "strasse")
	f("a\x00b\xffc d", "b", "c", "d")
	f("")
	f(strings.Repeat("x", 1000), strings.Repeat("x", maxWord))
}

func FuzzTerms(f *testing.F) {
	for _, s := range []string{"", "The fox", "張忠謀", "がか", "é́", "\xff\xfe", "ﷺ", "a\u0300\u0300", "한국 text 漢", "\U0010ffff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := termsOf(s)
		for _, term := range got {
			if term == "" || len(term) > max(maxWord, 2*utf8.UTFMax) || stop[term] || strings.ContainsAny(term, " \x00") {
				t.Errorf("%q: term %q", s, term)
			}
		}
		if again := fold(fold(s)); utf8.ValidString(s) && again != fold(s) {
			t.Errorf("%q folds to %q and that to %q", s, fold(s), again)
		}
		p := spanOf(s, 32)
		for i := range p.ends {
			if w := p.words(i, i+1); len(w) < 2 || w[len(w)-1] != 0 {
				t.Errorf("%q: word %d is %q", s, i, w)
			}
		}
		var x inverted
		x.add(bagOf(s))
		for _, w := range x.want(s) {
			if len(w.slots) != 1 || w.weight < 1 {
				t.Errorf("%q: %v", s, w)
			}
		}
	})
}

func TestFrame(t *testing.T) {
	for _, list := range [][]string{nil, {""}, {"a", "", "b\x00\xff"}, {strings.Repeat("x", 1000)}} {
		got, err := unframe(frame(list))
		if err != nil || !slices.Equal(got, list) {
			t.Errorf("%q: %q, %v", list, got, err)
		}
	}
	for _, bad := range []string{"\x05abc", "\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"} {
		if got, err := unframe([]byte(bad)); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}
