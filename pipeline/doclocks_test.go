package pipeline

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
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
