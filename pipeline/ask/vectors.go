package ask

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// Vectors takes the vectors of n texts out of an answer, by their index and as they are
// written there, and says how many numbers each has. Packed vectors are strings, whose
// numbers are not counted. An answer that does not have one for each text, or none of
// numbers only, or some longer than others, is an error.
func Vectors(answer []byte, n int, packed bool) (vectors [][]byte, dim int, err error) {
	unusable := func(why string) error {
		return &pipeline.Error{
			Status: 502, Code: "upstream_protocol", Fault: pipeline.UpstreamFault,
			Err: errors.New("the upstream's embeddings cannot be used: " + why),
		}
	}
	if chat.Valid(answer) != nil {
		return nil, 0, unusable("they are no JSON")
	}
	vectors = make([][]byte, n)
	i, size := 0, 0
	for e := range chat.Array(chat.Get(answer, "data")) {
		at, v := int64(i), []byte(nil)
		for key, value := range chat.Object(e) {
			switch string(key) {
			case "index":
				var ok bool
				if at, ok = chat.Int(value); !ok {
					return nil, 0, unusable("an index is no integer")
				}
			case "embedding":
				v = value
			}
		}
		long := numbers(v)
		if packed && len(v) > 2 && v[0] == '"' {
			long = len(v)
		} else {
			dim = long
		}
		if i == 0 {
			size = long
		}
		if at < 0 || at >= int64(n) || vectors[at] != nil || long == 0 || long != size {
			return nil, 0, unusable("an index or a vector is wrong")
		}
		vectors[at] = v
		i++
	}
	if i != n {
		return nil, 0, unusable(fmt.Sprintf("%d for %d texts", i, n))
	}
	return vectors, dim, nil
}

// numbers is how many numbers the array v, which is valid JSON, has. It is 0 if there is
// anything else in it.
func numbers(v []byte) int {
	if len(v) == 0 || v[0] != '[' || bytes.IndexByte(v[1:], '[') >= 0 || len(bytes.Trim(v, "[] \t\r\n")) == 0 {
		return 0
	}
	for _, c := range []byte(`{"ul`) { // each of null, true and false has one of the two letters
		if bytes.IndexByte(v, c) >= 0 {
			return 0
		}
	}
	return bytes.Count(v, []byte{','}) + 1
}
