package chat

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendEdit(t *testing.T) {
	var r Request
	f := func(body, want string, edits ...Edit) {
		t.Helper()
		if err := r.Scan([]byte(body)); err != nil {
			t.Fatal(err)
		}
		if got := string(r.AppendEdit([]byte(">"), edits...)); got != ">"+want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	set := func(key, value string) Edit { return Edit{key, []byte(value)} }
	cut := func(key string) Edit { return Edit{Key: key} }
	const body = ` { "a" : 1 , "b":[2 ],"c" :3 } `

	f(body, body)
	f(body, ` { "a" : 7 , "b":[2 ],"c" :3 } `, set("a", "7"))
	f(body, ` { "a" : 1 , "b":7,"c" :8 } `, set("b", "7"), set("c", "8"))
	f(body, ` { "a" : 1 , "b":[2 ],"c" :3,"d":4 } `, set("d", "4"))
	f(body, ` { "b":[2 ],"c" :3 } `, cut("a"))
	f(body, ` { "a" : 1,"c" :3 } `, cut("b"))
	f(body, ` { "a" : 1 , "b":[2 ] } `, cut("c"))
	f(body, ` { "c" :3 } `, cut("a"), cut("b"))
	f(body, ` { "a" : 1 } `, cut("c"), cut("b"))
	f(body, ` { "b":[2 ] } `, cut("c"), cut("a"))
	f(body, ` {  } `, cut("c"), cut("b"), cut("a"))
	f(body, ` { "d":4 } `, cut("c"), cut("b"), cut("a"), set("d", "4"))
	f(body, ` { "b":5,"d":4 } `, cut("c"), set("b", "5"), cut("a"), set("d", "4"))
	f(body, body, cut("d"))
	f(body, ` { "a" : 9 , "b":[2 ],"c" :3 } `, cut("a"), set("a", "8"), set("a", "9"))
	f(body, ` { "a" : 1 , "b":[2 ],"c" :3,"d":6 } `, set("d", "5"), set("d", "6"))
	f(body, body, set("d", "5"), cut("d"))
	f(`{}`, `{"a":1}`, set("a", "1"))
	f(`{ }`, `{"\"\n":1,"b":2 }`, set("\"\n", "1"), set("b", "2"))
	f(`{"mod\u0065l":"x"}`, `{"mod\u0065l":"y"}`, set("model", `"y"`))

	r = Request{}
	if got := string(r.AppendEdit(nil, set("a", "1"))); got != `{"a":1}` {
		t.Errorf("an edit of nothing: %s", got)
	}
}

func FuzzEdit(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s), "model", []byte(`"new"`), "a", []byte(""), uint8(0))
		f.Add([]byte(s), "a", []byte(`[1]`), "b", []byte("{}"), uint8(3))
	}
	var r, after Request
	f.Fuzz(func(t *testing.T, body []byte, k1 string, v1 []byte, k2 string, v2 []byte, remove uint8) {
		if r.Scan(body) != nil || len(v1) > 0 && !json.Valid(v1) || len(v2) > 0 && !json.Valid(v2) || !utf8.Valid(v1) || !utf8.Valid(v2) {
			return
		}
		if halved(body) || !utf8.ValidString(k1) || !utf8.ValidString(k2) {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		edits := []Edit{{k1, v1}, {k2, v2}}
		for i := range r.Len() {
			if k, _ := r.At(i); remove>>(i%8)&1 == 1 {
				edits = append(edits, Edit{Key: string(k)})
			}
		}
		for _, e := range edits {
			if len(e.Value) == 0 {
				delete(want, e.Key)
			} else {
				want[e.Key] = e.Value
			}
		}
		got := r.AppendEdit(nil, edits...)
		var have map[string]json.RawMessage
		if err := json.Unmarshal(got, &have); err != nil {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		// The values as they are: nothing may be written anew.
		for k, v := range want {
			want[k] = bytes.TrimSpace(v)
		}
		if !reflect.DeepEqual(have, want) {
			t.Fatalf("%q became %q", body, got)
		}
		if err := after.Scan(got); err != nil && !strings.Contains(err.Error(), "unknown key") && !strings.Contains(err.Error(), "deep") {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
	})
}

func sum(r *Request, skip func([]byte) bool) [32]byte {
	h := sha256.New()
	r.Digest(h, skip)
	return [32]byte(h.Sum(nil))
}

func TestDigest(t *testing.T) {
	var r Request
	digest := func(body string) [32]byte {
		t.Helper()
		if err := r.Scan([]byte(body)); err != nil {
			t.Fatal(err)
		}
		return sum(&r, func(key []byte) bool { return string(key) == "user" })
	}
	f := func(a, b string, same bool) {
		t.Helper()
		if (digest(a) == digest(b)) != same {
			t.Errorf("%s and %s: same is %v", a, b, !same)
		}
	}
	long := strings.Repeat(`long \"text\" `, 1000)
	f(`{"a":1,"b":2}`, `{"b":2,"a":1}`, true)
	f(`{"a":1,"b":2}`, ` { "b" : 2 , "a" : 1 } `, true)
	f(`{"a":1,"user":"x"}`, `{"user":"y","a":1}`, true)
	f(`{"a":1,"user":"x"}`, `{"a":1}`, true)
	f(`{"\u0061":1}`, `{"a":1}`, true)
	f(`{"a":[1,{"b":" c "}]}`, "{\"a\" : [ 1,\t{ \"b\"\n: \" c \"\r} ] }", true)
	f(`{"a":["`+long+`",1]}`, `{"a":["`+long+`" , 1]}`, true)
	f(`{"a":["`+long+`",1]}`, `{"a":["`+long+`" , 2]}`, false)
	f(`{"`+long+`":1}`, `{"`+long+`" : 1}`, true)
	f(`{"a":1}`, `{"a":1.0}`, false)
	f(`{"a":"x"}`, `{"a":"\u0078"}`, false)
	f(`{"a":" "}`, `{"a":""}`, false)
	f(`{"a":{"x":1,"y":2}}`, `{"a":{"y":2,"x":1}}`, false)
	f(`{"a":1,"b":2}`, `{"a":1,"c":2}`, false)
	f(`{"a":1,"b":2}`, `{"a":1}`, false)
	f(`{"a":[1,2]}`, `{"a":[12]}`, false)
	f(`{"a":1,"b":2}`, `{"ab":12}`, false)
	f(`{"a\u0000":1}`, `{"a":1}`, false)
	f(`{"\ud800":1}`, `{"\ud801":1}`, false)
	f(`{"a":12}`, `{"a":1}`, false)
	f(`{}`, `{"":0}`, false)
}

// FuzzDigest permutes members and moves white space, which may change nothing,
// and then changes one byte, which must change something unless the two
// objects are the same to encoding/json too.
func FuzzDigest(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s), uint64(1), uint16(7), byte('x'))
		f.Add([]byte(s), uint64(2), uint16(9), byte(' '))
	}
	var r, other Request
	f.Fuzz(func(t *testing.T, body []byte, seed uint64, at uint16, with byte) {
		if r.Scan(body) != nil {
			return
		}
		want := sum(&r, nil)
		shuffled := shuffle(&r, rand.New(rand.NewPCG(seed, 0)))
		if err := other.Scan(shuffled); err != nil {
			t.Fatalf("%q: %v", shuffled, err)
		}
		if sum(&other, nil) != want {
			t.Fatalf("%q and %q differ", body, shuffled)
		}
		if len(body) == 0 {
			return
		}
		changed := slices.Clone(body)
		changed[int(at)%len(body)] = with
		if other.Scan(changed) == nil && (sum(&other, nil) == want) != (canonical(&r) == canonical(&other)) {
			t.Fatalf("%q and %q: equal digests are %v", body, changed, sum(&other, nil) == want)
		}
	})
}

// shuffle writes the object anew: members in any order, white space anywhere.
func shuffle(r *Request, rnd *rand.Rand) []byte {
	blanks := func(dst []byte) []byte {
		for rnd.IntN(3) == 0 {
			dst = append(dst, " \t\r\n"[rnd.IntN(4)])
		}
		return dst
	}
	dst := blanks([]byte{'{'})
	for n, i := range rnd.Perm(r.Len()) {
		if n > 0 {
			dst = blanks(append(dst, ','))
		}
		k, v := r.At(i)
		dst = blanks(AppendString(dst, k))
		dst = blanks(append(dst, ':'))
		for len(v) > 0 { // a token, then white space
			size := 1
			if v[0] == '"' {
				size = stringEnd(v, 0)
			} else {
				size += len(v[1:]) - len(bytes.TrimLeft(v[1:], "+-.0123456789abcdefghijklmnopqrstuvwxyzE"))
			}
			dst = blanks(append(dst, v[:size]...))
			v = v[size:]
		}
	}
	return append(dst, '}')
}

// canonical is what two objects have in common if their digests are to be the
// same, by way of encoding/json.
func canonical(r *Request) string {
	var list []string
	for i := range r.Len() {
		k, v := r.At(i)
		var b bytes.Buffer
		if err := json.Compact(&b, v); err != nil {
			panic(err)
		}
		list = append(list, string(AppendString(nil, k))+":"+b.String())
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}
