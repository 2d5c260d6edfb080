package embedder

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/headrace/headrace/pipeline"
)

// wanted is a text whose vector is to be fetched, for a place in the result.
type wanted struct {
	key  key
	text string
	at   int
}

// A flight is one call to the upstream, or some if it takes fewer texts at once. It ends by itself, or when nobody waits
// for any of its texts.
type flight struct {
	texts   []string
	keys    []key
	side    *side
	waiters int // guarded by fleet.mu
	cancel  context.CancelCauseFunc

	done    chan struct{}
	vectors [][]float32 // once done
	err     error       // once done
}

// place is where in a flight a text is.
type place struct {
	flight *flight
	index  int
}

// fleet is the account of flights.
type fleet struct {
	mu      sync.Mutex
	running sync.WaitGroup
}

// fetch fills out at the places that are wanted, from flights that are under
// way or that it starts.
func (e *embedder) fetch(ctx context.Context, list []wanted, side *side, out [][]float32) error {
	places, mine := e.board(list, side)
	err := e.await(ctx, list, places, out)
	if err == nil || ctx.Err() != nil || !joined(places, mine) {
		return err
	}
	// A call that another began may have failed for what else was in it.
	var rest []wanted
	for _, w := range list {
		if out[w.at] == nil {
			rest = append(rest, w)
		}
	}
	places, _ = e.board(rest, side)
	return e.await(ctx, rest, places, out)
}

// joined reports whether a flight of places is another caller's.
func joined(places []place, mine map[*flight]bool) bool {
	for _, p := range places {
		if !mine[p.flight] {
			return true
		}
	}
	return false
}

// board finds a flight for each text and counts the caller as waiting for it.
func (e *embedder) board(list []wanted, side *side) (places []place, mine map[*flight]bool) {
	places = make([]place, len(list))
	mine = map[*flight]bool{}
	waits := map[*flight]bool{}
	var open *flight
	var started []*flight
	shared, most := 0, e.portion.Of(e.Batch)
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, w := range list {
		p, ok := e.flights[w.key]
		if ok {
			shared++
		} else {
			if open == nil || len(open.texts) >= most {
				open = &flight{side: side, done: make(chan struct{})}
				started, mine[open] = append(started, open), true
			}
			p = place{open, len(open.texts)}
			open.texts, open.keys = append(open.texts, w.text), append(open.keys, w.key)
			e.flights[w.key] = p
		}
		places[i] = p
		if !waits[p.flight] {
			waits[p.flight] = true
			p.flight.waiters++
		}
	}
	for _, f := range started {
		ctx, cancel := context.WithCancelCause(context.Background())
		f.cancel = cancel
		e.running.Go(func() { e.fly(ctx, f) })
	}
	e.texts.WithLabelValues("shared").Add(float64(shared))
	e.texts.WithLabelValues("fetched").Add(float64(len(list) - shared))
	return places, mine
}

// await waits for the flights, or until ctx ends.
func (e *embedder) await(ctx context.Context, list []wanted, places []place, out [][]float32) error {
	defer func() { e.leave(places, pipeline.Cause(ctx)) }()
	var failed error
	for i, p := range places {
		select {
		case <-p.flight.done:
		case <-ctx.Done():
			return fmt.Errorf("embed %d texts with %q: %w", len(list), e.Config.Model, pipeline.Cause(ctx))
		}
		if p.flight.err != nil {
			failed = p.flight.err
			continue
		}
		out[list[i].at] = p.flight.vectors[p.index]
	}
	return failed
}

// leave ends the calls that nobody waits for any more, for the reason of the last who did.
func (e *embedder) leave(places []place, why error) {
	left := map[*flight]bool{}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range places {
		f := p.flight
		if left[f] {
			continue
		}
		left[f] = true
		if f.waiters--; f.waiters == 0 {
			e.land(f)
			f.cancel(why)
		}
	}
}

// deserted reports whether nobody waits for a flight. Once so, it stays so.
func (e *embedder) deserted(f *flight) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return f.waiters == 0
}

// land makes a flight one that nobody can join. The caller holds mu.
func (e *embedder) land(f *flight) {
	for _, k := range f.keys {
		if e.flights[k].flight == f {
			delete(e.flights, k)
		}
	}
}

// fly carries a flight out.
func (e *embedder) fly(ctx context.Context, f *flight) {
	defer f.cancel(nil)
	defer close(f.done)
	defer func() {
		if v := recover(); v != nil {
			f.vectors, f.err = nil, fmt.Errorf("embed with %q: panic: %v", e.Config.Model, v)
		}
		e.mu.Lock()
		e.land(f)
		e.mu.Unlock()
	}()
	select {
	case f.side.turns <- struct{}{}:
		defer func() { <-f.side.turns }()
	case <-ctx.Done():
	}
	if e.deserted(f) { // also when the turn came from another call that the same caller has left
		f.err = pipeline.Cause(ctx)
		return
	}
	f.vectors, f.err = e.ask(ctx, f.side, f.texts)
	switch {
	case f.err != nil && (errors.Is(pipeline.Cause(ctx), context.Canceled) || pipeline.Gone(ctx, f.err)): // and not for want of time
		e.calls.WithLabelValues("gone").Inc()
		return
	case f.err != nil:
		e.calls.WithLabelValues("failed").Inc()
		return
	}
	e.calls.WithLabelValues("ok").Inc()
	// Kept before the flight lands: nobody finds a gap between the two.
	for i, v := range f.vectors {
		e.vectors.put(f.keys[i], v)
	}
}
