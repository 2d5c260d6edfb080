package load

import "time"

// Open sends rate requests a second for d, whether answers come or not. Each
// request is due at a fixed time and its latency counts from then on, also
// when no client was free to send it: a server that stalls is charged with
// every request that it made wait, not only with those it had accepted. That
// a generator leaves these out is known as coordinated omission.
func (p *Pool) Open(rate float64, d time.Duration) Result {
	p.connect()
	due, lag := pace(rate, d)
	r := p.run(func(c *client, t *tally) {
		for a := range due {
			err := c.do()
			t.add(err, time.Since(a.at))
		}
	})
	r.Lag = <-lag
	return r
}

// Leave is Open, but the client of every nth request hangs up when after has
// passed and it has had no answer.
func (p *Pool) Leave(rate float64, d time.Duration, nth int, after time.Duration) Result {
	p.connect()
	due, lag := pace(rate, d)
	r := p.run(func(c *client, t *tally) {
		t.left = map[uint64]int64{}
		for a := range due {
			if a.n%nth != 0 {
				err := c.do()
				t.add(err, time.Since(a.at))
				continue
			}
			ref, err := c.send()
			if err != nil {
				c.hangUp()
				t.add(err, 0)
				continue
			}
			time.Sleep(after)
			t.left[ref] = time.Now().UnixNano()
			c.hangUp()
		}
	})
	r.Lag = <-lag
	return r
}

// connect lets every client send one request, so that neither it nor the
// server has to open connections later, when time counts.
func (p *Pool) connect() {
	p.run(func(c *client, t *tally) {
		if c.conn == nil {
			t.add(c.do(), 0)
		}
	})
}

// An arrival is a request that is due.
type arrival struct {
	n  int
	at time.Time
}

// pace yields requests, each at the time at which it is due.
func pace(rate float64, d time.Duration) (due chan arrival, lag chan []float64) {
	n := int(rate * d.Seconds())
	due = make(chan arrival, n) // never full: pacing must not depend on clients
	lag = make(chan []float64, 1)
	go func() {
		defer precise()()
		late := make([]float64, 0, n)
		begun := time.Now().Add(10 * time.Millisecond)
		for i := range n {
			at := begun.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			sleepUntil(at)
			late = append(late, micros(time.Since(at)))
			due <- arrival{i, at}
		}
		close(due)
		lag <- late
	}()
	return due, lag
}
