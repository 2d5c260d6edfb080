package upstream

import (
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// silence is a connection over which nothing comes.
type silence struct {
	net.Conn
	until time.Time
	set   int
}

func (s *silence) SetReadDeadline(t time.Time) error {
	s.until = t
	s.set++
	return nil
}

func (s *silence) Read([]byte) (int, error) {
	if s.until.IsZero() {
		panic("nobody ends this")
	}
	time.Sleep(time.Until(s.until))
	return 0, os.ErrDeadlineExceeded
}

// A wait ends when it is over, however often it began anew, and setting that costs little.
func TestReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		after := func(d time.Duration) time.Time { return began.Add(d) }
		f := func(total time.Time, pieces int, pause, wait, want time.Duration, deadlines int) {
			t.Helper()
			s := &silence{}
			c := &conn{Conn: s}
			began = time.Now()
			if !total.IsZero() {
				total = after(total.Sub(time.Time{}))
			}
			for i := range pieces {
				if i > 0 {
					time.Sleep(pause)
				}
				c.allowRead(time.Now(), wait, total)
			}
			if _, err := c.Read(nil); !isTimeout(err) || time.Since(began) != want || s.set != deadlines {
				t.Errorf("%v after %v, %d deadlines; want it after %v, and %d", err, time.Since(began), s.set, want, deadlines)
			}
		}
		never, in := time.Time{}, func(d time.Duration) time.Time { return time.Time{}.Add(d) }
		f(never, 1, 0, time.Second, time.Second, 1)
		f(never, 2, 300*time.Millisecond, time.Second, 1300*time.Millisecond, 2)
		f(never, 101, 10*time.Millisecond, time.Second, 2*time.Second, 3)
		f(in(700*time.Millisecond), 2, 300*time.Millisecond, time.Second, 700*time.Millisecond, 1)
		f(in(1200*time.Millisecond), 2, 300*time.Millisecond, time.Second, 1200*time.Millisecond, 2)

		s := &silence{}
		c := &conn{Conn: s}
		began = time.Now()
		c.allowRead(began, time.Second, never)
		c.endRead(after(10 * time.Millisecond))
		if _, err := c.Read(nil); !isTimeout(err) || time.Since(began) != 10*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		c.allowRead(time.Now(), 5*time.Millisecond, never)
		if _, err := c.Read(nil); !isTimeout(err) || time.Since(began) != 15*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
