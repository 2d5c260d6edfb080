package neo4j

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/neo4j/neo4j-go-driver/v5/neo4j/dbtype"

	"github.com/headrace/headrace/pipeline/chat"
)

// paramsOf reads a client's parameters; nil for none.
func paramsOf(object []byte) (row, error) {
	if len(object) == 0 || string(object) == "null" {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	var params row
	if err := d.Decode(&params); err != nil {
		return nil, errors.New("params: an object is expected")
	}
	for k, v := range params {
		var err error
		if params[k], err = paramOf(v); err != nil {
			return nil, fmt.Errorf("params.%.60s: %w", k, err)
		}
	}
	return params, nil
}

func paramOf(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, nil
		}
		f, err := v.Float64()
		if err != nil || !strings.ContainsAny(v.String(), ".eE") {
			return nil, fmt.Errorf("the number %.40s is too large", v)
		}
		return f, nil
	case []any:
		for i := range v {
			var err error
			if v[i], err = paramOf(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			var err error
			if v[k], err = paramOf(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// appendRecord appends a record as a JSON object, with its columns in order.
func appendRecord(b []byte, r *driver.Record) []byte {
	b = append(b, '{')
	for i, key := range r.Keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(chat.AppendString(b, key), ':')
		b = appendValue(b, r.Values[i])
	}
	return append(b, '}')
}

// appendValue appends a value as the service that this API replaces has it: a
// node is its properties, a relationship [{}, type, {}], a path the list of
// both, and what JSON has no number for is null.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return append(b, "null"...)
		}
		out, _ := json.Marshal(v)
		return append(b, out...)
	case string:
		return chat.AppendString(b, v)
	case []byte:
		return chat.AppendString(b, base64.StdEncoding.EncodeToString(v))
	case []any:
		return appendList(b, v)
	case map[string]any:
		return appendMap(b, v)
	case dbtype.Node:
		return appendMap(b, v.Props)
	case dbtype.Relationship:
		return append(chat.AppendString(append(b, "[{},"...), v.Type), ",{}]"...)
	case dbtype.Path:
		var list []any
		for i, n := range v.Nodes {
			list = append(list, n.Props)
			if i < len(v.Relationships) {
				list = append(list, v.Relationships[i].Type)
			}
		}
		return appendList(b, list)
	case dbtype.Duration:
		return appendList(b, []any{v.Months, v.Days, v.Seconds, int64(v.Nanos)})
	case dbtype.Point2D:
		return appendList(b, []any{v.X, v.Y})
	case dbtype.Point3D:
		return appendList(b, []any{v.X, v.Y, v.Z})
	case time.Time:
		return chat.AppendString(b, v.Format(time.RFC3339Nano))
	case fmt.Stringer: // dates and local times
		return chat.AppendString(b, v.String())
	}
	return append(b, "null"...)
}

func appendList(b []byte, list []any) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendValue(b, v)
	}
	return append(b, ']')
}

func appendMap(b []byte, m map[string]any) []byte {
	b = append(b, '{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(chat.AppendString(b, k), ':')
		b = appendValue(b, m[k])
	}
	return append(b, '}')
}
