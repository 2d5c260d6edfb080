package breaker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A proxy is an upstream with many models behind one target.
type proxy struct {
	*upstream
	declared, target string // their names in the file
	broken           map[string]func(context.Context, *pipeline.Exchange) error
}

func newProxy(t *testing.T, settings string) *proxy {
	p := &proxy{upstream: newUpstream(t, settings), declared: "*", broken: map[string]func(context.Context, *pipeline.Exchange) error{}}
	p.answer = func(ctx context.Context, ex *pipeline.Exchange) error {
		c, err := ex.Chat()
		if err != nil {
			return err
		}
		if f := p.broken[string(c.Model())]; f != nil {
			return f(ctx, ex)
		}
		return good(ctx, ex)
	}
	return p
}

// call makes one request for a model and reports whether the upstream was asked.
func (p *proxy) call(t testing.TB, model string) bool {
	t.Helper()
	before := p.calls
	ex := pipeline.Acquire(context.Background())
	defer ex.Release()
	ex.Op = pipeline.OpChat
	ex.Request.Body = []byte(`{"model":"` + model + `","messages":[]}`)
	target := &pipeline.Target{Name: "up", Model: p.target}
	ex.Model = &pipeline.Model{Name: p.declared, Targets: []*pipeline.Target{target, {Name: "other"}}}
	ex.Targets, ex.Target = ex.Model.Targets, target
	err := p.chain.Handle(ex.Context(), ex)
	for err == nil && ex.Response.Body != nil {
		_, err = ex.Response.Body.Next()
	}
	asked := p.calls > before
	if e, ok := errors.AsType[*pipeline.Error](err); !asked && (!ok || e.Code != "circuit_open" || e.RetryAfter <= 0) {
		t.Errorf("%s: refused with %v", model, err)
	}
	return asked
}

// One broken model of many is left alone, and the others are asked.
func TestModelsAreToldApart(t *testing.T) {
	const event = "data: {\"choices\":[]}\n\n"
	ways := map[string]func(context.Context, *pipeline.Exchange) error{
		"500": bad, "429": whole(429, pipeline.OverloadFault), "403": whole(403, pipeline.UpstreamFault),
		"timeout": refused(&pipeline.Error{Status: 504, Code: "upstream_timeout"}),
		"cut":     refused(&pipeline.Error{Status: 502, Code: "upstream_cut", Fault: pipeline.UpstreamFault}),
		"stream":  streams(errLine, event), "empty stream": streams(io.EOF), "error event": streams(io.EOF, event, "data: {\"error\":{\"message\":\"x\"}}\n\n"),
	}
	for name, way := range ways {
		for _, names := range [][2]string{{"*", ""}, {"*", "*"}, {"up/*", "*"}, {"up/*", "org/*"}} {
			synctest.Test(t, func(t *testing.T) {
				p := newProxy(t, "{ failures: 3, cooldown: 10s }")
				p.declared, p.target = names[0], names[1]
				p.broken["bad"] = way
				for range 3 {
					p.call(t, "bad")
				}
				if p.call(t, "bad") || !p.call(t, "good") || !p.call(t, "other") {
					t.Fatalf("%s, %s: after three failures of one model", name, names)
				}
				time.Sleep(11 * time.Second)
				begins := name == "stream" || name == "error event" // its first event is a success
				if !p.call(t, "bad") || p.call(t, "bad") != begins {
					t.Errorf("%s: one probe, and it failed", name)
				}
				delete(p.broken, "bad")
				time.Sleep(11 * time.Second)
				for range 2 {
					if !p.call(t, "bad") {
						t.Errorf("%s: it answers again, and is not asked", name)
					}
				}
			})
		}
	}
}

// Successes of a model count for it: its failures in a row end.
func TestModelRecovers(t *testing.T) {
	p := newProxy(t, "{ failures: 3 }")
	for i := range 20 {
		delete(p.broken, "m")
		if i%3 != 0 {
			p.broken["m"] = bad
		}
		if !p.call(t, "m") {
			t.Fatalf("open after %d requests, never three failures in a row", i)
		}
	}
}

// An upstream that cannot be reached is so for every model.
func TestUnreachableForAll(t *testing.T) {
	p := newProxy(t, "{ failures: 3, cooldown: 1h }")
	for i := range 3 {
		p.broken[fmt.Sprint("m", i)] = refused(errLine)
		p.call(t, fmt.Sprint("m", i))
	}
	if p.call(t, "fine") {
		t.Error("asked all the same")
	}
}

// A target that stands for one model has one memory.
func TestOneModel(t *testing.T) {
	p := newProxy(t, "{ failures: 2, cooldown: 1h }")
	p.target = "gpt"
	p.broken["a"] = bad
	p.call(t, "a")
	p.call(t, "a")
	if p.call(t, "b") {
		t.Error("asked under another name")
	}
}

// Whatever names clients think of, so many are remembered and no more, and those that are
// left alone stay so.
func TestModelsAreBounded(t *testing.T) {
	p := newProxy(t, "{ failures: 1, cooldown: 1h }")
	p.broken["bad"] = bad
	p.call(t, "bad")
	h := p.chain[0].(*handler)
	for i := range 2 * maxModels {
		name := fmt.Sprint("m", i)
		p.broken[name] = whole(500, pipeline.UpstreamFault)
		p.call(t, name)
	}
	if n := len(h.models.list); n > maxModels || h.models.open() != float64(n) {
		t.Errorf("%d models are remembered, %v left alone", n, h.models.open())
	}
	if p.call(t, "bad") || !p.call(t, strings.Repeat("x", 10000)) {
		t.Error("the first is asked, or a new one is not")
	}

	p = newProxy(t, "{ failures: 2, cooldown: 1h }") // none of these is open, so that each makes room
	h = p.chain[0].(*handler)
	for i := range 3 * maxModels {
		name := fmt.Sprint("m", i)
		p.broken[name] = bad
		p.call(t, name)
	}
	p.call(t, fmt.Sprint("m", 3*maxModels-1))
	if p.call(t, fmt.Sprint("m", 3*maxModels-1)) || len(h.models.list) != maxModels {
		t.Errorf("the latest is asked a third time; %d remembered", len(h.models.list))
	}
}

// Names that were left alone and that nobody asks for again make room for others.
func TestForgottenModelsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy(t, "{ failures: 1, cooldown: 10s }")
		fail := func(name string) {
			p.broken[name] = bad
			p.call(t, name)
		}
		for i := range maxModels {
			fail(fmt.Sprint("m", i))
			time.Sleep(time.Millisecond)
		}
		fail("late")
		if !p.call(t, "late") || p.call(t, "m0") {
			t.Error("one that is still left alone made room")
		}
		time.Sleep(10*time.Second - maxModels*time.Millisecond) // the first one's rest is over, the last one's is not
		fail("late")
		if p.call(t, "late") || p.call(t, fmt.Sprint("m", maxModels-1)) {
			t.Error("no room was made, or by the wrong one")
		}
		if n := len(p.chain[0].(*handler).models.list); n != maxModels {
			t.Errorf("%d are remembered", n)
		}
	})
}

// Many at once: one model opens, the other never, and nothing races.
func TestModelsUnderLoad(t *testing.T) {
	p := newProxy(t, "{ failures: 5, cooldown: 10ms, probes: 2 }")
	var mu sync.Mutex
	fail := true
	c := append(p.chain[:1:1], pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		c, err := ex.Chat()
		mu.Lock()
		broken := fail
		mu.Unlock()
		switch {
		case err != nil:
			return err
		case broken && string(c.Model()) == "bad":
			return bad(ctx, ex)
		}
		return good(ctx, ex)
	}))
	target := &pipeline.Target{Name: "up"}
	model := &pipeline.Model{Name: "*", Targets: []*pipeline.Target{target, {Name: "other"}}}
	ask := func(name string) error {
		ex := pipeline.Acquire(context.Background())
		defer ex.Release()
		ex.Op, ex.Request.Body = pipeline.OpChat, []byte(`{"model":"`+name+`","messages":[]}`)
		ex.Model, ex.Targets, ex.Target = model, model.Targets, target
		return c.Handle(ex.Context(), ex)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 500 {
				if name := [...]string{"bad", "good"}[i%2]; ask(name) != nil && name == "good" {
					t.Error("the good one was refused")
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	fail = false
	mu.Unlock()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		answers := 0
		for range 3 {
			if ask("bad") == nil {
				answers++
			}
		}
		if answers == 3 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it never recovers")
		}
	}
}
