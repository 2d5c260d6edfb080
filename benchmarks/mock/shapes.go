package mock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

var vectors sync.Map // number of numbers → vector as JSON

// vector returns a vector of n numbers, the same every time.
func vector(n int) []byte {
	if v, ok := vectors.Load(n); ok {
		return v.([]byte)
	}
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	v := []byte{'['}
	for i := range n {
		if i > 0 {
			v = append(v, ',')
		}
		v = fmt.Appendf(v, "%.6f", rnd.Float64()*2-1)
	}
	v = append(v, ']')
	vectors.Store(n, v)
	return v
}

// embeddings is the answer to a request for embeddings: the same vector of n
// numbers for each input.
func embeddings(body []byte, n int) []byte {
	b := []byte(`{"object":"list","data":[`)
	for i := range count(body, "input") {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"object":"embedding","index":%d,"embedding":%s}`, i, vector(n))
	}
	return append(b, `],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}`...)
}

// ranking is the answer to a request to rerank: the documents in their order.
func ranking(body []byte) []byte {
	b := []byte(`{"id":"rerank-mock","results":[`)
	for i := range count(body, "documents") {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"index":%d,"relevance_score":%.4f}`, i, 1/float64(i+2))
	}
	return append(b, `],"meta":{"billed_units":{"search_units":1}}}`...)
}

// count is how many elements the member of body has; what is no array counts as one.
func count(body []byte, member string) int {
	var object map[string]json.RawMessage
	var list []json.RawMessage
	if json.Unmarshal(body, &object) != nil || json.Unmarshal(object[member], &list) != nil {
		return 1
	}
	return len(list)
}

// graphModel reports whether the body names a model that answers with a graph, and
// how long that one thinks.
func graphModel(body []byte) (time.Duration, bool) {
	_, rest, ok := bytes.Cut(body, []byte(`"model":"graph-`))
	if !ok {
		return 0, false
	}
	name, _, _ := bytes.Cut(rest, []byte(`"`))
	wait, err := time.ParseDuration(string(name))
	return wait, err == nil
}

const graphAnswer = `{"id":"chatcmpl-mock0002","object":"chat.completion","created":1700000000,"model":"graph","choices":[{"index":0,"message":{"role":"assistant","content":"` +
	`{\"nodes\":[{\"id\":\"bob\",\"type\":\"Person\",\"props\":[]},{\"id\":\"acme\",\"type\":\"Company\",\"props\":[]}],` +
	`\"edges\":[{\"src\":\"bob\",\"dst\":\"acme\",\"type\":\"EMPLOYED_AT\",\"props\":[]}]}"},"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":180,"completion_tokens":60,"total_tokens":240}}`
