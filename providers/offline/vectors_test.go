package offline

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/headrace/headrace/pipeline"
)

type vectors struct {
	Data []struct {
		Index     int
		Object    string
		Embedding json.RawMessage
	}
	Model string
	Usage usage
}

func embed(t *testing.T, request string) ([][]float32, vectors) {
	t.Helper()
	a := post(t, pipeline.OpEmbeddings, `{"model":"e",`+request+`}`)
	if a.status != 200 {
		t.Fatalf("%s: status %d: %s", request, a.status, a.body())
	}
	v := decode[vectors](t, a.body())
	var out [][]float32
	for i, d := range v.Data {
		if d.Index != i || d.Object != "embedding" {
			t.Fatal(a.body())
		}
		var floats []float32
		if d.Embedding[0] == '"' {
			raw, err := base64.StdEncoding.DecodeString(decode[string](t, string(d.Embedding)))
			if err != nil {
				t.Fatal(err)
			}
			for ; len(raw) > 0; raw = raw[4:] {
				floats = append(floats, math.Float32frombits(binary.LittleEndian.Uint32(raw)))
			}
		} else {
			floats = decode[[]float32](t, string(d.Embedding))
		}
		if n := dot(floats, floats); math.Abs(n-1) > 1e-4 {
			t.Fatalf("%s: vector %d has length %v", request, i, n)
		}
		out = append(out, floats)
	}
	return out, v
}

func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

func TestEmbeddings(t *testing.T) {
	f := func(request string, inputs, size, tokens int) {
		t.Helper()
		v, whole := embed(t, request)
		if len(v) != inputs || len(v[0]) != size || whole.Usage.PromptTokens != tokens || whole.Usage.TotalTokens != tokens || whole.Model != "e" {
			t.Fatalf("%s: %d vectors of %d, %+v", request, len(v), len(v[0]), whole.Usage)
		}
	}
	f(`"input":"eight by"`, 1, 384, 2)
	f(`"input":["eight by","abcd","!"]`, 3, 384, 4)
	f(`"input":[1,2,3]`, 1, 384, 3)
	f(`"input":[[1,2,3],[4]]`, 2, 384, 4)
	f(`"input":"x","dimensions":16`, 1, 16, 1)
	f(`"dimensions":8,"input":[`+strings.Repeat(`"a",`, 2047)+`"a"]`, 2048, 8, 2048)

	floats, _ := embed(t, `"input":["a text","中文"]`)
	packed, _ := embed(t, `"input":["a text","中文"],"encoding_format":"base64"`)
	for i := range floats {
		if fmt.Sprint(floats[i]) != fmt.Sprint(packed[i]) {
			t.Fatal("base64 holds other numbers than the array")
		}
	}
}

func TestSimilarTextsAreNear(t *testing.T) {
	f := func(text, near, far string) {
		t.Helper()
		v, _ := embed(t, fmt.Sprintf(`"input":[%q,%q,%q]`, text, near, far))
		if n, f := dot(v[0], v[1]), dot(v[0], v[2]); n < f+0.15 {
			t.Fatalf("%q: %.3f to %q, %.3f to %q", text, n, near, f, far)
		}
	}
	f("How do I reset my password?", "resetting a forgotten password", "the weather in Paris is mild")
	f("Export jobs time out", "the export job had a timeout", "the boiler is out of oil")
	f("数据库连接失败", "数据库无法连接", "今天天气很好")
	f("HELLO World", "hello world", "goodbye moon")
}

func TestRerank(t *testing.T) {
	f := func(request string, order ...int) string {
		t.Helper()
		a := post(t, pipeline.OpRerank, `{"model":"r","query":"capital of France",`+request+`}`)
		v := decode[struct {
			ID, Model string
			Results   []struct {
				Index          int
				RelevanceScore float64 `json:"relevance_score"`
			}
			Meta struct {
				Tokens struct {
					Input int `json:"input_tokens"`
				}
			}
			Usage usage
		}](t, a.body())
		if a.status != 200 || v.ID == "" || v.Model != "r" || len(v.Results) != len(order) || v.Usage.TotalTokens == 0 || v.Meta.Tokens.Input == 0 {
			t.Fatalf("%s: %s", request, a.body())
		}
		last := 1.0
		for i, r := range v.Results {
			if r.Index != order[i] || r.RelevanceScore > last || r.RelevanceScore < 0 {
				t.Fatalf("%s: %s", request, a.body())
			}
			last = r.RelevanceScore
		}
		return a.body()
	}
	f(`"documents":["bread","Paris is the capital of France","the capital of Peru"]`, 1, 2, 0)
	f(`"documents":[{"text":"bread"},{"text":"Paris is the capital of France"}]`, 1, 0)
	f(`"documents":["bread","Paris is the capital of France"],"top_n":1`, 1)
	f(`"documents":["same","same"],"top_n":10`, 0, 1)
	if b := f(`"documents":["a \"capital\""],"return_documents":true`, 0); !strings.Contains(b, `"document":{"text":"a \"capital\""}`) {
		t.Fatal(b)
	}
}
