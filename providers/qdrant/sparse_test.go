package qdrant

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestTokens(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		var got []string
		tokens(text, func(s string) { got = append(got, s) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	f("")
	f(" -- ")
	f("The river Rhine, 1234 km", "the", "river", "rhine", "1234", "km")
	f("張忠謀是誰", "張忠", "忠謀", "謀是", "是誰")
	f("我", "我")
	f("台積電TSMC在1987年", "台積", "積電", "tsmc", "在", "1987", "年")
	f("Müller's café", "müller", "s", "café")
	f("a\xffb", "a", "b")
}

func TestWeights(t *testing.T) {
	i, v := document("river river bank")
	if len(i) != 2 || len(v) != 2 || i[0] >= i[1] {
		t.Fatalf("%v %v", i, v)
	}
	long, _ := document(strings.Repeat("river other ", 200))
	if len(long) != 2 {
		t.Errorf("%d indices", len(long))
	}
	_, one := document("river")
	_, padded := document("river " + strings.Repeat("x", 1) + strings.Repeat(" y", 300))
	if padded[0] >= one[0] && padded[1] >= one[0] && padded[2] >= one[0] {
		t.Error("a word counts no less in a longer text")
	}
	if _, w := question("river river"); w[0] != 2 {
		t.Errorf("weight %v in a question", w)
	}
	words := make([]string, 0, 1000)
	for n := range 1000 {
		words = append(words, strings.Repeat("a", n+1))
	}
	if i, _ := question(strings.Join(words, " ")); len(i) != maxTerms {
		t.Errorf("a question of %d terms", len(i))
	}
}

func FuzzTokens(f *testing.F) {
	f.Add("The river 張忠謀 a\xff")
	f.Fuzz(func(t *testing.T, text string) {
		tokens(text, func(s string) {
			if s == "" || utf8.ValidString(text) && !utf8.ValidString(s) {
				t.Errorf("token %q of %q", s, text)
			}
		})
		i, v := document(text)
		if len(i) != len(v) {
			t.Errorf("%d indices, %d values", len(i), len(v))
		}
		for n := range i {
			if n > 0 && i[n] <= i[n-1] || !(v[n] > 0) {
				t.Errorf("indices %v, values %v", i, v)
			}
		}
	})
}
