package sse

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// pieces is a source that hands out the same memory again and again.
type pieces struct {
	list []string
	end  error
	late bool // the end comes by a call of its own
	buf  []byte
}

func (p *pieces) Next() ([]byte, error) {
	for i := range p.buf {
		p.buf[i] = '#' // a frame must not point here any more
	}
	if len(p.list) == 0 {
		return nil, p.end
	}
	p.buf = append(p.buf[:0], p.list[0]...)
	if p.list = p.list[1:]; len(p.list) == 0 && !p.late {
		return p.buf, p.end
	}
	return p.buf, nil
}

// split returns the frames that a splitter makes, and how it ends.
func split(s *Splitter, src Source, most int) (frames []string, err error) {
	s.Reset(src, most)
	for {
		frame, err := s.Next()
		if err != nil {
			if _, again := s.Next(); !errors.Is(again, err) {
				return nil, errors.New("another error follows an error")
			}
			return frames, err
		}
		if len(frame) == 0 {
			return nil, errors.New("an empty frame")
		}
		frames = append(frames, string(frame))
	}
}

func TestSplitter(t *testing.T) {
	var s Splitter
	f := func(want []string, end error, list ...string) {
		t.Helper()
		for _, late := range []bool{false, true} {
			frames, err := split(&s, &pieces{list: list, end: io.EOF, late: late}, 32)
			if !slices.Equal(frames, want) || !errors.Is(err, end) {
				t.Errorf("%q (late %v): %q, %v; want %q, %v", list, late, frames, err, want, end)
			}
		}
	}
	all := func(s ...string) []string { return s }

	f(nil, io.EOF)
	f(all("data: a\n\n"), io.EOF, "data: a\n\n")
	f(all("data: a\n\ndata: b\n\n"), io.EOF, "data: a\n\ndata: b\n\n")
	f(all("data: a\n\n", "data: b\n\n"), io.EOF, "data: a\n\ndata:", " b\n\n")
	f(all("data: a\n\n", "data: b\n\ndata: c\n\n"), io.EOF, "data: a\n\ndata:", " b\n\ndata: c\n\n")
	f(all("data: a\n\n"), io.EOF, "d", "ata: a", "\n", "\n")
	f(all(": keep-alive\n\n", "data: a\n\n"), io.EOF, ": keep-alive\n\n", "data: a\n\n")
	f(all("data: a\n\n"), io.EOF, "\xef\xbb\xbfdata: a\n\n")
	f(all("data: a\n\n"), io.EOF, "\xef", "\xbb", "\xbf", "data: a\n\n")
	f(all("\xefdata: a\n\n"), io.EOF, "\xef", "data: a\n\n")
	f(nil, io.EOF, "\xef\xbb\xbf")

	// Every way to end a line, also where a piece ends between CR and LF.
	f(all("data: a\r\n\r\n", "data: b\r\n\r\n"), io.EOF, "data: a\r\n\r", "\ndata: b\r", "\n", "\r\n")
	f(all("data: a\r\r", "data: b\r\r"), io.EOF, "data: a\r\r", "data: b\r", "\r")
	f(all("data: a\n\r", "data: b\n\n"), io.EOF, "data: a\n\r", "\ndata: b\n", "\n")
	f(all("data: a\r\n\r"), io.EOF, "data: a\r\n\r")
	f(all("data: a\r\n\rdata: b\r\n\r\n"), io.EOF, "data: a\r\n\r", "data: b\r\n\r\n")

	// The end within an event.
	f(nil, io.ErrUnexpectedEOF, "data: a")
	f(nil, io.ErrUnexpectedEOF, "data: a\n")
	f(all("data: a\n\n"), io.ErrUnexpectedEOF, "data: a\n\ndata: {}\n")
	f(all("data: a\n\n"), io.ErrUnexpectedEOF, "data: a\n\n: c")
	f(nil, io.ErrUnexpectedEOF, "\xef\xbb")
	for _, tail := range []string{"data: [DONE]", "data: [DONE]\n", "data:[DONE]\r", "data: [DONE]\r\n"} {
		f(all("data: a\n\n", "data: [DONE]\n\n"), io.EOF, "data: a\n\n", tail)
		f(all("data: a\n\n", "data: [DONE]\n\n"), io.EOF, "data: a\n\n"+tail)
		f(nil, io.ErrUnexpectedEOF, "id: 1\n"+tail)
		f(nil, io.ErrUnexpectedEOF, "x"+tail)
	}
	f(nil, io.ErrUnexpectedEOF, "data: [DONE] ")

	// Events that are too large, whole or not.
	big := "data: " + strings.Repeat("x", 24) + "\n\n" // 32 bytes
	f(all(big, big), io.EOF, big, big)
	f(all(big+big), io.EOF, big+big)
	f(nil, ErrEventTooLarge, "x"+big)
	f(nil, ErrEventTooLarge, "x"+big[:32], "\n", "data: a\n\n")
	f(all("data: a\n\n"), ErrEventTooLarge, "data: a\n\nx"+big)
	f(all("data: a\n\n", "data: b\n\n"), ErrEventTooLarge, "data: a\n\nda", "ta: b\n\nx"+big)
}

func TestSplitterErrors(t *testing.T) {
	var s Splitter
	broken := errors.New("broken")
	frames, err := split(&s, &pieces{list: []string{"data: a\n\ndata: [DONE]"}, end: broken}, 0)
	if !slices.Equal(frames, []string{"data: a\n\n"}) || !errors.Is(err, broken) {
		t.Errorf("%q, %v", frames, err)
	}
}

// TestSplitterInPlace checks that whole events are handed on where they are,
// and that a long stream allocates nothing.
func TestSplitterInPlace(t *testing.T) {
	var s Splitter
	src := &repeat{list: [][]byte{[]byte("data: a\n\ndata: b\n\ndata: c"), []byte("\n\ndata: d\n\n"), []byte("data: e\n\n")}}
	s.Reset(src, 1<<10)
	frame, err := s.Next()
	if err != nil || &frame[0] != &src.list[0][0] || string(frame) != "data: a\n\ndata: b\n\n" {
		t.Errorf("the first frame is %q, %v", frame, err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
	s.Reset(nil, 0)
	if s.src != nil {
		t.Error("the source is still held")
	}
}

// repeat is a source without end.
type repeat struct {
	list [][]byte
	at   int
}

func (r *repeat) Next() ([]byte, error) {
	piece := r.list[r.at%len(r.list)]
	r.at++
	return piece, nil
}

// event is what a reader understands of an event.
type event struct {
	name, data string
	fields     int
}

// reference reads a body without its mark by the letter of the standard, a line
// at a time. It returns the events, and the lines of one that is not whole.
func reference(body string) (events []event, tail []string) {
	whole := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(body)
	lines := strings.Split(whole, "\n")
	for _, line := range lines[:len(lines)-1] {
		if line != "" {
			tail = append(tail, line)
			continue
		}
		if len(tail) > 0 {
			events = append(events, understand(tail))
		}
		tail = nil
	}
	if last := lines[len(lines)-1]; last != "" {
		tail = append(tail, last)
	}
	return events, tail
}

func understand(lines []string) (e event) {
	var data []string
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			data = append(data, value)
		case "event":
			e.name = value
		}
		e.fields++
	}
	e.data = strings.Join(data, "\n")
	return e
}

// FuzzSplitter cuts a body anywhere: the events must be the same however it
// comes, and the same as the reference's.
func FuzzSplitter(f *testing.F) {
	for _, s := range []string{
		"data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r", "\xef\xbb\xbfdata: a\n\n: c\n\ndata: [DONE]\n",
		"data: a\n\r\ndata: b\r\n\rdata: c\n\r\n\r", "event: x\nid\ndata: 1\ndata: 2\n\ndata: [DONE]", "\n\n\n\r\r\n", "data: cut", "\xef\xbb",
	} {
		f.Add([]byte(s), []byte{1, 2, 3}, false)
		f.Add([]byte(s), []byte{7, 1, 200}, true)
	}
	var s Splitter
	f.Fuzz(func(t *testing.T, body, cuts []byte, late bool) {
		src := &pieces{end: io.EOF, late: late}
		rest := string(body)
		for _, n := range cuts {
			k := min(int(n%16), len(rest))
			src.list = append(src.list, rest[:k])
			rest = rest[k:]
		}
		src.list = append(src.list, rest)

		want, tail := reference(strings.TrimPrefix(string(body), "\xef\xbb\xbf"))
		wantErr := io.EOF
		if len(tail) == 1 && (tail[0] == "data: [DONE]" || tail[0] == "data:[DONE]") {
			want = append(want, event{data: "[DONE]", fields: 1})
		} else if len(tail) > 0 {
			wantErr = io.ErrUnexpectedEOF
		}
		frames, err := split(&s, src, 1<<20)
		if !errors.Is(err, wantErr) {
			t.Fatalf("%q: %q, then %v, want %v", body, frames, err, wantErr)
		}
		var got []event
		for _, frame := range frames {
			rest := []byte(frame)
			for len(rest) > 0 {
				e, next := Cut(rest)
				if e == nil {
					t.Fatalf("%q: the frame %q is not whole", body, frame)
				}
				rest = next
				lines, _ := reference(string(e))
				if len(lines) == 0 {
					continue
				}
				data, _ := Data(nil, e)
				if string(data) != lines[0].data || string(Name(e)) != lines[0].name {
					t.Fatalf("%q: data %q, name %q", e, data, Name(e))
				}
				got = append(got, lines[0])
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", body, got, want)
		}
		// Nothing is lost but the mark, and LFs whose CR had ended a frame.
		plain := func(b []byte) []byte {
			return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte{'\n'}, nil), []byte{'\r'}, nil)
		}
		joined := []byte(strings.Join(frames, ""))
		if err == io.EOF && !bytes.Equal(plain(joined), plain(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))) &&
			!bytes.HasSuffix(joined, []byte("data: [DONE]\n\n")) {
			t.Fatalf("%q became %q", body, joined)
		}
	})
}

func BenchmarkSplitter(b *testing.B) {
	chunk := "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + strings.Repeat("x", 150) + "\"}}]}\n\n"
	f := func(name string, list ...string) {
		b.Run(name, func(b *testing.B) {
			src := &repeat{}
			size := 0
			for _, s := range list {
				src.list = append(src.list, []byte(s))
				size += len(s)
			}
			var s Splitter
			s.Reset(src, 16<<20)
			b.ReportAllocs()
			b.SetBytes(int64(size / len(list)))
			for b.Loop() {
				if _, err := s.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f("one", chunk)
	f("sixteen", strings.Repeat(chunk, 16))
	f("halves", chunk[:100], chunk[100:])
	piece := strings.Repeat("x", 32<<10)
	f("picture", append(slices.Insert(slices.Repeat([]string{piece}, 256), 0, "data: "), "\n\n")...)
}
