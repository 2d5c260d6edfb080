package chat

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestNothingBehindTheEnd: a body is part of a larger buffer, which holds what an
// earlier one has left there. None of that is read, wherever the body ends.
func TestNothingBehindTheEnd(t *testing.T) {
	var r Request
	for _, s := range []string{
		`{"a":[true,false,null,-0.5e+7,12345678901234567890,{"b":"\u00e9\n\ud83d\ude00 é日😀"}],"c":{}}  `,
		`"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\u12345678"`,
		`[0.5,1,"日本語日本語日本語","éééééééééé","😀😀😀😀",123456789012345678901234567890]`,
	} {
		for end := range len(s) + 1 {
			before := []byte(s)[:end]
			alone := bytes.Clone(before)[:end:end]
			for name, f := range map[string]func(b []byte) error{"Valid": Valid, "Scan": r.Scan} {
				got, want := f(before), f(alone)
				if (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
					t.Errorf("%s of %q: %v with something behind it, %v without", name, before, got, want)
				}
			}
			got, want := 0, 0
			for range Object(before) {
				got++
			}
			for range Object(alone) {
				want++
			}
			for range Array(before) {
				got++
			}
			for range Array(alone) {
				want++
			}
			if got != want {
				t.Errorf("%q has %d items with something behind it, %d without", before, got, want)
			}
		}
	}
}

// TestUTF8 compares with the standard library what is taken for UTF-8, for every
// neighbourhood: some of it is checked two, three, six or eight bytes at a time.
func TestUTF8(t *testing.T) {
	pieces := []string{
		"a", "é", "\u07ff", "\u0800", "日", "\xed\x9f\xbf", "\ue000", "😀", "\U0010ffff",
		"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe6\x97", "\xe6\x97a",
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
	}
	for _, a := range pieces {
		for _, b := range pieces {
			for _, c := range pieces {
				for _, end := range []string{"", "日本語", "plain text"} {
					s := a + b + c + end
					if got := Valid([]byte(`"`+s+`"`)) == nil; got != utf8.ValidString(s) {
						t.Fatalf("%q is taken for UTF-8: %v", s, got)
					}
				}
			}
		}
	}
}

// TestDepth: what stands inside of one another is read by recursion, so that
// either kind of container counts, and both together.
func TestDepth(t *testing.T) {
	f := func(open, inner, end string, deep int) {
		t.Helper()
		for n, want := range map[int]bool{deep: true, deep + 1: false, 1 << 20: false} {
			if got := Valid([]byte(strings.Repeat(open, n)+inner+strings.Repeat(end, n))) == nil; got != want {
				t.Errorf("%d times %s: accepted is %v", n, open, got)
			}
		}
	}
	f(`[`, ``, `]`, 64)
	f(`{"a":`, `1`, `}`, 64)
	f(`[{"a":`, `1`, `}]`, 32)
}
