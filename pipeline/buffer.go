package pipeline

import "sync"

// A Buffer is a pooled piece of memory.
type Buffer struct{ B []byte }

// maxKept bounds what the pool holds on to: a larger buffer is left to the
// garbage collector, lest one large request stay resident for ever.
const maxKept = 256 << 10

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// NewBuffer returns an empty buffer.
func NewBuffer() *Buffer { return buffers.Get().(*Buffer) }

// Free gives the buffer back. Neither it nor its bytes may be used afterwards.
func (b *Buffer) Free() {
	if cap(b.B) > maxKept {
		return
	}
	b.B = b.B[:0]
	buffers.Put(b)
}
