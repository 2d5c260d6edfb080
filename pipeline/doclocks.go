package pipeline

import (
	"context"
	"slices"
	"sync"
)

// A DocumentLocker is a VectorStore that lets those who change documents in several
// calls have them to themselves meanwhile. Others who lock the same documents wait;
// whoever reads does not.
type DocumentLocker interface {
	// LockDocuments waits for its turn at these documents of a tenant, in whichever
	// collections, or at all that the tenant has where it is told of none. The error is
	// why ctx has ended before. Whoever has locked some must not lock more.
	LockDocuments(ctx context.Context, tenant string, docs []string) (unlock func(), err error)
}

// DocumentLocks implements DocumentLocker within one process. The zero value is ready.
type DocumentLocks struct {
	mu    sync.Mutex
	lines map[string][]*turn // by tenant, in the order of arrival; guarded by mu
}

// A turn is one call that holds its documents, or waits for them.
type turn struct {
	docs  map[string]bool // nil for all
	ready chan struct{}   // closed when the turn has come
	come  bool
}

// LockDocuments implements DocumentLocker.
func (l *DocumentLocks) LockDocuments(ctx context.Context, tenant string, docs []string) (func(), error) {
	t := &turn{ready: make(chan struct{})}
	if len(docs) > 0 {
		t.docs = make(map[string]bool, len(docs))
		for _, d := range docs {
			t.docs[d] = true
		}
	}
	l.mu.Lock()
	if l.lines == nil {
		l.lines = map[string][]*turn{}
	}
	l.lines[tenant] = append(l.lines[tenant], t)
	call(l.lines[tenant])
	l.mu.Unlock()
	unlock := func() { l.leave(tenant, t) }
	select {
	case <-t.ready:
		return unlock, nil
	case <-ctx.Done():
		unlock()
		return nil, Cause(ctx)
	}
}

// leave takes a turn out of its line, whether it has come or not.
func (l *DocumentLocks) leave(tenant string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.lines[tenant]
	line = slices.DeleteFunc(line, func(other *turn) bool { return other == t })
	if len(line) == 0 {
		delete(l.lines, tenant)
		return
	}
	l.lines[tenant] = line
	call(line)
}

// call calls those in a line who have nobody in front of them at the same documents.
func call(line []*turn) {
	for i, t := range line {
		if !t.come && !slices.ContainsFunc(line[:i], t.meets) {
			t.come = true
			close(t.ready)
		}
	}
}

// meets reports whether two turns are at the same documents.
func (t *turn) meets(other *turn) bool {
	if t.docs == nil || other.docs == nil {
		return true
	}
	few, many := t.docs, other.docs
	if len(few) > len(many) {
		few, many = many, few
	}
	for d := range few {
		if many[d] {
			return true
		}
	}
	return false
}
