package origin

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
)

const (
	aGraph = `{"nodes":[{"id":"bob","type":"Person","props":[{"key":"name","value":"Bob"}]},{"id":"acme","type":"Company","props":[{"key":"name","value":"Acme"}]}],"edges":[{"src":"bob","dst":"acme","type":"EMPLOYED_AT","props":[]}]}`
	aText  = "Acme was founded in Taipei."
)

// upstream answers chats, embeddings and reranking as the recorded texts direct:
// mock:status=N fails, mock:reply=TEXT is said, mock:fail=a,b fails those models.
func upstream(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Model    string
			Messages []struct{ Content any }
			Format   struct{ Type string } `json:"response_format"`
			Input    any
			Query    string
			Docs     []string `json:"documents"`
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			fail(w, 400, "invalid JSON")
			return
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/chat/completions"):
			text := ""
			for _, m := range q.Messages {
				s, _ := m.Content.(string)
				text += s
			}
			say(w, q.Model, text, q.Format.Type == "json_object")
		case strings.HasSuffix(r.URL.Path, "/embeddings"):
			embed(w, q.Model, q.Input)
		default:
			if n := status(q.Query); n != 0 {
				fail(w, n, "mock failure")
				return
			}
			var results []string
			for i, d := range q.Docs {
				results = append(results, fmt.Sprintf(`{"index":%d,"relevance_score":%g}`, i, cosine(vector(q.Query), vector(d))))
			}
			answer(w, `{"results":[`+strings.Join(results, ",")+`]}`)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func say(w http.ResponseWriter, model, text string, jsonMode bool) {
	if model == "graph-slow" {
		time.Sleep(300 * time.Millisecond)
	}
	if _, list, ok := strings.Cut(text, "mock:fail="); ok {
		list, _, _ = strings.Cut(list, "\n")
		if slices.Contains(strings.Split(strings.TrimSpace(list), ","), model) {
			fail(w, 500, "mock failure")
			return
		}
	}
	if n := status(text); n != 0 {
		fail(w, n, "mock failure")
		return
	}
	if strings.HasPrefix(model, "no-such") {
		fail(w, 404, "The model does not exist")
		return
	}
	said := aText
	switch _, custom, ok := strings.Cut(text, "mock:reply="); {
	case ok:
		said, _, _ = strings.Cut(custom, "\n\n")
	case strings.Contains(model, "graph"):
		said = aGraph
	case jsonMode:
		said = `{"answer":"Taipei"}`
	}
	answer(w, fmt.Sprintf(`{"id":"c","object":"chat.completion","created":1,"model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, model, quote(said)))
}

func embed(w http.ResponseWriter, model string, input any) {
	list, ok := input.([]any)
	if !ok {
		list = []any{input}
	}
	if len(list) == 0 || input == nil {
		fail(w, 400, "input must not be empty")
		return
	}
	var data []string
	for i, x := range list {
		text := fmt.Sprint(x)
		if n := status(text); n != 0 {
			fail(w, n, "mock failure")
			return
		}
		v, _ := json.Marshal(vector(text))
		data = append(data, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":%s}`, i, v))
	}
	answer(w, fmt.Sprintf(`{"object":"list","model":%q,"data":[%s],"usage":{"prompt_tokens":1,"total_tokens":1}}`, model, strings.Join(data, ",")))
}

func status(text string) int {
	_, rest, _ := strings.Cut(text, "mock:status=")
	n, _ := strconv.Atoi(rest[:min(3, len(rest))])
	return n
}

// vector hashes the words of a text into eight numbers.
func vector(text string) []float64 {
	v := make([]float64, 8)
	v[0] = 0.01
	for w := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		h := fnv.New32a()
		h.Write([]byte(w))
		v[h.Sum32()%8] += 1
	}
	norm := math.Sqrt(dot(v, v))
	for i := range v {
		v[i] /= norm
	}
	return v
}

func dot(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

func cosine(a, b []float64) float64 { return dot(a, b) }

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func answer(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, body)
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"message":%s,"type":"x","param":null,"code":null}}`, quote(message))
}
