package chat

import (
	"bytes"
	"encoding/binary"
	"hash"
	"slices"
)

// digest is memory that Digest needs.
type digest struct {
	order []uint16
	buf   []byte
}

// Digest writes to h what the object says, such that two objects give the same
// bytes if and only if they have the same members with the same values, those
// for whose key skip is true aside. The order of members does not count, nor
// does white space outside strings. The order inside values does, and numbers
// and strings count as written. skip may be nil.
//
// What is written tells its own end: more may be written to h afterwards.
func (r *Request) Digest(h hash.Hash, skip func(key []byte) bool) {
	d := &r.digest
	d.order = d.order[:0]
	for i := range r.members {
		if skip == nil || !skip(r.key(&r.members[i])) {
			d.order = append(d.order, uint16(i))
		}
	}
	slices.SortFunc(d.order, func(a, b uint16) int {
		return bytes.Compare(r.key(&r.members[a]), r.key(&r.members[b]))
	})
	d.buf = binary.AppendUvarint(d.buf[:0], uint64(len(d.order)))
	for _, n := range d.order {
		m := &r.members[n]
		key, value := r.key(m), r.slice(m.value, false)
		d.buf = binary.AppendUvarint(d.buf, uint64(len(key)))
		d.write(h, key)
		if m.spaced {
			d.writeCompact(h, value)
		} else {
			d.write(h, value)
		}
		d.buf = append(d.buf, 0) // never part of a value
	}
	_, _ = h.Write(d.buf) // a hash.Hash does not fail
}

// write adds b, by way of the buffer if it is short.
func (d *digest) write(h hash.Hash, b []byte) {
	const long = 512
	if len(b) < long {
		d.buf = append(d.buf, b...)
	}
	if len(b) >= long || len(d.buf) > 4<<10 {
		_, _ = h.Write(d.buf)
		d.buf = d.buf[:0]
	}
	if len(b) >= long {
		_, _ = h.Write(b)
	}
}

// writeCompact adds a value without the white space outside its strings.
func (d *digest) writeCompact(h hash.Hash, v []byte) {
	for i := 0; i < len(v); {
		from := i
		switch v[i] {
		case ' ', '\t', '\n', '\r':
			i++
			continue
		case '"':
			i = stringEnd(v, i)
		default:
			for i < len(v) && v[i] > ' ' && v[i] != '"' {
				i++
			}
		}
		d.write(h, v[from:i])
	}
}
