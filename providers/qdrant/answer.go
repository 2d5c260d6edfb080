package qdrant

import (
	"bytes"
	"cmp"
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
	if n := len(q.GetQueryPoints()); err == nil && len(a.hits) != n {
		return nil, fmt.Errorf("search: %d results for %d queries", len(a.hits), n)
	}
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

// A wire reads the fields of a message, one after another.
type wire struct {
	rest []byte
	err  error

	tag    uint64 // number and kind of the field
	number uint64 // of one that is a number
	bytes  []byte // of one that is a message or a string
}

// The tags that are looked for. A field of another kind than it should have is not.
const (
	bytesKind   = uint64(protowire.BytesType)
	firstBytes  = 1<<3 | bytesKind
	secondBytes = 2<<3 | bytesKind
	thirdFloat  = 3<<3 | uint64(protowire.Fixed32Type)
	thirdNumber = 3<<3 | uint64(protowire.VarintType)
	fourthBytes = 4<<3 | bytesKind
)

// next reads one field. It reports false at the end, and at what is no field.
func (w *wire) next() bool {
	if len(w.rest) == 0 || w.err != nil {
		return false
	}
	if b := w.rest; len(b) >= 2 && b[0] >= 8 && b[0] < 0x80 && uint64(b[0]&7) == bytesKind && int(b[1]) <= len(b)-2 && b[1] < 0x80 {
		end := 2 + int(b[1]) // the most frequent: tag and length have a byte each
		w.tag, w.bytes, w.rest = uint64(b[0]), b[2:end], b[end:]
		return true
	}
	id, kind, n := protowire.ConsumeTag(w.rest)
	if n < 0 {
		return w.fail(n)
	}
	w.tag, w.rest = uint64(id)<<3|uint64(kind), w.rest[n:]
	switch kind {
	case protowire.BytesType:
		w.bytes, n = protowire.ConsumeBytes(w.rest)
	case protowire.VarintType:
		w.number, n = protowire.ConsumeVarint(w.rest)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(w.rest)
		w.number = uint64(v)
	default:
		n = protowire.ConsumeFieldValue(id, kind, w.rest)
	}
	if n < 0 {
		return w.fail(n)
	}
	w.rest = w.rest[n:]
	return true
}

func (w *wire) fail(n int) bool {
	w.err = protowire.ParseError(n)
	return false
}

// read reads a QueryBatchResponse.
func (a *answer) read(message []byte) error {
	batches := wire{rest: message}
	for batches.next() {
		if batches.tag != firstBytes {
			continue
		}
		hits := make([]pipeline.Passage, 0, min(a.limit, 1024))
		points := wire{rest: batches.bytes}
		for points.next() {
			if points.tag != firstBytes {
				continue
			}
			var p pipeline.Passage
			tenant, err := readPoint(points.bytes, &p)
			if err != nil {
				points.err = err
			} else if string(tenant) == a.tenant {
				hits = append(hits, p)
			}
		}
		a.hits = append(a.hits, hits)
		batches.err = cmp.Or(batches.err, points.err)
	}
	if batches.err != nil {
		return fmt.Errorf("read the answer of the vector store: %w", batches.err)
	}
	return nil
}

// readPoint reads a ScoredPoint, and returns whose it is.
func readPoint(message []byte, p *pipeline.Passage) (tenant []byte, err error) {
	var id, doc, chunk, text, raw []byte
	point := wire{rest: message}
	for point.next() {
		switch point.tag {
		case firstBytes:
			w := wire{rest: point.bytes}
			for w.next() {
				if w.tag == secondBytes {
					id = w.bytes
				}
			}
			point.err = w.err
		case secondBytes:
			key, value, number, err := readEntry(point.bytes)
			switch string(key) {
			case fieldTenant:
				tenant = value
			case fieldDoc:
				doc = value
			case fieldChunk:
				chunk = value
			case fieldIndex:
				p.Index = number
			case fieldText:
				text = value
			case fieldRaw:
				raw = value
			}
			point.err = err
		case thirdFloat:
			score(p).Value = math.Float32frombits(uint32(point.number))
		}
	}
	if len(raw) > 0 {
		p.Metadata = bytes.Clone(raw)
	}
	score(p).Set = true
	texts(p, id, doc, chunk, text)
	return tenant, point.err
}

// readEntry reads one entry of a payload: its key, and what is a string or a number there.
func readEntry(message []byte) (key, value []byte, number int, err error) {
	entry := wire{rest: message}
	for entry.next() {
		switch entry.tag {
		case firstBytes:
			key = entry.bytes
		case secondBytes:
			w := wire{rest: entry.bytes}
			for w.next() {
				switch w.tag {
				case thirdNumber:
					number = int(w.number)
				case fourthBytes:
					value = w.bytes
				}
			}
			entry.err = w.err
		}
	}
	return key, value, number, entry.err
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
