package detail

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

func reader(t *testing.T, body, contentType string) (*Reader, error) {
	t.Helper()
	ex := pipeline.Acquire(t.Context())
	t.Cleanup(ex.Release)
	ex.Request.Body = []byte(body)
	ex.Request.Header.SetContentType(contentType)
	return Read(ex)
}

// told is what the client is told of err.
func told(err error) (int, string) {
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok {
		return 0, ""
	}
	status, body := Refuse(e)
	return status, string(body)
}

func TestBodies(t *testing.T) {
	f := func(contentType, body string, status int, holds string) {
		t.Helper()
		r, err := reader(t, body, contentType)
		got, said := told(err)
		if got != status || !strings.Contains(said, holds) || (r != nil) != (status == 0) {
			t.Errorf("%q: %d %s, want %d with %s", body, got, said, status, holds)
		}
	}
	const json = "application/json"
	f(json, `{}`, 0, "")
	f("", `{}`, 0, "")
	f("application/vnd.x+json; charset=utf-8", ` {} `, 0, "")
	f(json, `{"a":1,"a":2}`, 0, "")
	f(json, "\xef\xbb\xbf {}", 0, "")
	f("text/plain", `{}`, 422, `"type":"model_attributes_type","loc":["body"]`)
	f(json, ``, 422, `{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}`)
	f(json, `null`, 422, `"missing"`)
	f(json, `[1]`, 422, `"model_attributes_type"`)
	f(json, `{"messages":[`, 422, `"type":"json_invalid","loc":["body",13],"msg":"JSON decode error","input":{},"ctx":{"error":`)
	f(json, "\n \r\t{\"a\":]", 422, `"loc":["body",9]`)
	f(json, `{"台北":"臺",]`, 422, `"loc":["body",10]`) // in characters
	f(json, "\xef\xbb\xbf{]", 422, `"loc":["body",1]`)
	f(json, "  \n", 422, `"type":"json_invalid","loc":["body",3]`)
	f(json, `{"a":NaN}`, 422, "json_invalid")
	f(json, "{\"a\":\"\xff\"}", 400, `{"detail":"There was an error parsing the body"}`)
	f(json, strings.Repeat(`{"a":`, 100)+"1"+strings.Repeat("}", 100), 422, "json_invalid")
}

// Half of a surrogate pair is no text, wherever it stands.
func TestHalves(t *testing.T) {
	f := func(body, problems string) {
		t.Helper()
		_, err := reader(t, body, "")
		const as = `,"msg":"Input should be a valid string, unable to parse raw data as a unicode string","input":`
		want := ""
		if problems != "" {
			want = `{"detail":[` + strings.ReplaceAll(problems, " in ", as) + `]}`
		}
		if _, said := told(err); said != want {
			t.Errorf("%s\ngot  %s\nwant %s", body, said, want)
		}
	}
	f(`{"a":"\ud83d\ude00 \\ud800 \u00e9"}`, "")
	f(`{"a":"x\ud800","b":["y",{"c":"\udc00\ud800"}],"d":"\ud83d\ud83d\ude00","e":"\ud800\\udc00"}`,
		`{"type":"string_unicode","loc":["body","a"] in "x�"},{"type":"string_unicode","loc":["body","b",1,"c"] in "��"},`+
			`{"type":"string_unicode","loc":["body","d"] in "�😀"},{"type":"string_unicode","loc":["body","e"] in "�\\udc00"}`)
	f(`{"a":{"k\udbff":1}}`, `{"type":"string_unicode","loc":["body","a","k�"] in "k�"}`)
	// Deeper places are not looked for: every level would read all below it.
	f(`{"a":[[[[[["y"],["x\ud800"]]]]]]}`, `{"type":"string_unicode","loc":["body","a",0,0,0,0] in "[[\"y\"],[\"x\\ud800\"]]"}`)
}

func TestLaxTypes(t *testing.T) {
	r, err := reader(t, `{"s":"x","i":"2","f":"0.5","b":"yes","b2":0,"i2":3.0,"n":null,"l":["a","b"],"d":{"k":1},"o":[{"x":"y"}]}`, "")
	if err != nil {
		t.Fatal(err)
	}
	o := slices.Collect(r.NeedObjects("o", 100000))
	if r.NeedString("s") != "x" || r.Int("i", 0) != 2 || r.Int("i2", 0) != 3 || r.Float("f", 0) != 0.5 || !r.Bool("b", false) || r.Bool("b2", true) ||
		r.OptString("n") != nil || r.OptInt("n", 7) != 7 || !r.OptBool("n", true) || len(r.NeedStrings("l", 100000)) != 2 || string(r.Dict("d")) != `{"k":1}` ||
		r.OptStrings("none", 100000) != nil || r.String("none", "d") != "d" || len(o) != 1 || o[0].NeedString("x") != "y" {
		t.Error("read wrongly")
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func TestProblems(t *testing.T) {
	r, err := reader(t, `{"s":5,"i":"two","i2":2.5,"f":"hot","n":null,"b":2,"b2":{},"l":"a","l2":["a",1],"d":[1],"o":["x"],"q":[{},5,{"x":6}],"m":[1,{"b":2,"a":null},{"c":"d"}],"k":9}`, "")
	if err != nil {
		t.Fatal(err)
	}
	r.NeedString("s")
	r.NeedString("gone")
	r.Int("i", 0)
	r.Int("i2", 0)
	r.Float("f", 0)
	r.Float("n", 0)
	r.Bool("b", false)
	r.Bool("b2", false)
	r.NeedStrings("l", 100000)
	r.NeedStrings("l2", 100000)
	r.Dict("d")
	for _, key := range []string{"o", "q"} {
		for o := range r.NeedObjects(key, 100000) {
			o.NeedString("x")
		}
	}
	if m := r.NeedTextObjects("m"); len(m) != 2 || string(m[1]) != `{"c":"d"}` {
		t.Errorf("%s", m)
	}
	r.Refuse("s", "too_low", "too low", map[string]int{"ge": 1}) // it is no text in the first place
	r.Refuse("k", "too_high", "too high", map[string]int{"le": 1})
	_, body := told(r.Err())
	at := 0
	for _, want := range []string{
		`{"type":"string_type","loc":["body","s"],"msg":"Input should be a valid string","input":5}`,
		`{"type":"missing","loc":["body","gone"],"msg":"Field required","input":{"s":5`,
		`{"type":"int_parsing","loc":["body","i"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"two"}`,
		`{"type":"int_from_float","loc":["body","i2"]`,
		`{"type":"float_parsing","loc":["body","f"]`, `{"type":"float_type","loc":["body","n"]`,
		`{"type":"bool_parsing","loc":["body","b"]`, `{"type":"bool_type","loc":["body","b2"]`,
		`{"type":"list_type","loc":["body","l"]`, `{"type":"string_type","loc":["body","l2",1]`,
		`{"type":"dict_type","loc":["body","d"]`, `{"type":"model_attributes_type","loc":["body","o",0]`,
		`{"type":"missing","loc":["body","q",0,"x"],"msg":"Field required","input":{}}`,
		`{"type":"model_attributes_type","loc":["body","q",1]`, `{"type":"string_type","loc":["body","q",2,"x"]`,
		`{"type":"dict_type","loc":["body","m",0],"msg":"Input should be a valid dictionary","input":1}`,
		`{"type":"string_type","loc":["body","m",1,"b"],"msg":"Input should be a valid string","input":2}`,
		`{"type":"string_type","loc":["body","m",1,"a"]`,
		`{"type":"too_high","loc":["body","k"],"msg":"too high","input":9,"ctx":{"le":1}}]}`,
	} {
		i := strings.Index(body[at:], want)
		if i < 0 {
			t.Fatalf("no %s behind byte %d of %s", want, at, body)
		}
		at += i
	}
	if strings.Contains(body, "too_low") {
		t.Errorf("the value of a field that was wrong already is judged: %s", body)
	}
}

// Texts and numbers are taken for other types as pydantic 2.9 does, which is the
// library that clients of the replaced service know.
func TestLaxly(t *testing.T) {
	for raw, want := range map[string]int{
		`"1"`: 1, `" 12 "`: 12, `"+3"`: 3, `"-4"`: -4, `"007"`: 7, `"1_000"`: 1000, `"5.00"`: 5, `3.0`: 3, `1e2`: 100, `true`: 1, `false`: 0, `-0.0`: 0,
		`99999999999999999999`: 1e9, `"-99999999999999999999"`: -1e9, `1` + strings.Repeat("0", 400): 1e9, `9.2e18`: 1e9,
	} {
		if r, err := reader(t, `{"i":`+raw+`}`, ""); err != nil || r.Int("i", 77) != want || r.Err() != nil {
			t.Errorf("%s: %v", raw, errors.Join(err, r.Err()))
		}
	}
	for raw, want := range map[string]string{
		`"1."`: "int_parsing", `".5"`: "int_parsing", `"1.5"`: "int_parsing", `"1__0"`: "int_parsing", `"_1"`: "int_parsing", `"0x10"`: "int_parsing", `""`: "int_parsing",
		`"1e2"`: "int_parsing", `"٣"`: "int_parsing", `"true"`: "int_parsing", `1.5`: "int_from_float", `null`: "int_type", `[]`: "int_type", `{}`: "int_type",
		`1e400`: "finite_number", `-1e400`: "finite_number", `1e20`: "int_parsing_size", `-9.3e18`: "int_parsing_size", `1e-400`: "", `-1.5`: "int_from_float",
	} {
		r, err := reader(t, `{"i":`+raw+`}`, "")
		if err != nil {
			t.Fatal(err)
		}
		r.Int("i", 0)
		if _, body := told(r.Err()); (body != "") != (want != "") || want != "" && !strings.Contains(body, `"type":"`+want+`"`) {
			t.Errorf("%s: %s", raw, body)
		}
	}
	for raw, want := range map[string]string{
		`1`: "1", `-0.5e1`: "-5", `"1_0.2_5"`: "10.25", `" .5\n"`: "0.5", `"+1."`: "1", `"1E2"`: "100", `true`: "1", `1e-400`: "0",
		`"0x1p4"`: "float_parsing", `"1__0"`: "float_parsing", `"_1"`: "float_parsing", `"."`: "float_parsing", `""`: "float_parsing", `"1e"`: "float_parsing", `"infi"`: "float_parsing",
		`1e400`: "finite_number", `"1e400"`: "finite_number", `"-inf"`: "finite_number", `"NaN"`: "finite_number", `"+Infinity"`: "finite_number", `null`: "float_type", `[]`: "float_type",
	} {
		r, err := reader(t, `{"f":`+raw+`}`, "")
		if err != nil {
			t.Fatal(err)
		}
		got := strconv.FormatFloat(r.Float("f", 77), 'g', -1, 64)
		if _, body := told(r.Err()); body != "" {
			got = body
		}
		if got != want && !strings.Contains(got, `"type":"`+want+`"`) {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
	for raw, want := range map[string]string{
		`true`: "true", `1`: "true", `1.0`: "true", `"1"`: "true", `"YES"`: "true", `"t"`: "true", `"On"`: "true",
		`false`: "false", `0`: "false", `-0.0`: "false", `"0"`: "false", `"N"`: "false", `"off"`: "false", `"FALSE"`: "false",
		`2`: "bool_parsing", `-1`: "bool_parsing", `2.0`: "bool_parsing", `"1.0"`: "bool_parsing", `" 1 "`: "bool_parsing", `""`: "bool_parsing", `"2"`: "bool_parsing",
		`1.5`: "bool_type", `9223372036854775808`: "bool_type", `9223372036854775807`: "bool_parsing", `1e400`: "bool_type", `null`: "bool_type", `[]`: "bool_type",
	} {
		r, err := reader(t, `{"b":`+raw+`}`, "")
		if err != nil {
			t.Fatal(err)
		}
		got := strconv.FormatBool(r.Bool("b", false))
		if _, body := told(r.Err()); body != "" {
			got = body
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

// A list that is too long costs no more than it took to send, whatever is in it.
func TestLongListsAreNotRead(t *testing.T) {
	const most, n = 10, 1 << 20
	for _, f := range []struct {
		element string
		read    func(*Reader) int
	}{
		{"{}", func(r *Reader) int { return len(slices.Collect(r.NeedObjects("l", most))) }},
		{"1", func(r *Reader) int { return len(r.NeedStrings("l", most)) }},
		{`"a"`, func(r *Reader) int { return len(r.OptStrings("l", most)) }},
		{"1", func(r *Reader) int { return len(r.OptList("l", most)) }},
		{"1", func(r *Reader) int { return len(r.NeedTextObjects("l")) }},
	} {
		r, err := reader(t, `{"l":[`+strings.Repeat(f.element+",", n)+f.element+`]}`, "")
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		allocs := testing.AllocsPerRun(1, func() {
			*r.found = nil
			got = f.read(r)
		})
		if _, body := told(r.Err()); got != 0 || !strings.Contains(body, `"type":"too_long","loc":["body","l"]`) {
			t.Errorf("%s: %d, %.200s", f.element, got, body)
		}
		if allocs > 100 {
			t.Errorf("%s: %v allocations", f.element, allocs)
		}
	}
	r, err := reader(t, `{"l":[`+strings.Repeat(`{"p":[{},{}]},`, 100000)+`{}]}`, "")
	if err != nil {
		t.Fatal(err)
	}
	for o := range r.NeedObjects("l", 1<<20) {
		for p := range o.NeedObjects("p", most) {
			p.NeedString("x")
		}
	}
	if len(*r.found) != maxProblems {
		t.Errorf("%d problems", len(*r.found))
	}
}

// However much is wrong, the answer stays small.
func TestAnswersAreBounded(t *testing.T) {
	r, err := reader(t, `{"l":[`+strings.Repeat(`1,`, 5000)+`1],"s":[`+strings.Repeat("1,", 50000)+`1]}`, "")
	if err != nil {
		t.Fatal(err)
	}
	r.NeedString("s")
	r.NeedStrings("l", 100000)
	if _, body := told(r.Err()); len(body) > 50<<10 {
		t.Errorf("%d bytes", len(body))
	}
}

func TestRefuse(t *testing.T) {
	f := func(e *pipeline.Error, status int, want string) {
		t.Helper()
		if got, body := Refuse(e); got != status || string(body) != want {
			t.Errorf("%d %s", got, body)
		}
	}
	f(&pipeline.Error{Status: 401, Code: "missing_api_key", Err: errors.New("x")}, 401, `{"detail":"Missing API key"}`)
	f(&pipeline.Error{Status: 429, Body: []byte(`{"error":{"message":"slow \"down\""}}`)}, 429, `{"detail":"slow \"down\""}`)
	f(&pipeline.Error{Status: 503, Code: "store_unavailable", Err: errors.New("no store")}, 503, `{"detail":"no store"}`)
	f(&pipeline.Error{Status: 7, Code: "odd"}, 502, `{"detail":"odd"}`)
}

// In OpenAI's words a refusal names the first field, and says that there is more.
func TestSentence(t *testing.T) {
	r, err := reader(t, `{"l":["a",1],"i":"x"}`, "")
	if err != nil {
		t.Fatal(err)
	}
	r.NeedStrings("l", 100000)
	r.Int("i", 0)
	e, ok := errors.AsType[*pipeline.Error](r.Err())
	if !ok || e.Param != "l.1" || e.Err.Error() != "l.1: Input should be a valid string (and 1 more)" {
		t.Errorf("%+v", e)
	}
	_, err = reader(t, `{"a":}`, "")
	if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Status != 400 || e.Code != "invalid_json" || e.Param != "" || !strings.HasPrefix(e.Err.Error(), "JSON decode error: ") {
		t.Errorf("%+v", e)
	}
	_, err = reader(t, "", "")
	if e, ok := errors.AsType[*pipeline.Error](err); !ok || e.Param != "" || e.Err.Error() != "Field required" {
		t.Errorf("%+v", e)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"s":5,"i":"two","l":[1],"o":[{}],"d":{}}`))
	f.Add([]byte(`{"i":1e999,"f":"inf","b":-0.0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ex := pipeline.Acquire(t.Context())
		defer ex.Release()
		ex.Request.Body = b
		r, err := Read(ex)
		if err == nil {
			r.NeedString("s")
			r.Int("i", 1)
			r.Float("f", 1)
			r.Bool("b", true)
			r.NeedStrings("l", 100000)
			r.Dict("d")
			for o := range r.NeedObjects("o", 100000) {
				o.NeedString("x")
			}
			err = r.Err()
		}
		if err != nil {
			if status, body := told(err); status != 422 && status != 400 || len(body) == 0 {
				t.Fatalf("%d %s", status, body)
			}
		}
	})
}
