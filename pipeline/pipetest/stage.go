package pipetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// stage checks a handler.
func (b *bench) stage(t *testing.T) {
	run := func(name string, mode int32, f func(t *testing.T, s *config.Snapshot)) {
		t.Run(name, func(t *testing.T) {
			NoLeaks(t)
			b.mode.Store(mode)
			b.calls.Store(0)
			s, err := config.Load(t.Context(), source(b.file(), nil), b.registry(), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			targets := slices.Clone(s.Models.Any().Targets)
			f(t, s)
			b.streams(t)
			if !slices.Equal(targets, s.Models.Any().Targets) {
				t.Error("the model's list of targets was written into, which all requests share; put a new slice into Exchange.Targets")
			}
			s.Release()
		})
	}
	run("100 at once", answers, b.many)
	run("error behind it", fails, b.failing)
	run("stream breaks", breaks, b.breaking)
	run("client gone before", answers, b.goneBefore)
	run("client gone within", hangs, b.goneWithin)
	run("client gone after one frame", answers, b.goneAfter)
}

// exchange makes a request, each with a body of its own.
func (b *bench) exchange(s *config.Snapshot, n int, stream bool) *pipeline.Exchange {
	body := fmt.Sprintf(
		`{"model":"m","temperature":0,"stream":%v,"messages":[{"role":"user","content":"question %d"}]}`, stream, n)
	ex := newExchange(context.Background(), body)
	ex.Request.Body = b.lend("the body of the request", body)
	ex.Model = s.Models.Any()
	ex.Targets = ex.Model.Targets
	return ex
}

// handle runs the route, and fails the test if that takes for ever.
func handle(t *testing.T, s *config.Snapshot, ex *pipeline.Exchange) error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("%w: %v", errPanic, r)
			}
		}()
		done <- s.Routes[0].Chain.Handle(ex.Context(), ex)
	}()
	select {
	case err := <-done:
		if errors.Is(err, errPanic) {
			t.Error(err)
		}
		return err
	case <-time.After(patience):
		t.Fatalf("Handle has not returned after %v", patience)
		return nil
	}
}

var errPanic = errors.New("panic")

func (b *bench) many(t *testing.T, s *config.Snapshot) {
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			ex := b.exchange(s, n, n%2 == 0)
			defer ex.Release()
			if err := s.Routes[0].Chain.Handle(ex.Context(), ex); err != nil {
				if pe := (*pipeline.Error)(nil); !errors.As(err, &pe) {
					t.Errorf("exchange %d: %v; a refusal is a *pipeline.Error", n, err)
				}
				return
			}
			body, err := readAll(ex)
			switch {
			case strings.Contains(body, strings.Repeat(string([]byte{Poison}), 4)):
				t.Errorf("exchange %d: the answer holds a frame that was no longer valid: %q", n, body)
			case err != nil:
				t.Errorf("exchange %d: %v", n, err)
			}
		})
	}
	wg.Wait()
}

func (b *bench) failing(t *testing.T, s *config.Snapshot) {
	for n := range 4 {
		b.calls.Store(0)
		ex := b.exchange(s, n, n%2 == 0)
		err := handle(t, s, ex)
		if asked := b.calls.Load() > 0; asked && err == nil && ex.Response.Fault == pipeline.NoFault {
			t.Error("the stages behind it returned an error, which it did not hand on")
		}
		ex.Release()
	}
}

func (b *bench) breaking(t *testing.T, s *config.Snapshot) {
	for n := range 4 {
		b.calls.Store(0)
		ex := b.exchange(s, n, true)
		if handle(t, s, ex) == nil && b.calls.Load() > 0 {
			if body, err := readAll(ex); err == nil {
				t.Errorf("the stream behind it broke, and it let it look whole: %q", body)
			}
		}
		ex.Release()
	}
}

func (b *bench) goneBefore(t *testing.T, s *config.Snapshot) {
	for n := range 4 {
		ex := b.exchange(s, n, n%2 == 0)
		ex.Scope().Cancel(pipeline.ErrClientGone)
		if handle(t, s, ex) == nil && ex.Response.Body != nil {
			_, _ = readAll(ex)
		}
		ex.Release()
	}
}

func (b *bench) goneWithin(t *testing.T, s *config.Snapshot) {
	for n := range 4 {
		ex := b.exchange(s, n, n%2 == 0)
		stop := time.AfterFunc(time.Millisecond, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
		err := handle(t, s, ex)
		if b.calls.Load() > 0 && err == nil && ex.Response.Body == nil {
			t.Error("the client left while it was waiting, and it returned neither an error nor an answer")
		}
		stop.Stop()
		ex.Release()
	}
}

func (b *bench) goneAfter(t *testing.T, s *config.Snapshot) {
	for n := range 4 {
		ex := b.exchange(s, n, true)
		if handle(t, s, ex) == nil && ex.Response.Body != nil {
			_, _ = ex.Response.Body.Next()
			ex.Scope().Cancel(pipeline.ErrClientGone)
		}
		ex.Release()
	}
}
