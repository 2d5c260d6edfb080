// Package load sends requests to one server, in the ways in which clients do:
// as fast as answers come, at a fixed rate whether answers come or not, as
// streams, as uploads, and as clients that hang up.
//
// It speaks just enough HTTP/1.1 to cost little beside what it measures, and
// to loopback addresses only.
package load

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headrace/headrace/benchmarks/payload"
)

// patience bounds one request, and the pause between two events of a stream.
const patience = 30 * time.Second

// A Request is what a pool sends, over and over.
type Request struct {
	Addr   string   // host:port; the host must be a loopback address
	Path   string   // of the URL
	Header []string // "Name: value", beside those that every request has
	Body   []byte
	// Same leaves the reference in the body alone, so that all requests are
	// equal. Otherwise no two are.
	Same bool
}

// A Result is what a load saw. Times are in microseconds.
type Result struct {
	Done   int           // requests answered in full, with status 200
	Took   time.Duration // from the first request to the last answer
	Errors int           // all others
	First  error         // the first of these

	Latencies []float64 // for each of Done
	// Lag is how late the load generator itself was, for each request of an
	// open loop. It is part of the latency.
	Lag []float64
	// FirstChunk is the time to the first event, for each stream; Held how
	// long the way from the mock upstream took, for each event.
	FirstChunk, Held []float64
	// Left says when the client of a request hung up, by the reference in the
	// body, in nanoseconds of Unix time.
	Left map[uint64]int64
}

// A Pool is a set of clients, each with a connection of its own that it keeps
// from one load to the next. Only one load may run at a time.
type Pool struct {
	clients []*client
	next    atomic.Uint64 // reference of the next request
}

// NewPool returns n clients that send r. Connections are opened when first
// needed.
func NewPool(r Request, n int) (*Pool, error) {
	host, _, err := net.SplitHostPort(r.Addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", r.Addr, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("address %q: not a loopback address; this generator loads only the machine it runs on", r.Addr)
	}
	message := render(r)
	ref := -1
	if !r.Same {
		ref = payload.Reference(message)
	}
	p := &Pool{}
	p.next.Store(rand.Uint64())
	for range n {
		p.clients = append(p.clients, &client{pool: p, addr: r.Addr, message: slices.Clone(message), ref: ref})
	}
	return p, nil
}

// Close closes the connections.
func (p *Pool) Close() {
	for _, c := range p.clients {
		c.hangUp()
	}
}

// Closed lets every client send its next request as soon as the answer to the
// one before has arrived, for d. It finds the most that a server can do; its
// latencies say little, because a slow server is asked less often.
func (p *Pool) Closed(d time.Duration) Result {
	end := time.Now().Add(d)
	return p.run(func(c *client, t *tally) {
		for begun := time.Now(); begun.Before(end); {
			err := c.do()
			now := time.Now()
			t.add(err, now.Sub(begun))
			begun = now
		}
	})
}

// run lets all clients work at the same time and sums up.
func (p *Pool) run(work func(*client, *tally)) Result {
	tallies := make([]tally, len(p.clients))
	begun := time.Now()
	var wg sync.WaitGroup
	for i, c := range p.clients {
		c.reused = c.conn != nil
		wg.Go(func() { work(c, &tallies[i]) })
	}
	wg.Wait()
	r := Result{Took: time.Since(begun), Left: map[uint64]int64{}}
	for i := range tallies {
		tallies[i].sum(&r)
	}
	return r
}

// A tally is what one client saw.
type tally struct {
	latencies, firsts, held []float64
	errors                  int
	first                   error
	left                    map[uint64]int64
}

// add notes one request.
func (t *tally) add(err error, latency time.Duration) {
	if err == nil {
		t.latencies = append(t.latencies, micros(latency))
		return
	}
	if t.errors++; t.first == nil {
		t.first = err
	}
	// A server that refuses must not be asked a million times a second.
	time.Sleep(time.Millisecond)
}

func (t *tally) sum(r *Result) {
	r.Done += len(t.latencies)
	r.Latencies = append(r.Latencies, t.latencies...)
	r.FirstChunk = append(r.FirstChunk, t.firsts...)
	r.Held = append(r.Held, t.held...)
	r.Errors += t.errors
	if r.First == nil {
		r.First = t.first
	}
	maps.Copy(r.Left, t.left)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// Key is what every request shows as its API key, unless its header says
// otherwise.
const Key = "sk-bench-0123456789abcdef0123456789abcdef"

// render returns r as it goes over the wire.
func render(r Request) []byte {
	fields := []string{"Host: " + r.Addr}
	for _, f := range []string{"Authorization: Bearer " + Key, "Content-Type: application/json", "Accept: */*", "User-Agent: headrace-benchmarks"} {
		name, _, _ := strings.Cut(f, ":")
		if !slices.ContainsFunc(r.Header, func(h string) bool { return strings.HasPrefix(strings.ToLower(h), strings.ToLower(name)+":") }) {
			fields = append(fields, f)
		}
	}
	fields = append(fields, r.Header...)
	fields = append(fields, fmt.Sprintf("Content-Length: %d", len(r.Body)))
	head := "POST " + r.Path + " HTTP/1.1\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
	return append([]byte(head), r.Body...)
}
