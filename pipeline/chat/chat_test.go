package chat

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestScanAccepts(t *testing.T) {
	var r Request
	f := func(body, model string, stream bool, members int) {
		t.Helper()
		if err := r.Scan([]byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
			return
		}
		if string(r.Model()) != model || r.Stream() != stream || r.Len() != members {
			t.Errorf("%s: model %q, stream %v, %d members", body, r.Model(), r.Stream(), r.Len())
		}
	}
	f(`{}`, "", false, 0)
	f(" \t\r\n{ } \n", "", false, 0)
	f(`{"model":"m"}`, "m", false, 1)
	f(`{"mod\u0065l":"\u006d\n","stream" : true }`, "m\n", true, 2)
	f(`{"model":"😀\ud83d\ude00\ud83d"}`, "😀😀\ufffd", false, 1)
	f(`{"stream":false,"model":7}`, "", false, 2)
	f(`{"stream":"true","model":null}`, "", false, 2)
	f(`{"tools":{"model":"inner","model":"inner"},"model":"outer"}`, "outer", false, 2)
	f(`{"":1,"Other":2,"other":3,"Messages2":4,"models":5}`, "", false, 5)
	f(`{"x":`+strings.Repeat("[", 63)+strings.Repeat("]", 63)+`}`, "", false, 1)
	f(`{"x":`+strings.Repeat(`{"x":`, 62)+"[]"+strings.Repeat("}", 62)+`}`, "", false, 1)
	f(`{"x":12345678901234567890123456789e-9999}`, "", false, 1)
	f(many(1024), "", false, 1024)
}

// many is an object of n members.
func many(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `,"k%d":%d`, i, i)
	}
	return "{" + strings.TrimPrefix(s.String(), ",") + "}"
}

func TestScanRefuses(t *testing.T) {
	var r Request
	f := func(body string, offset int, param, message string) {
		t.Helper()
		err := r.Scan([]byte(body))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: accepted", body)
			return
		}
		if e.Offset != offset || e.Param != param || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: offset %d, param %q: %v", body, e.Offset, e.Param, err)
		}
		if r.Len() != 0 || r.Model() != nil || r.Stream() {
			t.Errorf("%s: the request is not empty", body)
		}
	}
	f(``, 0, "", "must begin with {, found the end of the body")
	f(`[]`, 0, "", "must begin with {, found '['")
	f(" null", 1, "", "must begin with {")
	f("\ufeff{}", 0, "", "byte order mark")
	f(`{"model":"m"} {}`, 14, "", "'{' follows the end")
	f(`{"model":"m",}`, 13, "", "expected a key in double quotes, found '}'")
	f(`{'model':1}`, 1, "", "expected a key")
	f(`{"model" "m"}`, 9, "", "expected a colon")
	f("{\"a\":1\n\"b\":2}", 7, "", "expected a comma or }, found '\"' (line 2, column 1, byte 7)")
	f(`{"model":"m"`, 12, "", "found the end of the body")
	f(`{"model":"m`, 9, "model", "no closing quote")
	f(`{"model":`, 9, "model", "expected a value, found the end")
	f(`{"a":[1,]}`, 8, "a", "expected a value, found ']'")
	f(`{"a":[1 2]}`, 8, "a", "expected a comma or ]")
	f(`{"a":tru}`, 5, "a", "true, false and null")
	f(`{"a":NaN}`, 5, "a", "expected a value")
	f(`{"a":01}`, 5, "a", "leading zero")
	f(`{"a":-}`, 6, "a", "digit after the minus")
	f(`{"a":1.}`, 7, "a", "digit after the decimal point")
	f(`{"a":1e+}`, 8, "a", "digit in the exponent")
	f("{\"a\":\"x\ny\"}", 7, "a", "control character byte 0x0a")
	f(`{"a":"\q"}`, 6, "a", "backslash")
	f(`{"a":"\u12g4"}`, 6, "a", "hexadecimal")
	f(`{"a":"\`, 6, "a", "backslash")
	f("{\"a\":\"b\xffc\"}", 7, "a", "invalid UTF-8: byte 0xff")
	f("{\"a\":\"\xed\xa0\x80\"}", 6, "a", "invalid UTF-8")          // half of a surrogate pair
	f("{\"a\":\"\xc0\xaf\"}", 6, "a", "invalid UTF-8")              // too long a form of a slash
	f("{\"a\":\"\xe0\x80\xaf\"}", 6, "a", "invalid UTF-8")          // the same
	f("{\"a\":\"日\xe6\x97\"}", 9, "a", "invalid UTF-8")             // cut short
	f("{\"a\":\"日本\xe0\x9f\xbf日本日本日本\"}", 12, "a", "invalid UTF-8") // too long among others
	f("{\"\xffa\":1}", 2, "", "invalid UTF-8")                      //
	f(`{"x":`+strings.Repeat("[", 64)+strings.Repeat("]", 64)+`}`, 68, "x", "64 deep")
	f(`{"x":`+strings.Repeat("[", 1<<20), 68, "x", "64 deep")
	f(many(1025), len(many(1024)), "", "1024")
	f(many(100_000), len(many(1024)), "", "1024")

	f(`{"model":"a","model":"b"}`, 13, "model", `duplicate key "model"`)
	f(`{"model":"a","mod\u0065l":"b"}`, 13, "model", `duplicate key "model"`)
	f(`{"x":1,"y":2,"x":3}`, 13, "x", `duplicate key "x"`)
	f(strings.TrimSuffix(many(1000), "}")+`,"k0":1}`, len(many(1000)), "k0", "duplicate")
	f(`{"Model":"a"}`, 1, "Model", `unknown key "Model": keys are case-sensitive; write "model"`)
	f(`{"model":"a","STREAM":true}`, 13, "STREAM", `write "stream"`)
	f(`{"\u017ftream":true}`, 1, "ſtream", `write "stream"`)
	f(`{"max_toKens":1}`, 1, "max_toKens", `write "max_tokens"`)
	f(`{"max_to\u212aens":1}`, 1, "max_to\u212aens", `write "max_tokens"`) // the sign for kelvin
	f(`{"`+strings.Repeat("é", 50)+`":1,"`+strings.Repeat("é", 50)+`":1}`, 106, strings.Repeat("é", 32)+"…", strings.Repeat("é", 32)+"…")
}

// TestOffsets puts each kind of mistake at every place in a long string: where
// eight or more bytes are looked at together, none may be missed or moved.
func TestOffsets(t *testing.T) {
	var r Request
	for _, bad := range []string{"\x00", "\x1f", "\n", "\xff", "\x80", "\xc3(", `\q`, "\xf5\x80\x80\x80", "\xf0\x80\x80\x80", "\xe6\x97"} {
		for _, filler := range []string{"a", "é", "日", "😀"} {
			for at := range 80 {
				before := `{"a":"` + strings.Repeat(filler, at)
				err := r.Scan([]byte(before + bad + strings.Repeat(filler, 80-at) + `"}`))
				var e *Error
				if !errors.As(err, &e) || e.Offset != len(before) {
					t.Fatalf("%q after %d of %q: %v", bad, at, filler, err)
				}
			}
		}
	}
	for _, filler := range []string{"a", "é", "日", "😀", `\n`, `\u00e9`} {
		for n := range 80 {
			if err := r.Scan([]byte(`{"a":"` + strings.Repeat(filler, n) + `"}`)); err != nil {
				t.Fatalf("%d of %q: %v", n, filler, err)
			}
		}
	}
}

func TestMember(t *testing.T) {
	var r Request
	if err := r.Scan([]byte(`{ "a" : [ 1 , 2 ] , "b\n":"x","c":null }`)); err != nil {
		t.Fatal(err)
	}
	f := func(key, want string, there bool) {
		t.Helper()
		if v, ok := r.Member(key); string(v) != want || ok != there {
			t.Errorf("%q: %q, %v", key, v, ok)
		}
	}
	f("a", "[ 1 , 2 ]", true)
	f("b\n", `"x"`, true)
	f("c", "null", true)
	f(`b\n`, "", false)
	f("", "", false)
	if k, v := r.At(1); string(k) != "b\n" || string(v) != `"x"` {
		t.Errorf("the second member is %q, %q", k, v)
	}
	v, _ := r.Member("a")
	if _ = append(v, "!!!!"...); r.Scan(r.body) != nil {
		t.Error("appending to a value changed the body")
	}
	r = Request{}
	f("a", "", false)
	if r.Model() != nil || r.Len() != 0 {
		t.Error("the zero value is not empty")
	}
}

func TestValid(t *testing.T) {
	f := func(value string, want bool) {
		t.Helper()
		if err := Valid([]byte(value)); (err == nil) != want {
			t.Errorf("%s: %v", value, err)
		}
	}
	f(` "x" `, true)
	f(`-1.5`, true)
	f(`[{"a":1,"a":2,"Model":3}]`, true)
	f(strings.Repeat("[", 64)+strings.Repeat("]", 64), true)
	f(strings.Repeat("[", 65)+strings.Repeat("]", 65), false)
	f(``, false)
	f(`1 2`, false)
	f("\"\xff\"", false)
}

// TestAllocations holds the hot paths to nothing once memory has grown.
func TestAllocations(t *testing.T) {
	var r Request
	body := []byte(`{"mod\u0065l":"a\n","stream":true,"x":[1,{"y":"z"}],"u":"` + strings.Repeat("long ", 500) +
		`","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}, {"role":"assistant","content":"b"}]}`)
	dst := make([]byte, 0, 2*len(body))
	text := []byte("more")
	event := []byte(`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}],"usage":{"prompt_tokens":1}}`)
	h := discard{}
	skip := func(key []byte) bool { return string(key) == "u" }
	f := func(name string, run func()) {
		t.Helper()
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	f("Scan", func() {
		if r.Scan(body) != nil || string(r.Model()) != "a\n" || !r.Stream() {
			t.Fatal("not scanned")
		}
	})
	f("Member", func() { _, _ = r.Member("messages") })
	f("AppendEdit", func() { dst = r.AppendEdit(dst[:0], Edit{"x", text}, Edit{"u", nil}, Edit{"new", text}) })
	f("Digest", func() { r.Digest(h, skip) })
	f("Messages", func() {
		r.list.parsed = false
		m, err := r.Messages()
		if err != nil || m.Len() != 2 {
			t.Fatal(err)
		}
		dst = m.At(0).AppendText(dst[:0])
		dst = m.WithText(dst[:0], 0, text, true)
		dst = m.WithContent(dst[:0], 1, text)
	})
	f("values", func() {
		for k, v := range Object(event) {
			_, _ = k, v
		}
		for v := range Array(Get(event, "choices")) {
			_, _ = Int(Get(v, "index"))
		}
		dst, _ = AppendText(dst[:0], Get(event, "object"))
		dst = AppendString(dst[:0], "a\nb")
	})
	f("events", func() {
		Useful(event)
		_, _ = ErrorObject(event)
	})
}

// discard is a hash that does nothing.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Sum(b []byte) []byte         { return b }
func (discard) Reset()                      {}
func (discard) Size() int                   { return 0 }
func (discard) BlockSize() int              { return 64 }
