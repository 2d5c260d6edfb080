package pipeline

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Those at the same documents go in the order in which they came, and nobody waits for
// others.
func TestDocumentLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l DocumentLocks
		var order []string
		unlocks := map[string]func(){}
		lock := func(name, tenant, docs string) {
			go func() {
				unlock, err := l.LockDocuments(t.Context(), tenant, strings.Fields(docs))
				if err != nil {
					t.Error(err)
				}
				order = append(order, name)
				unlocks[name] = unlock
			}()
			synctest.Wait()
		}
		f := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := strings.Join(order, " "); got != want {
				t.Errorf("came in: %s; want %s", got, want)
			}
		}
		lock("first", "t", "a b")
		lock("second", "t", "b c b")
		lock("third", "t", "c")
		lock("apart", "t", "d")
		lock("other", "u", "a")
		f("first apart other")
		lock("all", "t", "")
		lock("late", "t", "e") // behind all
		ctx, leave := context.WithCancelCause(t.Context())
		left := make(chan error)
		go func() {
			_, err := l.LockDocuments(ctx, "t", []string{"c"})
			left <- err
		}()
		synctest.Wait()
		leave(ErrClientGone)
		if err := <-left; err != ErrClientGone {
			t.Errorf("left with %v", err)
		}
		unlocks["first"]()
		f("first apart other second")
		unlocks["second"]()
		f("first apart other second third")
		unlocks["third"]()
		f("first apart other second third")
		unlocks["apart"]()
		f("first apart other second third all")
		unlocks["all"]()
		f("first apart other second third all late")
		unlocks["late"]()
		unlocks["other"]()
		if len(l.lines) != 0 {
			t.Errorf("nobody is there, and %v is kept", l.lines)
		}
	})
}

// Against a line that is looked through from its beginning, which says what is right:
// a turn has come when nobody in front of it is at one of its documents.
func TestDocumentLocksDrawn(t *testing.T) {
	type waiting struct {
		docs []string
		stop context.CancelCauseFunc
		come bool
	}
	meet := func(a, b *waiting) bool {
		return a.docs == nil || b.docs == nil || slices.ContainsFunc(a.docs, func(d string) bool { return slices.Contains(b.docs, d) })
	}
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			draw := rand.New(rand.NewPCG(seed, 0))
			var l DocumentLocks
			var line []*waiting
			for range 60 {
				if len(line) > 0 && draw.IntN(2) == 0 { // one leaves, whether it has its documents or waits
					i := draw.IntN(len(line))
					line[i].stop(ErrClientGone)
					line = slices.Delete(line, i, i+1)
				} else {
					w := &waiting{}
					for range draw.IntN(4) {
						w.docs = append(w.docs, string(rune('a'+draw.IntN(6))))
					}
					ctx, stop := context.WithCancelCause(t.Context())
					w.stop = stop
					line = append(line, w)
					go func() {
						unlock, err := l.LockDocuments(ctx, "t", w.docs)
						if err != nil {
							return
						}
						w.come = true
						<-ctx.Done()
						unlock()
					}()
				}
				synctest.Wait()
				for i, w := range line {
					want := !slices.ContainsFunc(line[:i], func(o *waiting) bool { return meet(w, o) })
					if w.come != want {
						t.Fatalf("seed %d: number %d of %d, at %q, has come: %v", seed, i, len(line), w.docs, w.come)
					}
				}
			}
			for _, w := range line {
				w.stop(ErrClientGone)
			}
			synctest.Wait()
			if len(l.lines) != 0 {
				t.Errorf("nobody is there, and %v is kept", l.lines)
			}
		})
	}
}

// Those who wait do not look through each other's documents: one tenant would hold up all.
func TestDocumentLocksOfMany(t *testing.T) {
	const many, docs = 120, 1000
	var l DocumentLocks
	ctx, stop := context.WithCancelCause(t.Context())
	began := time.Now()
	var all sync.WaitGroup
	for i := range many {
		list := []string{strconv.Itoa(i + 1)} // the next one's first, too
		for k := range docs - 2 {
			list = append(list, strconv.Itoa(i*docs+k+many+1))
		}
		list = append(list, strconv.Itoa(i))
		all.Go(func() {
			unlock, err := l.LockDocuments(ctx, "t", list)
			if err != nil {
				return
			}
			<-ctx.Done()
			unlock()
		})
	}
	for there := 0; there < many; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		there = 0
		for _, c := range l.lines["t"] {
			there += len(c.turns)
		}
		l.mu.Unlock()
	}
	stop(ErrClientGone)
	all.Wait()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("%d locks of %d documents each took %v", many, docs, took)
	}
}
