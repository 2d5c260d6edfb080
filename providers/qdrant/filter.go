package qdrant

import (
	"fmt"
	"strings"

	client "github.com/qdrant/go-client/qdrant"

	"github.com/headrace/headrace/pipeline"
)

// ofTenant admits the points of one tenant that meet f, which stands inside a
// condition of its own: no "should" of a caller widens it.
func ofTenant(tenant string, f *pipeline.Filter) (*client.Filter, error) {
	all := &client.Filter{Must: []*client.Condition{client.NewMatchKeyword(fieldTenant, tenant)}}
	if f == nil {
		return all, nil
	}
	inner, err := filter(f)
	if err != nil {
		return nil, err
	}
	all.Must = append(all.Must, client.NewFilterAsCondition(inner))
	return all, nil
}

func filter(f *pipeline.Filter) (*client.Filter, error) {
	out := &client.Filter{}
	for _, list := range []struct {
		from []pipeline.Condition
		to   *[]*client.Condition
	}{{f.Must, &out.Must}, {f.Should, &out.Should}, {f.MustNot, &out.MustNot}} {
		for i := range list.from {
			c, err := condition(&list.from[i])
			if err != nil {
				return nil, err
			}
			*list.to = append(*list.to, c)
		}
	}
	if len(out.Must)+len(out.Should)+len(out.MustNot) == 0 {
		// An empty filter admits everything, which the server need not know.
		out.MustNot = []*client.Condition{never()}
	}
	return out, nil
}

// never is a condition that no point meets.
func never() *client.Condition { return client.NewHasID() }

func condition(c *pipeline.Condition) (*client.Condition, error) {
	if c.Nested != nil {
		f, err := filter(c.Nested)
		return client.NewFilterAsCondition(f), err
	}
	path, err := pathOf(c.Field)
	if err != nil {
		return nil, err
	}
	var texts []string
	var any []*client.Condition
	for _, v := range c.Any {
		switch v.Kind {
		case pipeline.TextValue:
			texts = append(texts, v.Text)
		case pipeline.BoolValue:
			any = append(any, client.NewMatchBool(path, v.Bool))
		case pipeline.NumberValue:
			// A match is for integers only, and 1 is to equal 1.0.
			any = append(any, client.NewRange(path, &client.Range{Gte: &v.Number, Lte: &v.Number}))
		}
	}
	if len(texts) > 0 {
		any = append(any, client.NewMatchKeywords(path, texts...))
	}
	if r := c.Range; r != nil {
		any = append(any, client.NewRange(path, &client.Range{Gt: r.GT, Gte: r.GTE, Lt: r.LT, Lte: r.LTE}))
	}
	switch len(any) {
	case 0:
		return never(), nil
	case 1:
		return any[0], nil
	}
	return client.NewFilterAsCondition(&client.Filter{Should: any}), nil
}

// pathOf is where a field of the metadata is in the payload.
func pathOf(field string) (string, error) {
	if field == fieldDoc || field == fieldChunk {
		return field, nil
	}
	var b strings.Builder
	b.WriteString(fieldMetadata)
	for part := range strings.SplitSeq(field, ".") {
		b.WriteByte('.')
		if plain(part) {
			b.WriteString(part)
			continue
		}
		// Quoted, a part may hold anything but a quote: there is no escape.
		if part == "" || strings.Contains(part, `"`) {
			return "", &pipeline.Error{
				Status: 400, Code: "bad_filter", Param: "filters", Fault: pipeline.CallerFault,
				Err: fmt.Errorf("the field %q cannot be filtered by", field),
			}
		}
		b.WriteString(`"` + part + `"`)
	}
	return b.String(), nil
}

func plain(part string) bool {
	for i := range len(part) {
		c := part[i] | 0x20
		if (c < 'a' || c > 'z') && (part[i] < '0' || part[i] > '9') && part[i] != '_' && part[i] != '-' {
			return false
		}
	}
	return part != ""
}
