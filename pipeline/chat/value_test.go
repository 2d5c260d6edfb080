package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValues(t *testing.T) {
	raw := []byte(` { "a" : [ 1 , "x,]\"" , {"b":null} ] , "\u0062" : { "c\n" : true } , "d":-12}`)
	var keys, values []string
	for k, v := range Object(raw) {
		keys, values = append(keys, string(k)), append(values, string(v))
	}
	if strings.Join(keys, "|") != "a|b|d" || strings.Join(values, "|") != `[ 1 , "x,]\"" , {"b":null} ]|{ "c\n" : true }|-12` {
		t.Errorf("the object has %q, %q", keys, values)
	}
	values = nil
	for v := range Array(Get(raw, "a")) {
		values = append(values, string(v))
	}
	if strings.Join(values, "|") != `1|"x,]\""|{"b":null}` {
		t.Errorf("the array has %q", values)
	}
	f := func(got any, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	f(string(Get(raw, "b", "c\n")), "true")
	f(Get(raw, "b", "d") == nil, true)
	f(Get(raw, "d", "e") == nil, true)
	f(string(Get([]byte("\r\t{\t\"a\"\r:\t1\r,\n\"b\"\t:\r[\t2\r]\t}"), "b")), "[\t2\r]")
	n, ok := Int(Get(raw, "d"))
	f(n, int64(-12))
	f(ok, true)
	n, ok = Int([]byte("-109876543210987654")) // 18 digits fit, whichever they are
	f(n, int64(-109876543210987654))
	f(ok, true)
	for _, bad := range []string{"", "-", "1.0", "1e3", "null", `"1"`, "1234567890123456789"} {
		_, ok = Int([]byte(bad))
		f(ok, false)
	}
	v, ok := Bool([]byte("false"))
	f(v, false)
	f(ok, true)
	_, ok = Bool([]byte("null"))
	f(ok, false)
	for _, bad := range []string{"", `"`, "null", `"a`} {
		_, ok = Text([]byte(bad))
		f(ok, false)
	}
	s, ok := Text([]byte(`"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83dx\ude00"`))
	f(s, "a\"\\/\b\f\n\r\té😀\ufffdx\ufffd")
	f(ok, true)
	s, _ = Text([]byte(`"\ud83d\nde00 \ud83d-ude00 \ud83d\ud83d\ude00"`)) // only an escape is the other half
	f(s, "\ufffd\nde00 \ufffd-ude00 \ufffd😀")
	for range Array(raw) {
		t.Error("an object has elements")
	}
	for range Object([]byte("[]")) {
		t.Error("an array has members")
	}
}

func TestAppendString(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		if got := string(AppendString([]byte("x"), s)); got != "x"+want {
			t.Errorf("%q: %s, want x%s", s, got, want)
		}
		if got := string(AppendString(nil, []byte(s))); got != want {
			t.Errorf("%q as bytes: %s, want %s", s, got, want)
		}
	}
	f("", `""`)
	f("a<b>é日😀\x7f\u2028", "\"a<b>é日😀\x7f\u2028\"")
	f("\"\\/\n\r\t\b\x00\x1f", `"\"\\/\n\r\t\u0008\u0000\u001f"`)
	f("a\xffb\xc3", "\"a\ufffdb\ufffd\"")
	f("\xed\xa0\x80\xed\xbf\xbf", `"\ud800\udfff"`)
	f("\xed\xa0", "\"\ufffd\ufffd\"")
}

// FuzzValues reads anything: nothing may panic or hang, and what is valid must
// be read as encoding/json reads it.
func FuzzValues(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	for _, s := range []string{`[1,"\u0041",[],{}]`, `"\`, `"\u12`, `{"a":`, `{"a":]`, "[\x01", `{"a":{"b":}`, `[[[[`, `"\ud83d\u12"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = bytes.TrimSpace(raw)
		var members, elements int
		for k, v := range Object(raw) {
			_, _ = k, v
			members++
		}
		for v := range Array(raw) {
			_ = Get(v, "a", "b")
			elements++
		}
		text, _ := Text(raw)
		again, _ := Text(AppendString(nil, text))
		if Useful(raw); again != strings.ToValidUTF8(text, "\ufffd") && utf8.ValidString(text) {
			t.Fatalf("%q became %q", text, again)
		}
		_, _ = ErrorObject(raw)
		if Valid(raw) != nil {
			return
		}
		var want any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber() // of any size
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		switch want := want.(type) {
		case string:
			if text != want {
				t.Fatalf("%q is %q, want %q", raw, text, want)
			}
		case []any:
			if elements != len(want) {
				t.Fatalf("%q has %d elements", raw, elements)
			}
		case map[string]any:
			if members < len(want) {
				t.Fatalf("%q has %d members", raw, members)
			}
		}
	})
}

func TestMessages(t *testing.T) {
	var r Request
	scan := func(body string) {
		t.Helper()
		if err := r.Scan([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	scan(`{"messages":[ {"role":"sys\u0074em","content":"be \"kind\""},{"content":[{"type":"text","text":"a"},{"type":"image_url"},{"text":"b\n","type":"text"}],"role":"user"} ,{"role":7,"content":null},{}]}`)
	m, err := r.Messages()
	if err != nil {
		t.Fatal(err)
	}
	f := func(i int, role string, text string, isText, isParts bool) {
		t.Helper()
		msg := m.At(i)
		if string(msg.Role) != role || string(msg.AppendText(nil)) != text || msg.IsText() != isText || msg.IsParts() != isParts {
			t.Errorf("message %d: role %q, text %q, %v, %v", i, msg.Role, msg.AppendText(nil), msg.IsText(), msg.IsParts())
		}
	}
	f(0, "system", `be "kind"`, true, false)
	f(1, "user", "a\nb\n", false, true)
	f(2, "", "", false, false)
	f(3, "", "", false, false)
	if m.Len() != 4 || string(m.At(3).Raw) != "{}" || m.At(3).Content != nil || string(m.At(2).Content) != "null" {
		t.Errorf("%d messages, the last %s", m.Len(), m.At(3).Raw)
	}

	bad := func(body string, offset int, message string) {
		t.Helper()
		scan(body)
		for range 2 { // the second time from memory
			_, err := r.Messages()
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Offset != offset || e.Param != "messages" || e.Line != 1 || !strings.Contains(e.Reason, message) {
				t.Errorf("%s: %#v", body, err)
			}
		}
	}
	bad(` {}`, 1, `missing key "messages"`)
	bad(`{"messages":{}}`, 12, "must be an array of objects")
	bad(`{"messages":[{},"x"]}`, 16, "must hold objects only")
	bad(`{"messages":[{"role":"a","r\u006fle":"b"}]}`, 25, `duplicate key "role"`)
	bad(`{"messages":[`+many(33)+`]}`, 13+len(many(32)), "32")
	bad(`{"messages":[`+strings.Repeat(`{},`, 16384)+`{}]}`, 13+3*16384, "too many messages")
	scan(`{"input":[{"role":"user","content":[]}],"messages":[]}`)
	if m, err := r.Items(); err != nil || m.Len() != 1 {
		t.Error(err)
	} else if got := string(m.WithText(nil, 0, []byte("x"), true)); got != `{"input":[{"role":"user","content":[{"type":"input_text","text":"x"}]}],"messages":[]}` {
		t.Error(got)
	}
	if m, err := r.Messages(); err != nil || m.Len() != 0 {
		t.Error("messages after items:", err)
	}
}

func TestMessageEdits(t *testing.T) {
	var r Request
	edit := func(body, want string, run func(m *Messages) []byte) {
		t.Helper()
		if err := r.Scan([]byte(`{"messages":[` + body + `],"n":1}`)); err != nil {
			t.Fatal(err)
		}
		m, err := r.Messages()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(run(m)); got != `>{"messages":[`+want+`],"n":1}` {
			t.Errorf("%s: %s", body, got)
		}
	}
	dst := func() []byte { return []byte{'>'} }
	content := func(i int) func(*Messages) []byte {
		return func(m *Messages) []byte { return m.WithContent(dst(), i, []byte(`["x"]`)) }
	}
	text := func(i int, last bool) func(*Messages) []byte {
		return func(m *Messages) []byte { return m.WithText(dst(), i, []byte(`"x`), last) }
	}
	message := func(i int) func(*Messages) []byte {
		return func(m *Messages) []byte { return m.WithMessage(dst(), i, AppendMessage(nil, "system", "x")) }
	}
	const a, x, part = `{"role":"user", "content" : "a" }`, `{"role":"system","content":"x"}`, `{"type":"text","text":"\"x"}`

	edit(a, `{"role":"user", "content" : ["x"] }`, content(0))
	edit(a+` , {"role":"tool" }`, a+` , {"role":"tool" ,"content":["x"]}`, content(1))
	edit(`{ }`, `{ "content":["x"]}`, content(0))
	edit(a, `{"role":"user", "content" : "\"xa" }`, text(0, false))
	edit(a, `{"role":"user", "content" : "a\"x" }`, text(0, true))
	edit(`{"content":[ {"type":"y"} ]}`, `{"content":[`+part+`, {"type":"y"} ]}`, text(0, false))
	edit(`{"content":[ {"type":"y"} ]}`, `{"content":[ {"type":"y"} ,`+part+`]}`, text(0, true))
	edit(`{"content":[ ]}`, `{"content":[`+part+` ]}`, text(0, false))
	edit(`{"content":null}`, `{"content":"\"x"}`, text(0, true))
	edit(`{"role":"a"}`, `{"role":"a","content":"\"x"}`, text(0, true))
	edit(a+","+a, x+","+a+","+a, message(0))
	edit(a+" ,"+a, a+" ,"+x+","+a, message(1))
	edit(a+","+a+" ", a+","+a+" ,"+x, message(2))
	edit(" ", " "+x, message(0))
}

// FuzzMessages edits any conversation: the result must stay valid, and say
// what was put in.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{`[]`, `[ {} ]`, `[{"role":"a","content":"b\\"},{"content":[]}]`, `[{"content":[{"type":"text","text":"c"} ]},{"x":null}]`} {
		f.Add([]byte(s), 0, "t\n")
		f.Add([]byte(s), 1, "")
	}
	var r, after Request
	f.Fuzz(func(t *testing.T, list []byte, i int, text string) {
		if r.Scan(bytes.Join([][]byte{[]byte(`{"messages":`), list, {'}'}}, nil)) != nil || !utf8.ValidString(text) {
			return
		}
		m, err := r.Messages()
		if err != nil || i < 0 || i > m.Len() {
			return
		}
		check := func(body []byte, at, size int, want string) {
			t.Helper()
			if err := after.Scan(body); err != nil {
				t.Fatalf("%s became %s: %v", r.body, body, err)
			}
			now, err := after.Messages()
			if err != nil || now.Len() != size {
				t.Fatalf("%s became %s: %v", r.body, body, err)
			}
			if got := string(now.At(at).AppendText(nil)); !strings.Contains(got, want) {
				t.Fatalf("%s became %s, which says %q", r.body, body, got)
			}
		}
		check(m.WithMessage(nil, i, AppendMessage(nil, "user", text)), i, m.Len()+1, text)
		if i == m.Len() {
			return
		}
		check(m.WithContent(nil, i, AppendString(nil, text)), i, m.Len(), text)
		switch c := m.At(i); {
		case c.Content == nil, c.IsText(), c.IsParts():
			check(m.WithText(nil, i, []byte(text), false), i, m.Len(), text)
			check(m.WithText(nil, i, []byte(text), true), i, m.Len(), text)
		}
	})
}

func TestPaired(t *testing.T) {
	f := func(raw string, want bool) {
		t.Helper()
		if got := Paired([]byte(raw)); got != want {
			t.Errorf("%s: %v", raw, got)
		}
		for i := range raw { // whatever is cut off
			Paired([]byte(raw[:i]))
		}
	}
	f(`{"a":["x",1]}`, true)
	f(`"\\ud800 \n\u00e9\ud83d\ude00\uD83D\uDE00"`, true)
	f(`"\\\ud800"`, false)
	f(`"\ud83d\ud83d\ude00"`, false)
	f(`"\ude00\ud83d"`, false)
	f(`"\ud83d\n"`, false)
	f(`{"\udfff":1}`, false)
	f(`"\ud83d\\ude00"`, false)
}
