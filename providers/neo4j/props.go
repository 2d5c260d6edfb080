package neo4j

import (
	"strconv"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// Properties are kept as one string, a JSON object: that takes any key, any
// value, and costs the database no token.

func jsonOf(props []pipeline.Prop) string {
	b := []byte{'{'}
	for i, p := range props {
		if i > 0 {
			b = append(b, ',')
		}
		b = chat.AppendString(b, p.Key)
		b = append(b, ':')
		b = append(b, p.Value...)
	}
	return string(append(b, '}'))
}

func propsOf(object string) []pipeline.Prop {
	if object == "" {
		return nil
	}
	var out []pipeline.Prop
	for k, v := range chat.Object([]byte(object)) {
		out = append(out, pipeline.Prop{Key: string(k), Value: append([]byte(nil), v...)})
	}
	return out
}

// merged joins properties; the newer value of a key wins, in the older's place.
func merged(old, young []pipeline.Prop) []pipeline.Prop {
	out := append([]pipeline.Prop(nil), old...)
	at := map[string]int{}
	for i, p := range out {
		at[p.Key] = i
	}
	for _, p := range young {
		if i, ok := at[p.Key]; ok {
			out[i] = p
			continue
		}
		at[p.Key] = len(out)
		out = append(out, p)
	}
	return out
}

// weightOf is how much a relation counts beside others of an entity; nil for
// one that does not say.
func weightOf(props []pipeline.Prop) any {
	for _, p := range props {
		if p.Key == "weight" {
			if w, err := strconv.ParseFloat(string(p.Value), 64); err == nil {
				return w
			}
		}
	}
	return nil
}
