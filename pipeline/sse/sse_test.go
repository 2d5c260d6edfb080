package sse

import (
	"bytes"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	f := func(frame string, want ...string) {
		t.Helper()
		rest := []byte(frame)
		for _, w := range want {
			var event []byte
			if event, rest = Cut(rest); string(event) != w {
				t.Errorf("%q: event %q, want %q", frame, event, w)
			}
		}
		if event, tail := Cut(rest); event != nil || tail != nil {
			t.Errorf("%q: left are %q and %q", frame, event, tail)
		}
	}
	f("")
	f("data: a\n")
	f("data: a")
	f("data: a\n\n", "data: a\n\n")
	f("data: a\n\nid: 1\ndata: b\n\nda", "data: a\n\n", "id: 1\ndata: b\n\n")
	f("data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\n\r\n", "data: b\r\n\r\n")
	f("data: a\r\rdata: b\r\r", "data: a\r\r", "data: b\r\r")
	f("data: a\r\n\rdata: b\n\r\n", "data: a\r\n\r", "data: b\n\r\n")
	f("\n\r\n\r: c\n\n", "\n", "\r\n", "\r", ": c\n\n")
}

func TestDataAndName(t *testing.T) {
	f := func(event, data, name string, ok bool) {
		t.Helper()
		got, has := Data([]byte(">"), []byte(event))
		if has != ok || strings.TrimPrefix(string(got), ">") != data || string(Name([]byte(event))) != name {
			t.Errorf("%q: data %q, %v, name %q", event, got, has, Name([]byte(event)))
		}
	}
	f("data: a\n\n", "a", "", true)
	f("data:a\n\n", "a", "", true)
	f("data:  a:b\r\n\r\n", " a:b", "", true)
	f("data\n\n", "", "", true)
	f("data:\n\n", "", "", true)
	f("data: a\rdata\rdata: c\r\r", "a\n\nc", "", true)
	f(": comment\n\n", "", "", false)
	f("event: x\nid: 1\nevent: y\nretry: 3\n\n", "", "y", false)
	f("event:error\ndata: {}\n\n", "{}", "error", true)
	f("Data: a\ndata : b\nxdata: c\n\n", "", "", false)
	f("data: a", "a", "", true)
	f("\n", "", "", false)

	event := []byte("data: abc\n\n")
	if data, _ := Data(make([]byte, 0, 64), event); &data[0] != &event[6] {
		t.Error("data of one line was copied")
	}
	dst := make([]byte, 0, 64)
	if data, _ := Data(dst, []byte("data: a\ndata: b\n\n")); &data[0] != &dst[:1][0] {
		t.Error("data of two lines is not in dst")
	}
}

func TestAppend(t *testing.T) {
	f := func(name, data, want string) {
		t.Helper()
		if got := string(AppendEvent([]byte(">"), name, []byte(data))); got != ">"+want {
			t.Errorf("%q, %q: %q, want %q", name, data, got, want)
		}
	}
	f("", `{"a":1}`, "data: {\"a\":1}\n\n")
	f("", "", "data: \n\n")
	f("error", "x", "event: error\ndata: x\n\n")
	f("a\r\ndata: evil\x00", "x", "event: adata: evil\ndata: x\n\n")
	f("\n", "x", "data: x\n\n")
	f("", "a\nevent: b\r\rc\r\nd\x00\n", "data: a\ndata: event: b\ndata: \ndata: c\ndata: d\ndata: \n\n")
	if got := string(AppendData(nil, Done)); got != "data: [DONE]\n\n" {
		t.Errorf("the last event is %q", got)
	}
}

func TestNoAllocation(t *testing.T) {
	frame := []byte("event: x\ndata: {\"a\":1}\n\ndata: b\ndata: c\n\n")
	dst, join := make([]byte, 0, 256), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		for rest := frame; len(rest) > 0; {
			var event []byte
			event, rest = Cut(rest)
			data, _ := Data(join, event)
			Name(event)
			dst = AppendEvent(AppendData(dst[:0], data), "error", data)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCut checks that cutting loses nothing, that only the last event's end
// may be missing, and that what is written is read back.
func FuzzCut(f *testing.F) {
	for _, s := range []string{"data: a\n\n", "event: e\r\ndata: a\r\rb", "\n\n\r\n", "data\ndata:\ndata: x\n\n", ": c\n\n\x00", "a\r", "[DONE]"} {
		f.Add([]byte(s), s)
	}
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		var joined []byte
		for rest := b; ; {
			event, next := Cut(rest)
			if event == nil {
				break
			}
			joined = append(joined, event...)
			if !bytes.Equal(next, rest[len(event):]) {
				t.Fatalf("%q: %q is followed by %q", rest, event, next)
			}
			rest = next
			_, _ = Data(nil, event)
			_ = Name(event)
		}
		if !bytes.HasPrefix(b, joined) {
			t.Fatalf("%q: the events are %q", b, joined)
		}

		written := AppendEvent(nil, name, b)
		event, rest := Cut(written)
		if len(event) != len(written) || len(rest) != 0 || bytes.ContainsAny(written, "\r\x00") {
			t.Fatalf("%q, %q: written as %q, which is not one event", name, b, written)
		}
		clean := strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(name)
		if got := strings.TrimPrefix(string(Name(event)), " "); got != strings.TrimPrefix(clean, " ") {
			t.Fatalf("the name %q became %q", name, got)
		}
		want := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "").Replace(string(b))
		if data, ok := Data(nil, event); !ok || string(data) != want {
			t.Fatalf("%q became %q", want, data)
		}
		for line := range strings.Lines(string(written)) {
			if line != "\n" && !strings.HasPrefix(line, "data: ") && !strings.HasPrefix(line, "event: ") {
				t.Fatalf("%q, %q: the line %q", name, b, line)
			}
		}
	})
}

func TestEnds(t *testing.T) {
	f := func(frame string, want bool) {
		t.Helper()
		if got := Ends([]byte(frame)); got != want {
			t.Errorf("%q: %v", frame, got)
		}
	}
	for _, frame := range []string{"\n", "\r", "\r\n", "\n\n", "data: a\n\n", "data: a\r\n\r\n", "data: a\r\r", "data: a\n\r\n", "data: a\r\n\n", "data: a\r\n\r", "data: a\n\r"} {
		f(frame, true)
		for rest := []byte(frame); len(rest) > 0; { // as Cut has it
			event, after := Cut(rest)
			if event == nil {
				t.Errorf("%q: Cut leaves %q", frame, rest)
			}
			rest = after
		}
	}
	for _, frame := range []string{"", "a", "data: a\n", "data: a\r", "data: a\r\n", "data: a\n\ndata: b\n", "\na"} {
		f(frame, false)
	}
}
