package offline

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/headrace/headrace/pipeline/chat"
)

const (
	maxDocuments = 1000
	rankSize     = 2048 // features are told apart by their place in so many
)

// rerank answers with the documents' scores, the best first, in the shape that
// Cohere and Jina share.
func (c *call) rerank(r *chat.Request) *refusal {
	query, _ := r.Member("query")
	if !given(query) {
		return missing("query")
	}
	if kind(query) != '"' {
		return invalid("query", "a string")
	}
	list, _ := r.Member("documents")
	if !given(list) {
		return missing("documents")
	}
	if kind(list) != '[' {
		return invalid("documents", "an array of strings or of objects with a text")
	}
	documents, bad := c.rank(query, list)
	if bad != nil {
		return bad
	}
	top := len(documents)
	if raw, _ := r.Member("top_n"); given(raw) {
		n, ok := chat.Int(raw)
		if !ok || n < 1 {
			return invalid("top_n", "an integer of at least 1")
		}
		top = int(min(int64(top), n))
	}
	full, _ := r.Member("return_documents")
	c.ranking(documents[:top], kind(full) == 't')
	return nil
}

// A ranked document is one with its score.
type ranked struct {
	index int
	text  []byte // a string value
	score float64
}

// rank scores every document and sorts them.
func (c *call) rank(query, list []byte) ([]ranked, *refusal) {
	c.turn.prompt = len(query)
	wanted, have := make([]float32, rankSize), make([]float32, rankSize)
	c.embed(wanted, query)
	normalise(wanted)
	var out []ranked
	for d := range chat.Array(list) {
		text := d
		if kind(d) == '{' {
			text = chat.Get(d, "text")
		}
		if kind(text) != '"' {
			return nil, invalid("documents", "an array of strings or of objects with a text")
		}
		c.turn.prompt += len(text)
		clear(have)
		c.embed(have, text)
		out = append(out, ranked{len(out), text, likeness(wanted, have)})
	}
	if len(out) == 0 || len(out) > maxDocuments {
		return nil, &refusal{400, "Invalid 'documents': expected an array of 1 to 1000 documents.", "documents", "invalid_value"}
	}
	slices.SortStableFunc(out, func(a, b ranked) int { return cmp.Compare(b.score, a.score) })
	return out, nil
}

// likeness is how much of the query the document has, and to a lesser part how
// little else: from 0 to 1.
func likeness(query, document []float32) float64 {
	var shared, all, dot, size float64
	for i, q := range query {
		d := float64(document[i])
		size += d * d
		if q == 0 {
			continue
		}
		all += float64(q * q)
		dot += float64(q) * d
		if d*float64(q) > 0 {
			shared += float64(q * q)
		}
	}
	if size == 0 || all == 0 {
		return 0
	}
	return min(1, max(0, 0.7*shared/all+0.3*max(0, dot/math.Sqrt(size))))
}

// ranking writes the answer.
func (c *call) ranking(documents []ranked, full bool) {
	used := tokens(c.turn.prompt)
	out := c.large()
	b := append(append(append(out.B, `{"id":"rerank-`...), c.id[:]...), `","model":`...)
	b = append(append(b, c.model...), `,"results":[`...)
	for i, d := range documents {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendInt(b, `{"index":`, d.index), `,"relevance_score":`...)
		b = strconv.AppendFloat(b, d.score, 'f', 6, 64)
		if full {
			b = append(append(append(b, `,"document":{"text":`...), d.text...), '}')
		}
		b = append(b, '}')
	}
	b = append(b, `],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1},"tokens":{`...)
	b = append(appendInt(b, `"input_tokens":`, used), `,"output_tokens":0}},"usage":{`...)
	b = appendInt(b, `"prompt_tokens":`, used)
	out.B = append(appendInt(b, `,"total_tokens":`, used), "}}"...)
}
