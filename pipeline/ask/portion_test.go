package ask

import (
	"errors"
	"testing"
)

func TestPortion(t *testing.T) {
	var p Portion
	f := func(n, most, takes, tooLong, calls int, fine bool) {
		t.Helper()
		done, made := 0, 0
		err := p.Each(n, most, func(from, to int) error {
			if made++; from != done || to <= from {
				t.Errorf("asked for %d to %d after %d", from, to, done)
			}
			if to-from > takes || from <= tooLong && tooLong < to {
				return &Refused{413}
			}
			done = to
			return nil
		})
		if (err == nil) != fine || fine && done != n || made != calls {
			t.Errorf("%d of %d, by %d calls, want %d: %v", done, n, made, calls, err)
		}
	}
	const none = -1
	f(0, 256, 32, none, 0, true)
	f(1, 256, 32, none, 1, true)
	f(256, 256, 256, none, 1, true)
	f(8, 8, 8, 5, 6, false)         // 8, 4, the other 4, 2, 2 that begin with it, itself
	f(256, 256, 256, none, 1, true) // which says nothing of how many
	f(100, 256, 32, none, 6, true)  // 100, 50, then 25 four times
	f(100, 256, 32, none, 4, true)
	f(30, 10, 32, none, 3, true)
	if got := p.Of(256); got != 25 {
		t.Errorf("learnt that %d go into one call", got)
	}
	if err := p.Each(2, 2, func(int, int) error { return &Refused{500} }); !errors.As(err, new(*Refused)) {
		t.Errorf("got %v", err)
	}
}
