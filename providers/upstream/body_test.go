package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httputil"
	"regexp"
	"strings"
	"testing"
)

// dribble gives its reader's bytes a few at a time.
type dribble struct {
	r    io.Reader
	most int
}

func (d dribble) Read(p []byte) (int, error) {
	return d.r.Read(p[:min(len(p), 1+rand.IntN(d.most))])
}

// decode reads a whole body of the framing length from in.
func decode(in []byte, length int64, most int) (string, error) {
	var b body
	b.begin(bufio.NewReaderSize(dribble{bytes.NewReader(in), most}, 64), length)
	var out strings.Builder
	for {
		piece, err := b.next(func() {})
		if err == io.EOF {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), err
		}
		if len(piece) == 0 {
			return out.String(), errors.New("empty piece")
		}
		out.Write(piece)
	}
}

func TestChunked(t *testing.T) {
	f := func(in, want string, wantErr bool) {
		t.Helper()
		for _, most := range []int{1, 2, 7, 1000} {
			got, err := decode([]byte(in), chunked, most)
			if got != want || (err != nil) != wantErr {
				t.Errorf("%q by %d: got %q, %v", in, most, got, err)
			}
		}
	}
	f("0\r\n\r\n", "", false)
	f("5\r\nhello\r\n0\r\n\r\n", "hello", false)
	f("5\r\nhello\r\n00000\r\n\r\n", "hello", false)
	f("A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", "0123456789x", false)
	f("5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", "hello", false)
	f("5 ;a=b\r\nhello\r\n1\t  ; c\r\n!\r\n0 ;x\r\n\r\n", "hello!", false) // RFC 9112, section 7.1.1
	f("5\r\nhello\r\n0\r\nA: b\r\nC-d:\r\n\r\n", "hello", false)
	f(strings.Repeat("1\r\nx\r\n", 100)+"0\r\n\r\n", strings.Repeat("x", 100), false)

	f("\r\n", "", true)
	f(";a\r\n", "", true)
	f("5 \r\nhello\r\n0\r\n\r\n", "", true)
	f("5 5\r\nhello\r\n0\r\n\r\n", "", true)
	f("5 x\r\nhello\r\n0\r\n\r\n", "", true)
	f("5 \n;a\r\nhello\r\n0\r\n\r\n", "", true)
	f("5"+strings.Repeat(" ", maxExtension+2)+";a\r\nhello\r\n0\r\n\r\n", "", true)
	f(" 5\r\nhello\r\n0\r\n\r\n", "", true)
	f("+5\r\nhello\r\n0\r\n\r\n", "", true)
	f("0x5\r\nhello\r\n0\r\n\r\n", "", true)
	f("5\nhello\r\n0\r\n\r\n", "", true)
	f("5\rxhello\r\n0\r\n\r\n", "", true) // no other byte stands for the LF
	f("5;a\rxhello\r\n0\r\n\r\n", "", true)
	f("5\r\nhello\r\n0\rx\r\n", "hello", true)
	f("5\r\nhello\r\n0\r\n\rx", "hello", true)
	f("5\r\nhello\r\n0\r\na: b\rx\r\n", "hello", true)
	f("5\r\nhello\n0\r\n\r\n", "hello", true)
	f("5\r\nhello!\r\n0\r\n\r\n", "hello", true)
	f("5\r\nhello\r0\r\n\r\n", "hello", true)
	f("5;\x00\r\nhello\r\n0\r\n\r\n", "", true)
	f("5;a\rb\r\nhello\r\n0\r\n\r\n", "", true)
	f("5\r\nhello\r\n0\r\nno colon\r\n\r\n", "hello", true)
	f("5\r\nhello\r\n0\r\n: x\r\n\r\n", "hello", true)
	f("5\r\nhello\r\n0\r\n folded: x\r\n\r\n", "hello", true)
	f("5\r\nhello\r\n0\r\na: b\n\r\n", "hello", true)
	f("5\r\nhello\r\n0\r\n\n", "hello", true)
	f("ffffffffffffffff\r\nx", "", true)
	f("8000000000000000\r\nx", "", true)
	f("00000000000000001\r\nx\r\n", "", true)
	f("1;"+strings.Repeat("a", maxExtension+1)+"\r\nx\r\n0\r\n\r\n", "", true)
	f(strings.Repeat("1;"+strings.Repeat("a", 100)+"\r\nx\r\n", 41)+"0\r\n\r\n", strings.Repeat("x", 40), true)
	f("0\r\n"+strings.Repeat("a: b\r\n", maxTrailer/6+1)+"\r\n", "", true)
}

func TestFixedAndUntilClose(t *testing.T) {
	f := func(in string, length int64, want string, wantErr error) {
		t.Helper()
		if got, err := decode([]byte(in), length, 3); got != want || err != wantErr {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	f("hello, world", 5, "hello", nil)
	f("hello", 6, "hello", io.ErrUnexpectedEOF)
	f("", 0, "", nil)
	f("hello", untilClose, "hello", nil)
	f("", untilClose, "", nil)
}

// Small chunks that have arrived together come as one piece.
func TestChunksTogether(t *testing.T) {
	var b body
	b.begin(bufio.NewReader(strings.NewReader("3\r\nabc\r\n2\r\nde\r\n4\r\nf")), chunked)
	for _, want := range []string{"abcdef", ""} {
		piece, err := b.next(func() {})
		if string(piece) != want || (err != nil) != (want == "") {
			t.Errorf("got %q, %v, want %q", piece, err, want)
		}
	}
}

var gap = regexp.MustCompile("[0-9a-fA-F][ \t]+;")

func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"3\r\nabc\r\n0\r\n\r\n", "3;x=y\r\nabc\r\n1\r\nz\r\n0\r\nA: b\r\n\r\n", "3\r\nab", "3\r\nabc\r\n",
		"0\r\n\r\nrest", "10\r\n0123456789abcdef\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5 ;a\r\nhello\r\n0\r\n\r\n", "1\r\na\r\n0\r\nX:\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, most uint8) {
		got, err := decode(in, chunked, 1+int(most))
		again, err2 := decode(in, chunked, 1<<20)
		if got != again || (err == nil) != (err2 == nil) {
			t.Fatalf("%q: %q, %v in pieces and %q, %v at once", in, got, err, again, err2)
		}
		if err != nil {
			return
		}
		ref := bufio.NewReader(bytes.NewReader(in))
		want, refErr := io.ReadAll(httputil.NewChunkedReader(ref))
		// net/http does not put up with white space in front of an extension.
		if gap.Match(in) && refErr != nil {
			return
		}
		if refErr != nil || got != string(want) {
			t.Fatalf("%q: got %q, net/http %q, %v", in, got, want, refErr)
		}
		// Cut anywhere before its end, it is not whole.
		end := wholeLength(in)
		for n := range end {
			if _, err := decode(in[:n], chunked, 1<<20); err != io.ErrUnexpectedEOF {
				t.Fatalf("%q cut at %d: %v", in, n, err)
			}
		}
	})
}

// wholeLength is how much of in the body takes, which is well-formed.
func wholeLength(in []byte) int {
	var b body
	b.begin(nil, chunked)
	_, used, _ := b.decode(bytes.Clone(in))
	return used
}

func BenchmarkChunked(b *testing.B) {
	event := "data: " + strings.Repeat("x", 250) + "\n\n"
	in := []byte(strings.Repeat("102\r\n"+event+"\r\n", 64) + "0\r\n\r\n")
	source := bytes.NewReader(in)
	r := bufio.NewReaderSize(source, 16<<10)
	var d body
	arm := func() {}
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		source.Reset(in)
		r.Reset(source)
		d.begin(r, chunked)
		for {
			if _, err := d.next(arm); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
