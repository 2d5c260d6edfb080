package breaker

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
)

func TestFailuresInARow(t *testing.T) {
	f := func(script string, want bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			u := newUpstream(t, "{ failures: 3, window: 1s }")
			for _, c := range script {
				u.answer = map[rune]func(context.Context, *pipeline.Exchange) error{
					'+': good, '-': bad, '?': whole(400, pipeline.CallerFault),
					's': streams(io.EOF, "data: {}\n\n"), 'b': streams(errLine, "data: {}\n\n"),
				}[c]
				time.Sleep(time.Minute) // a row is a row, however long it takes
				u.ask(t)
			}
			if got := u.open(t); got != want {
				t.Errorf("after %q: open is %v", script, got)
			}
		})
	}
	f("--", false)
	f("---", true)
	f("--+--", false)
	f("--+---", true)
	f("--??-", true) // what says nothing ends no row
	f("--s--", false)
	f("bbb", true) // a stream's first event ends a row only if the stream does not break
	f("-b-", true)
	f("b+b", false)
	f("bb", false)
}

func TestShareOfFailures(t *testing.T) {
	f := func(script string, want bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			u := newUpstream(t, "{ failures: 50%, min_requests: 8, window: 10s }")
			for _, c := range script {
				switch c {
				case '+':
					u.answer = good
				case '-':
					u.answer = bad
				case 'b':
					u.answer = streams(errLine, "data: {}\n\n")
				case '?':
					u.answer = whole(400, pipeline.CallerFault)
				case ' ':
					time.Sleep(11 * time.Second)
					continue
				}
				u.ask(t)
			}
			if got := u.open(t); got != want {
				t.Errorf("after %q: open is %v", script, got)
			}
		})
	}
	f("-------", false) // too few to tell
	f("--------", true)
	f("++++----", true)
	f("+++++----", false)
	f("++++???????---", false) // what says nothing dilutes nothing
	f("++++???????----", true)
	f("bbbbbbbb", true) // a broken stream is one request, not a success and a failure
	f("++++bbbb", true)
	f("+++++bbbb", false)
	f("---- ---- ", false) // long ago
	f("++++++++++++++++ --------", true)
}

// Verdicts count when they are reached: a timeout longer than the window is
// one all the same.
func TestSlowFailuresCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpstream(t, "{ failures: 50%, min_requests: 4, window: 10s }")
		u.answer = func(context.Context, *pipeline.Exchange) error {
			time.Sleep(time.Minute)
			return &pipeline.Error{Status: 504, Code: "upstream_timeout"}
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				ex := pipeline.Acquire(context.Background())
				defer ex.Release()
				_ = u.chain[0].Handle(ex.Context(), ex, pipeline.Chain{pipeline.HandlerFunc(
					func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error { return u.answer(ctx, ex) })})
			})
		}
		wg.Wait()
		if !u.open(t) {
			t.Error("four timeouts did not open the breaker")
		}
	})
}

func TestThreshold(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var l Threshold
		got := "error"
		if err := l.UnmarshalText([]byte(in)); err == nil {
			got = l.String()
		}
		if got != want {
			t.Errorf("%q gives %s; want %s", in, got, want)
		}
	}
	f("5", "5")
	f("1", "1")
	f("50%", "50%")
	f("0.5%", "0.5%")
	f("100 %", "100%")
	for _, in := range []string{"", "0", "-1", "0%", "101%", "NaN%", "five", "5.5", "99999999999", "%"} {
		f(in, "error")
	}
}
