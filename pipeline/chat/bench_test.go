package chat

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// bodies are requests of a given size whose messages repeat one text.
func bodyOf(size int, text string) []byte {
	var s strings.Builder
	s.WriteString(`{"model":"gpt-4o-mini","temperature":0.7,"max_tokens":512,"user":"u-123","messages":[{"role":"system","content":"You are a helpful assistant."}`)
	for i := 0; s.Len() < size-300; i++ {
		role := [2]string{"user", "assistant"}[i%2]
		n := min(size-200-s.Len(), 3000)
		fmt.Fprintf(&s, `,{"role":"%s","content":"%s"}`, role, strings.Repeat(text, n/len(text)+1))
	}
	s.WriteString(`],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"model":{"type":"string"}}}}}],"stream":true}`)
	return []byte(s.String())
}

var texts = []struct{ name, text string }{
	{"ascii", "The quick brown fox jumps over the lazy dog, and then it went on with {braces} and numbers 1234567890. "},
	{"mixed", `The quick brown fox jumps over the lazy dog.\nIt said \"hello\" \u00e9 and 日本語 went on with {braces} [brackets] and numbers 1234567890, `},
	{"escapes", `if (a == \"b\") {\n\treturn \"c\\d\";\n}\n`},
	{"cjk", "素早い茶色の狐がのろまな犬を飛び越え、それから続けて話をした。"},
	{"latin", "Le cœur déçu mais l'âme plutôt naïve, Louÿs rêva de crapaüter en canoë au delà des îles. "},
}

func each(b *testing.B, run func(b *testing.B, body []byte)) {
	for _, t := range texts {
		for _, size := range []int{1 << 10, 20 << 10, 200 << 10} {
			body := bodyOf(size, t.text)
			b.Run(fmt.Sprintf("%s/%dKB", t.name, size>>10), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(body)))
				run(b, body)
			})
		}
	}
}

func BenchmarkScan(b *testing.B) {
	each(b, func(b *testing.B, body []byte) {
		var r Request
		for b.Loop() {
			if err := r.Scan(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEdit(b *testing.B) {
	each(b, func(b *testing.B, body []byte) {
		var r Request
		if err := r.Scan(body); err != nil {
			b.Fatal(err)
		}
		var dst []byte
		model := []byte(`"claude-sonnet"`)
		for b.Loop() {
			dst = r.AppendEdit(dst[:0], Edit{"model", model}, Edit{"user", nil})
		}
	})
}

func BenchmarkDigest(b *testing.B) {
	each(b, func(b *testing.B, body []byte) {
		var r Request
		if err := r.Scan(body); err != nil {
			b.Fatal(err)
		}
		h := sha256.New()
		var sum [32]byte
		for b.Loop() {
			h.Reset()
			r.Digest(h, func(key []byte) bool { return string(key) == "user" })
			h.Sum(sum[:0])
		}
	})
}

// BenchmarkIndented is a body as people write it, with more marks than text.
func BenchmarkIndented(b *testing.B) {
	tool := `{"type":"function","function":{"name":"get_weather","strict":true,"parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1}},"required":["city","days"]}}}`
	compact := []byte(`{"model":"m","tools":[` + strings.Repeat(tool+",", 99) + tool + `]}`)
	var indented bytes.Buffer
	if err := json.Indent(&indented, compact, "", "  "); err != nil {
		b.Fatal(err)
	}
	for name, body := range map[string][]byte{"compact": compact, "indented": indented.Bytes()} {
		var r Request
		b.Run("Scan/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if err := r.Scan(body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("Digest/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			h := sha256.New()
			if err := r.Scan(body); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				h.Reset()
				r.Digest(h, nil)
			}
		})
	}
}

func BenchmarkSHA256(b *testing.B) {
	body := bodyOf(20<<10, texts[0].text)
	b.SetBytes(int64(len(body)))
	h := sha256.New()
	var sum [32]byte
	for b.Loop() {
		h.Reset()
		h.Write(body)
		h.Sum(sum[:0])
	}
}
