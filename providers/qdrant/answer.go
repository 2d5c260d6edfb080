package qdrant

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that requests are written with
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/headrace/headrace/pipeline"
)

// A search returns a hundred points and more. As the client's messages, each is a map of
// pointers to unions; reading those took most of a search's processor time. So its answer
// is read here into what is wanted of it, and all other calls are left to the client.

// query is the client's QueryBatch, with hits in place of messages.
func (s *Store) query(ctx context.Context, a answer, q *client.QueryBatchPoints) ([][]pipeline.Passage, error) {
	err := s.client.GetConnection().Invoke(ctx, client.Points_QueryBatch_FullMethodName, q, &a, grpc.ForceCodecV2(answerCodec{}))
	return a.hits, err
}

// An answer is the hits of each query of a batch, for one tenant. The filter keeps those of
// others away; this is the second lock.
type answer struct {
	tenant string
	limit  int // how many hits there are likely to be
	hits   [][]pipeline.Passage
}

// score is where a hit has its score, whichever search it comes from.
func score(p *pipeline.Passage) *pipeline.Score { return &p.Scores.Dense }

// answerCodec writes requests as usual and reads answers.
type answerCodec struct{}

var usual = encoding.GetCodecV2("proto")

func (answerCodec) Name() string { return "proto" }

func (answerCodec) Marshal(v any) (mem.BufferSlice, error) { return usual.Marshal(v) }

func (answerCodec) Unmarshal(data mem.BufferSlice, v any) error {
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	return v.(*answer).read(buffer.ReadOnlyData())
}

// A field is one of a message on the wire: a number or bytes, by its kind.
type field struct {
	id     protowire.Number
	kind   protowire.Type
	number uint64
	bytes  []byte
}

// bytesOf reports whether f is the field id of a message, a list or a string. What has
// another kind than it should is unknown and left out.
func (f field) bytesOf(id protowire.Number) bool { return f.id == id && f.kind == protowire.BytesType }

// each calls f for the fields of a message, in order.
func each(message []byte, f func(field) error) error {
	for len(message) > 0 {
		id, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		x := field{id: id, kind: kind}
		switch kind {
		case protowire.VarintType:
			x.number, n = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(message)
			x.number = uint64(v)
		case protowire.BytesType:
			x.bytes, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(id, kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// read reads a QueryBatchResponse.
func (a *answer) read(message []byte) error {
	err := each(message, func(batch field) error {
		if !batch.bytesOf(1) {
			return nil
		}
		hits := make([]pipeline.Passage, 0, min(a.limit, 1024))
		err := each(batch.bytes, func(point field) error {
			if !point.bytesOf(1) {
				return nil
			}
			var p pipeline.Passage
			tenant, err := readPoint(point.bytes, &p)
			if string(tenant) == a.tenant {
				hits = append(hits, p)
			}
			return err
		})
		a.hits = append(a.hits, hits)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the answer of the vector store: %w", err)
	}
	return nil
}

// readPoint reads a ScoredPoint, and returns whose it is.
func readPoint(message []byte, p *pipeline.Passage) (tenant []byte, err error) {
	var id, doc, chunk, text, raw []byte
	err = each(message, func(f field) error {
		switch {
		case f.bytesOf(1):
			return each(f.bytes, func(x field) error {
				if x.bytesOf(2) {
					id = x.bytes
				}
				return nil
			})
		case f.bytesOf(2):
			key, value, err := readEntry(f.bytes)
			switch string(key) {
			case fieldTenant:
				tenant = value.bytes
			case fieldDoc:
				doc = value.bytes
			case fieldChunk:
				chunk = value.bytes
			case fieldIndex:
				p.Index = int(value.number)
			case fieldText:
				text = value.bytes
			case fieldRaw:
				raw = value.bytes
			}
			return err
		case f.id == 3 && f.kind == protowire.Fixed32Type:
			score(p).Value = math.Float32frombits(uint32(f.number))
		}
		return nil
	})
	if len(raw) > 0 {
		p.Metadata = bytes.Clone(raw)
	}
	score(p).Set = true
	texts(p, id, doc, chunk, text)
	return tenant, err
}

// texts gives a passage its strings, which share one piece of memory.
func texts(p *pipeline.Passage, id, doc, chunk, text []byte) {
	var b strings.Builder
	b.Grow(len(id) + len(doc) + len(chunk) + len(text))
	for _, part := range [...][]byte{id, doc, chunk, text} {
		b.Write(part)
	}
	all := b.String()
	if !utf8.ValidString(all) {
		p.ID, p.DocID, p.ChunkID, p.Text = valid(id), valid(doc), valid(chunk), valid(text)
		return
	}
	p.ID, all = all[:len(id)], all[len(id):]
	p.DocID, all = all[:len(doc)], all[len(doc):]
	p.ChunkID, p.Text = all[:len(chunk)], all[len(chunk):]
}

// valid is what b says, which the server should have checked.
func valid(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// readEntry reads one entry of a payload. Its value is a number or a string; others are
// not looked for.
func readEntry(message []byte) (key []byte, value field, err error) {
	err = each(message, func(f field) error {
		switch {
		case f.bytesOf(1):
			key = f.bytes
		case f.bytesOf(2):
			return each(f.bytes, func(x field) error {
				if x.bytesOf(4) || x.id == 3 && x.kind == protowire.VarintType {
					value = x
				}
				return nil
			})
		}
		return nil
	})
	return key, value, err
}
