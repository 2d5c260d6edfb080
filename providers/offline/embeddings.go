package offline

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"

	"github.com/headrace/headrace/pipeline/chat"
)

const (
	maxInputs     = 2048
	maxDimensions = 4096
	maxNumbers    = 1 << 20 // in one answer
)

// embeddings answers with a vector for each input.
func (c *call) embeddings(r *chat.Request) *refusal {
	input, _ := r.Member("input")
	inputs, bad := inputsOf(input)
	if bad != nil {
		return bad
	}
	size := c.p.Dimensions
	if d, _ := r.Member("dimensions"); given(d) {
		n, ok := chat.Int(d)
		if !ok || n < 1 || n > maxDimensions {
			return invalid("dimensions", "an integer from 1 to 4096")
		}
		size = int(n)
	}
	if size*len(inputs) > maxNumbers {
		return invalid("dimensions", "no more than 1048576 numbers in all")
	}
	encoding, _ := r.Member("encoding_format")
	packed := string(encoding) == `"base64"`
	if given(encoding) && !packed && string(encoding) != `"float"` {
		return invalid("encoding_format", "'float' or 'base64'")
	}
	out := c.large()
	b := append(out.B, `{"object":"list","data":[`...)
	vector := make([]float32, size)
	used := 0
	for i, in := range inputs {
		clear(vector)
		used += c.embed(vector, in)
		normalise(vector)
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendInt(b, `{"object":"embedding","index":`, i), `,"embedding":`...)
		b = append(appendVector(b, vector, packed), '}')
	}
	b = append(append(b, `],"model":`...), c.model...)
	b = appendInt(b, `,"usage":{"prompt_tokens":`, used)
	out.B = append(appendInt(b, `,"total_tokens":`, used), "}}"...)
	return nil
}

// inputsOf takes an input apart: one text, several, one list of tokens, or several.
func inputsOf(input []byte) ([][]byte, *refusal) {
	wrong := invalid("input", "a string, an array of strings, an array of tokens or an array of arrays of tokens")
	switch kind(input) {
	case 0, 'n':
		return nil, missing("input")
	case '"':
		if len(input) == 2 {
			return nil, invalid("input", "a text that is not empty")
		}
		return [][]byte{input}, nil
	case '[':
	default:
		return nil, wrong
	}
	first := kind(firstOf(input))
	if first != 0 && first != '"' && first != '[' {
		if !areTokens(input) {
			return nil, wrong
		}
		return [][]byte{input}, nil
	}
	var list [][]byte
	for v := range chat.Array(input) {
		if kind(v) != first || len(v) == 2 || first == '[' && !areTokens(v) {
			return nil, wrong
		}
		list = append(list, v)
	}
	if len(list) == 0 || len(list) > maxInputs {
		return nil, &refusal{400, "Invalid 'input': expected an array of 1 to 2048 inputs.", "input", "invalid_value"}
	}
	return list, nil
}

func areTokens(list []byte) bool {
	for v := range chat.Array(list) {
		if n, ok := chat.Int(v); !ok || n < 0 {
			return false
		}
	}
	return true
}

// embed adds an input's features to v and returns how many tokens it has.
func (c *call) embed(v []float32, input []byte) int {
	if kind(input) == '"' {
		c.turn.text = unquote(c.turn.text[:0], input)
		addFeatures(v, c.turn.text)
		return tokens(len(c.turn.text))
	}
	n, before := 0, uint64(0)
	for token := range chat.Array(input) {
		id := hash(token)
		addFeature(v, id, 0.5)
		if n > 0 {
			addFeature(v, before*31+id, 1)
		}
		before = id
		n++
	}
	return n
}

// appendVector appends v as an array of numbers, or packed: little-endian float32
// in base64.
func appendVector(b []byte, v []float32, packed bool) []byte {
	if !packed {
		b = append(b, '[')
		for i, x := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendFloat(b, float64(x), 'g', -1, 32)
		}
		return append(b, ']')
	}
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), raw), '"')
}
