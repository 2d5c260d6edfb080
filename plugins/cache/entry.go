package cache

import (
	"context"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/headrace/headrace/pipeline"
)

// An entry is a kept answer in one piece of memory:
//
//	format     1 byte
//	time       8 bytes, big endian: when it was kept, in Unix milliseconds
//	fields     1 byte: how many
//	           each: length and bytes of the name, then of the value
//	body       the rest
//
// Lengths are unsigned varints.
const (
	format    = 1
	fixed     = 1 + 8 + 1
	maxFields = 16
)

// appendEntry appends all of an entry but the body.
func appendEntry(b []byte, now time.Time, h *fasthttp.ResponseHeader) []byte {
	b = append(b, format)
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMilli()))
	count := len(b)
	b = append(b, 0)
	for k, v := range h.All() {
		if kept(k) && b[count] < maxFields {
			b = part(part(b, k), v)
			b[count]++
		}
	}
	return b
}

// kept reports whether a response header belongs to the answer rather than to
// the call that fetched it.
func kept(name []byte) bool {
	switch string(name) {
	case "Content-Type", "Content-Language":
		return true
	}
	return len(name) > 6 && string(name[:6]) == "X-Rag-"
}

// answer fills the response from the store. It reports whether it could; a
// store that fails has no answer.
func (h *handler) answer(ctx context.Context, ex *pipeline.Exchange, key pipeline.Key, c control) bool {
	value, ok, err := h.store.Get(ctx, key)
	if err != nil {
		h.counts.failed.Inc()
		h.log.Warn("read from the cache", "error", err)
		return false
	}
	if !ok || len(value) < fixed || value[0] != format {
		return false
	}
	kept := time.UnixMilli(int64(binary.BigEndian.Uint64(value[1:])))
	age := max(0, time.Since(kept))
	if c.maxAge >= 0 && age > c.maxAge {
		return false
	}
	res := &ex.Response.Header
	rest := value[fixed:]
	for range value[fixed-1] {
		var k, v []byte
		if k, rest, ok = cut(rest); ok {
			v, rest, ok = cut(rest)
		}
		if !ok {
			ex.Response.Reset()
			return false
		}
		res.SetBytesKV(k, v)
	}
	res.SetStatusCode(fasthttp.StatusOK)
	res.Set(header, hit)
	var digits [20]byte
	res.SetBytesV("Age", strconv.AppendInt(digits[:0], int64(age/time.Second), 10))
	ex.Response.SetBody(rest)
	return true
}

// cut takes one part off an entry.
func cut(b []byte) (p, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n)], b[w+int(n):], true
}
