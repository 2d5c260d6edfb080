package mock

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// different is how many vectors there are: texts get one by their hash.
const different = 1024

// vectors are those of a length in either encoding, as JSON.
type vectors struct{ numbers, packed [different][]byte }

var ofLength sync.Map // number of numbers → *vectors

// vectorsOf returns the vectors of n numbers, the same every time.
func vectorsOf(n int) *vectors {
	if v, ok := ofLength.Load(n); ok {
		return v.(*vectors)
	}
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	all := new(vectors)
	for i := range different {
		numbers := []byte{'['}
		var raw []byte
		for j := range n {
			if j > 0 {
				numbers = append(numbers, ',')
			}
			x := math.Round((rnd.Float64()*2-1)*1e6) / 1e6
			numbers = strconv.AppendFloat(numbers, x, 'f', 6, 64)
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(x)))
		}
		all.numbers[i] = append(numbers, ']')
		all.packed[i] = append(base64.StdEncoding.AppendEncode([]byte{'"'}, raw), '"')
	}
	v, _ := ofLength.LoadOrStore(n, all)
	return v.(*vectors)
}

// embeddings is the answer to a request for embeddings: a vector of n numbers for
// each input, the same for the same.
func embeddings(body []byte, n int) []byte {
	all := &vectorsOf(n).numbers
	if bytes.Contains(body, []byte(`"base64"`)) {
		all = &vectorsOf(n).packed
	}
	inputs := elements(body, "input")
	b := make([]byte, 0, 256+len(inputs)*(len(all[0])+64))
	b = append(b, `{"object":"list","data":[`...)
	for i, input := range inputs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"object":"embedding","index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `,"embedding":`...)
		b = append(append(b, all[crc32.ChecksumIEEE(input)%different]...), '}')
	}
	return append(b, `],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}`...)
}

// ranking is the answer to a request to rerank: the documents in their order.
func ranking(body []byte) []byte {
	b := []byte(`{"id":"rerank-mock","results":[`)
	for i := range elements(body, "documents") {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"index":%d,"relevance_score":%.4f}`, i, 1/float64(i+2))
	}
	return append(b, `],"meta":{"billed_units":{"search_units":1}}}`...)
}

// elements are those of an array that is a member of body; what is no array is its
// own only element.
func elements(body []byte, member string) []json.RawMessage {
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(object[member], &list) != nil {
		return []json.RawMessage{object[member]}
	}
	return list
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
