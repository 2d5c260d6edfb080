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
	lines map[string][]*company // by tenant, in the order of arrival; guarded by mu
}

// A company are those in a line between two who want all documents, or one of these by
// itself. Only the first of a line is served; within it each waits for those who came
// before it for a document of its own, so that nobody has to look through all others.
type company struct {
	turns  map[*turn]bool
	queues map[string][]*turn // by document; nil for whoever wants all
}

// A turn is one call that holds its documents, or waits for them.
type turn struct {
	docs  []string      // each once; none for all
	ready chan struct{} // closed when the turn has come
	come  bool
	after int // at how many documents somebody is in front of it, in its company
}

// LockDocuments implements DocumentLocker.
func (l *DocumentLocks) LockDocuments(ctx context.Context, tenant string, docs []string) (func(), error) {
	t := &turn{ready: make(chan struct{})}
	seen := make(map[string]bool, len(docs))
	for _, d := range docs {
		if !seen[d] {
			seen[d] = true
			t.docs = append(t.docs, d)
		}
	}
	l.enter(tenant, t)
	unlock := func() { l.leave(tenant, t) }
	select {
	case <-t.ready:
		return unlock, nil
	case <-ctx.Done():
		unlock()
		return nil, Cause(ctx)
	}
}

// enter puts a turn at the end of its line.
func (l *DocumentLocks) enter(tenant string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = map[string][]*company{}
	}
	line := l.lines[tenant]
	if len(line) == 0 || t.docs == nil || line[len(line)-1].queues == nil {
		c := &company{turns: map[*turn]bool{}}
		if t.docs != nil {
			c.queues = map[string][]*turn{}
		}
		line = append(line, c)
		l.lines[tenant] = line
	}
	c := line[len(line)-1]
	c.turns[t] = true
	for _, d := range t.docs {
		if len(c.queues[d]) > 0 {
			t.after++
		}
		c.queues[d] = append(c.queues[d], t)
	}
	if len(line) == 1 {
		t.call()
	}
}

// leave takes a turn out of its line, whether it has come or not.
func (l *DocumentLocks) leave(tenant string, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.lines[tenant]
	i := slices.IndexFunc(line, func(c *company) bool { return c.turns[t] })
	if i < 0 {
		return
	}
	c := line[i]
	delete(c.turns, t)
	for _, next := range c.without(t) {
		if next.after--; i == 0 {
			next.call()
		}
	}
	if len(c.turns) > 0 {
		return
	}
	if line = slices.Delete(line, i, i+1); len(line) == 0 {
		delete(l.lines, tenant)
		return
	}
	if i > 0 && i < len(line) && line[i].queues != nil && line[i-1].queues != nil {
		line[i-1].join(line[i])
		line = slices.Delete(line, i, i+1)
		i--
	}
	l.lines[tenant] = line
	if i == 0 {
		for t := range line[0].turns {
			t.call()
		}
	}
}

// without takes a turn out of the queues at its documents, and returns those who were
// behind it where it was the first.
func (c *company) without(t *turn) (next []*turn) {
	for _, d := range t.docs {
		q := c.queues[d]
		at := slices.Index(q, t)
		q = slices.Delete(q, at, at+1)
		switch {
		case len(q) == 0:
			delete(c.queues, d)
			continue
		case at == 0:
			next = append(next, q[0])
		}
		c.queues[d] = q
	}
	return next
}

// join puts others, who came later, into the same company: who wanted all between them
// has left.
func (c *company) join(later *company) {
	for d, q := range later.queues {
		if len(c.queues[d]) > 0 {
			q[0].after++
		}
		c.queues[d] = append(c.queues[d], q...)
	}
	for t := range later.turns {
		c.turns[t] = true
	}
}

// call lets a turn come if nobody is in front of it, in the company that is served.
func (t *turn) call() {
	if t.after == 0 && !t.come {
		t.come = true
		close(t.ready)
	}
}
