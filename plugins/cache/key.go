package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"runtime"
	"strconv"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// vary are the request headers that always count: they choose an account or a
// version of the interface upstream, or stages of ours.
var vary = []string{"Openai-Beta", "Openai-Organization", "Openai-Project", "X-Rag", pipeline.SkipHeader}

// excluded names the members that cannot change the answer. Everything else
// does, for all we know. The member stream counts on its own.
func excluded(key []byte) bool {
	switch string(key) {
	case "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "metadata", "cache", "store", "stream":
		return true
	}
	return false
}

// lookup is the memory that making a key takes.
type lookup struct {
	hash hash.Hash
	buf  []byte
	sub  chat.Request // of the member cache
	sum  pipeline.Key
}

var lookups = sync.Pool{New: func() any { return &lookup{hash: newHash()} }}

// newHash returns a hash that nobody finds two requests for, and the quickest of those:
// BLAKE3, where its package has code for the processor's wide registers.
func newHash() hash.Hash {
	if runtime.GOARCH == "amd64" {
		return blake3.New()
	}
	return sha256.New()
}

// key digests everything that can make a difference to the answer: whose
// request it is, which stages and upstreams would work on it, what has been
// found for it, and what it says. Each part goes in with its length, so that no
// two lists of parts look alike.
func (l *lookup) key(h *handler, ex *pipeline.Exchange, body *chat.Request, c control) pipeline.Key {
	b := append(l.buf[:0], "headrace 1 "...)
	b = part(b, ex.Tenant)
	b = part(b, h.name)
	b = part(b, ex.Route)
	b = append(b, byte(ex.Op))
	b = part(b, ex.Request.Header.RequestURI()) // which carries a version, for some
	b = part(b, c.namespace)
	b = targets(b, ex)
	for _, name := range h.vary {
		values := ex.Request.Header.PeekAll(name)
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			b = part(b, v)
		}
	}
	b = found(b, ex)
	if body.Stream() {
		b = append(b, 's')
	} else {
		b = append(b, 'w')
	}
	l.hash.Reset()
	l.hash.Write(b)
	body.Digest(l.hash, excluded)
	l.hash.Sum(l.sum[:0])
	if l.buf = b; cap(b) > 64<<10 {
		l.buf = nil // many passages, once
	}
	return l.sum
}

// targets adds who could answer, as declared: another order of asking makes
// no other request.
func targets(b []byte, ex *pipeline.Exchange) []byte {
	list := ex.Targets
	if ex.Model != nil {
		b = part(b, ex.Model.Name)
		list = ex.Model.Targets
	}
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, t := range list {
		b = part(part(b, t.Name), t.Model)
		b = append(b, t.Sum[:]...)
	}
	return b
}

// found adds what retrieval has found, in its order: the answer is made from
// that. Scores only made the order.
func found(b []byte, ex *pipeline.Exchange) []byte {
	b = binary.AppendUvarint(b, uint64(len(ex.Passages)))
	for i := range ex.Passages {
		p := &ex.Passages[i]
		b = part(part(part(part(b, p.ID), p.DocID), p.Text), p.Metadata)
	}
	if ex.Retrieval == nil {
		return append(b, 0)
	}
	b = part(append(b, 1), ex.Retrieval.Collection)
	graph := &ex.Retrieval.Graph
	b = binary.AppendUvarint(b, uint64(len(graph.Entities)))
	for i := range graph.Entities {
		e := &graph.Entities[i]
		b = props(part(part(part(b, e.ID), e.Type), e.Name), e.Props)
	}
	b = binary.AppendUvarint(b, uint64(len(graph.Relations)))
	for i := range graph.Relations {
		r := &graph.Relations[i]
		b = props(part(part(part(b, r.Src), r.Type), r.Dst), r.Props)
	}
	return b
}

func props(b []byte, list []pipeline.Prop) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		b = part(part(b, list[i].Key), list[i].Value)
	}
	return b
}

// part appends one part with its length.
func part[T string | []byte](b []byte, p T) []byte {
	b = binary.AppendUvarint(b, uint64(len(p)))
	return append(b, p...)
}

// temperature is the temperature asked for; without one it is whatever the
// upstream likes, which is more than any bound.
func temperature(body *chat.Request) float64 {
	const free = 1e9
	raw, ok := body.Member("temperature")
	if !ok {
		return free
	}
	t, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return free
	}
	return t
}
