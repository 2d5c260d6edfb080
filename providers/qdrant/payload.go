package qdrant

import (
	"bytes"
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	client "github.com/qdrant/go-client/qdrant"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// What a point carries beside its vectors.
const (
	fieldTenant   = "tenant"
	fieldDoc      = "doc_id"
	fieldChunk    = "chunk_id"
	fieldIndex    = "index"
	fieldText     = "text"
	fieldDigest   = "digest"
	fieldMetadata = "metadata" // as an object, to filter by
	fieldRaw      = "metadata_json"
)

// shown are the fields that a passage is made of; the object is not sent back.
var shown = client.NewWithPayloadInclude(fieldTenant, fieldDoc, fieldChunk, fieldIndex, fieldText, fieldRaw)

func payload(tenant string, p *pipeline.Point) map[string]*client.Value {
	out := map[string]*client.Value{
		fieldTenant: text(tenant),
		fieldDoc:    text(p.DocID),
		fieldChunk:  text(p.ChunkID),
		fieldIndex:  client.NewValueInt(int64(p.Index)),
		fieldText:   text(p.Text),
		fieldDigest: client.NewValueString(hex.EncodeToString(p.Digest[:])),
	}
	if p.Metadata != nil {
		out[fieldMetadata] = value(p.Metadata)
		// Byte for byte: an object would come back with its numbers rounded
		// and its members in another order.
		out[fieldRaw] = text(string(p.Metadata))
	}
	return out
}

// text is a string as the wire takes it: one that is not UTF-8 would fail the
// whole call.
func text(s string) *client.Value {
	return client.NewValueString(strings.ToValidUTF8(s, "\uFFFD"))
}

// value is one valid JSON value as the server keeps it.
func value(raw []byte) *client.Value {
	switch {
	case len(raw) > 0 && raw[0] == '{':
		fields := map[string]*client.Value{}
		for k, v := range chat.Object(raw) {
			fields[strings.ToValidUTF8(string(k), "\uFFFD")] = value(v)
		}
		return client.NewValueFromFields(fields)
	case len(raw) > 0 && raw[0] == '[':
		var list []*client.Value
		for v := range chat.Array(raw) {
			list = append(list, value(v))
		}
		return client.NewValueFromList(list...)
	}
	if s, ok := chat.Text(raw); ok {
		return text(s)
	}
	if b, ok := chat.Bool(raw); ok {
		return client.NewValueBool(b)
	}
	if n, ok := chat.Int(raw); ok {
		return client.NewValueInt(n)
	}
	if n, err := strconv.ParseFloat(string(raw), 64); err == nil && !math.IsInf(n, 0) {
		return client.NewValueDouble(n)
	}
	return client.NewValueNull()
}

func passage(id *client.PointId, fields map[string]*client.Value) pipeline.Passage {
	p := pipeline.Passage{
		ID:      id.GetUuid(),
		DocID:   fields[fieldDoc].GetStringValue(),
		ChunkID: fields[fieldChunk].GetStringValue(),
		Index:   int(fields[fieldIndex].GetIntegerValue()),
		Text:    fields[fieldText].GetStringValue(),
	}
	p.Metadata = object([]byte(fields[fieldRaw].GetStringValue()))
	return p
}

// object is a copy of raw, or nil where another program has put something in its place
// that is no object in JSON: it would make no JSON of each answer that it gets into.
func object(raw []byte) []byte {
	if len(raw) == 0 || raw[0] != '{' || chat.Valid(raw) != nil {
		return nil
	}
	return bytes.Clone(raw)
}
