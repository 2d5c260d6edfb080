package qdrant

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
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
// pointers to unions; reading those took most of a search's processor time. So what holds
// passages is read here into what is wanted of it, and all other calls are left to the client.

// query is the client's QueryBatch, with hits in place of messages.
func (s *Store) query(ctx context.Context, a answer, q *client.QueryBatchPoints) ([][]pipeline.Passage, error) {
	a.batch = len(q.GetQueryPoints())
	err := s.client.GetConnection().Invoke(ctx, client.Points_QueryBatch_FullMethodName, q, &a, grpc.ForceCodecV2(answerCodec{}))
	if err == nil && len(a.hits) != a.batch {
		return nil, fmt.Errorf("search: %d results for %d queries", len(a.hits), a.batch)
	}
	return a.hits, err
}

// fetch is the client's Get, with passages in place of messages, in no order.
func (s *Store) fetch(ctx context.Context, tenant string, q *client.GetPoints) ([]pipeline.Passage, error) {
	a := answer{tenant: tenant, limit: len(q.GetIds())}
	err := s.client.GetConnection().Invoke(ctx, client.Points_Get_FullMethodName, q, &a, grpc.ForceCodecV2(answerCodec{}))
	if err != nil {
		return nil, err
	}
	found := a.hits[0]
	for i := range found {
		found[i].Scores = pipeline.Scores{}
	}
	return found, nil
}

// An answer is the points of one tenant. The filter of a search keeps those of others away;
// this is the second lock.
type answer struct {
	tenant string
	batch  int // as many queries have a result each; 0: the message is one result
	limit  int // how many points each is likely to have
	hits   [][]pipeline.Passage

	message []byte
	text    string // the same; the hits' strings are parts of it
}

// score is where a hit has its score, whichever search it comes from.
func score(p *pipeline.Passage) *pipeline.Score { return &p.Scores.Dense }

// answerCodec writes requests as usual and reads answers.
type answerCodec struct{}

var usual = encoding.GetCodecV2("proto")

func (answerCodec) Name() string { return "proto" }

func (answerCodec) Marshal(v any) (mem.BufferSlice, error) { return usual.Marshal(v) }

// whole has room for answers in one piece. gRPC's own buffers above 32 KiB have a megabyte,
// which is cleared each time.
var whole = sync.Pool{New: func() any { return new([]byte) }}

// keep is the largest room that is kept.
const keep = 1 << 20

func (answerCodec) Unmarshal(data mem.BufferSlice, v any) error {
	room := whole.Get().(*[]byte)
	n := data.Len()
	*room = slices.Grow((*room)[:0], n)[:n]
	data.CopyTo(*room)
	err := v.(*answer).read(*room)
	if cap(*room) <= keep {
		whole.Put(room)
	}
	return err
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

// read reads a QueryBatchResponse or a GetResponse, and keeps nothing of message.
func (a *answer) read(message []byte) error {
	a.message, a.text = message[:len(message):len(message)], string(message)
	defer func() { a.message = nil }()
	results := wire{rest: a.message}
	if a.batch == 0 {
		results.err = a.result(a.message)
	}
	for a.batch > 0 && results.next() {
		if results.tag != firstBytes {
			continue
		}
		if len(a.hits) == a.batch {
			return fmt.Errorf("search: more than %d results for as many queries", a.batch)
		}
		results.err = a.result(results.bytes)
	}
	if results.err != nil {
		return fmt.Errorf("read the answer of the vector store: %w", results.err)
	}
	return nil
}

// result reads the points that are the first field of a BatchResult or a GetResponse.
func (a *answer) result(message []byte) error {
	hits := make([]pipeline.Passage, 0, min(a.limit, 1024))
	points := wire{rest: message}
	for points.next() {
		if points.tag != firstBytes {
			continue
		}
		var p pipeline.Passage
		tenant, err := a.point(points.bytes, &p)
		if err != nil {
			points.err = err
		} else if string(tenant) == a.tenant {
			hits = append(hits, p)
		}
	}
	a.hits = append(a.hits, hits)
	return points.err
}

// point reads a ScoredPoint or a RetrievedPoint, and returns whose it is.
func (a *answer) point(message []byte, p *pipeline.Passage) (tenant []byte, err error) {
	point := wire{rest: message}
	for point.next() {
		switch point.tag {
		case firstBytes:
			w := wire{rest: point.bytes}
			for w.next() {
				if w.tag == secondBytes {
					p.ID = a.string(w.bytes)
				}
			}
			point.err = w.err
		case secondBytes:
			key, value, number, err := readEntry(point.bytes)
			switch string(key) {
			case fieldTenant:
				tenant = value
			case fieldDoc:
				p.DocID = a.string(value)
			case fieldChunk:
				p.ChunkID = a.string(value)
			case fieldIndex:
				p.Index = number
			case fieldText:
				p.Text = a.string(value)
			case fieldRaw:
				p.Metadata = object(value)
			}
			point.err = err
		case thirdFloat:
			score(p).Value = math.Float32frombits(uint32(point.number))
		}
	}
	score(p).Set = true
	return tenant, point.err
}

// readEntry reads one entry of a payload: its key, and what is a string or a number there.
func readEntry(message []byte) (key, value []byte, number int, err error) {
	// Nearly all are a key and a string, and nothing else.
	if key, rest := first(message, firstBytes); rest != nil {
		if outer, rest := first(rest, secondBytes); rest != nil && len(rest) == 0 {
			if value, rest := first(outer, fourthBytes); rest != nil && len(rest) == 0 {
				return key, value, 0, nil
			}
		}
	}
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

// first is the value of the first field of b, if it is that of the tag and shorter than
// 16 KiB, and what comes after it; nil if it is not.
func first(b []byte, tag uint64) (value, rest []byte) {
	if len(b) < 3 || uint64(b[0]) != tag {
		return nil, nil
	}
	from, n := 2, int(b[1])
	if n >= 0x80 {
		if b[2] >= 0x80 {
			return nil, nil
		}
		from, n = 3, n&0x7f|int(b[2])<<7
	}
	if n > len(b)-from {
		return nil, nil
	}
	return b[from : from+n], b[from+n:]
}

// string is what b, a part of the message, says. The server should have checked that it is text.
func (a *answer) string(b []byte) string {
	s := a.text[len(a.text)-cap(b):][:len(b)]
	if !utf8.ValidString(s) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}
