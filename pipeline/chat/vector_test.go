package chat

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// What is read eight digits at a time must end where a digit at a time ends.
func TestDigits(t *testing.T) {
	for c := range 256 {
		for n := range 20 {
			for tail := range 10 {
				b := []byte(strings.Repeat("9", n) + string([]byte{byte(c)}) + strings.Repeat("0", tail))
				want := n
				if byte(c)-'0' <= 9 {
					want = len(b)
				}
				if got := digits(b, 0); got != want {
					t.Fatalf("digits of %q end at %d, want %d", b, got, want)
				}
			}
		}
	}
}

// Nor may a value be skipped wrongly for what stands around it, at any distance from
// a multiple of eight.
func TestSkipping(t *testing.T) {
	for _, v := range []string{
		`[]`, `{}`, `[[[]]]`, `{"a":{"b":[{}]}}`, `["]","}","{","[","\\\"]"]`, `[1.5,-2,3e4]`, `{"k]":"v}"}`, `["\u005d",true,null]`,
	} {
		for pad := range 18 {
			text := "[" + strings.Repeat("7", pad) + strings.Repeat(" ", pad) + v + strings.Repeat(" ", 17-pad) + "," + v + `,"z"]`
			at := strings.Index(text, v)
			if got := valueEnd([]byte(text), at); got != at+len(v) {
				t.Fatalf("%q ends at %d, want %d", text, got, at+len(v))
			}
		}
		for cut := 1; cut < len(v); cut++ {
			if got := valueEnd([]byte(v[:cut]), 0); got != cut {
				t.Fatalf("%q, which is not whole, ends at %d", v[:cut], got)
			}
		}
	}
	for c := range 256 {
		b := append([]byte{'['}, byte(c), '1', '2', '3', '4', '5', '6', '7', ']', ']')
		want := len(b) - 1
		switch c {
		case '"':
			want = len(b) // a text that does not end
		case '[', '{':
			want = len(b)
		case ']', '}':
			want = 2
		}
		if got := valueEnd(b, 0); got != want {
			t.Errorf("behind %q the array ends at %d, want %d", []byte{byte(c)}, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, text := range []string{
		`[]`, `[1]`, `[-1,2.5,3e4, 5 ,6]`, `[1,2,"a",3]`, `[1,[2,3],{"a":[4,5]},6]`, `[0,0.0,-0,1E-7]`, "[1,\n2]",
		`[1,]`, `[,1]`, `[1 2]`, `[01,2]`, `[1,02]`, `[1.,2]`, `[1,-]`, `[1,2`, `[1,`, `[1,2}`, `[1,+2]`, `[.5,1]`, `[1,2e]`, `[1e+,2]`,
		`[1,,2]`, `[NaN,1]`, `[1,Infinity]`, `[0x1,2]`, `[1,2]]`,
	} {
		if got, want := Valid([]byte(text)) == nil, json.Valid([]byte(text)); got != want {
			t.Errorf("%s: valid is %v, want %v", text, got, want)
		}
	}
	if err := Valid([]byte(`[1,2,x]`)); err == nil || !strings.Contains(err.Error(), "byte 5") {
		t.Errorf("%v, want the place", err)
	}
}

func BenchmarkVector(b *testing.B) {
	v := []byte(`{"data":[{"index":0,"embedding":[`)
	for i := range 1024 {
		if i > 0 {
			v = append(v, ',')
		}
		v = strconv.AppendFloat(v, float64(i*7919%2000-1000)/1e3+1e-6, 'f', 6, 64)
	}
	v = fmt.Append(v, `]}]}`)
	b.Run("valid", func(b *testing.B) {
		b.SetBytes(int64(len(v)))
		for b.Loop() {
			if Valid(v) != nil {
				b.Fatal("invalid")
			}
		}
	})
	b.Run("skip", func(b *testing.B) {
		b.SetBytes(int64(len(v)))
		for b.Loop() {
			if len(Get(v, "data")) == 0 {
				b.Fatal("nothing there")
			}
		}
	})
}
