package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
)

// A store that fails costs a call to the upstream and nothing else.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "{ store: flaky }")
		f := func(get, set error, want string) {
			t.Helper()
			g.store.get, g.store.set = get, set
			if got := g.ask(t); got.cache != want || got.err != nil || got.body != `{"n":1}` {
				t.Errorf("got %+v", got)
			}
		}
		f(nil, errors.New("full"), "miss")
		f(nil, nil, "miss")
		f(nil, nil, "hit")
		f(errors.New("down"), nil, "miss")
		f(errors.New("down"), errors.New("down"), "miss")
		f(nil, nil, "hit")
		if n := strings.Count(g.log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings at once:\n%s", n, g.log)
		}
		time.Sleep(10 * time.Second)
		f(errors.New("down"), nil, "miss")
		if n := strings.Count(g.log.String(), "level=WARN"); n != 2 || !strings.Contains(g.log.String(), "unreported=3") {
			t.Errorf("%d warnings in the end:\n%s", n, g.log)
		}
	})
}

// An entry cut short anywhere, or of another make, is a miss: never a panic,
// never half an answer's header.
func TestCorruptEntries(t *testing.T) {
	g := newGateway(t, "{ store: flaky }")
	g.ask(t)
	var key pipeline.Key
	var value []byte
	for key, value = range g.store.values {
	}
	start := bytes.Index(value, []byte(`{"n":1}`))
	f := func(v []byte) {
		t.Helper()
		g.store.values[key] = v
		if got := g.ask(t); got.cache != "miss" || got.kind != "application/json" {
			t.Errorf("%q: got %+v", v, got)
		}
	}
	for n := range start {
		f(value[:n])
	}
	f(append([]byte{format + 1}, value[1:]...))
	f(bytes.Replace(value, []byte("Content-Type"), []byte("Content-Typ"), 1)[:start-2])
	huge := bytes.Clone(value)
	huge[fixed] = 0xFF // a name of great length
	f(huge)
}

func FuzzEntry(f *testing.F) {
	g := &handler{store: &flaky{values: map[pipeline.Key][]byte{}}}
	f.Add([]byte("\x01\x00\x00\x01\x93\x00\x00\x00\x00\x01\x0cContent-Type\x10application/json{}"))
	f.Add([]byte("\x01\x00\x00\x01\x93\x00\x00\x00\x00\x02\x01a\x01b\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		ex := newRequest()
		defer ex.Release()
		g.store.(*flaky).values[pipeline.Key{}] = value
		if !g.answer(context.Background(), ex, pipeline.Key{}, control{maxAge: -1}) {
			if ex.Response.Body != nil || len(ex.Response.Header.Peek(header)) > 0 {
				t.Fatal("a miss that left an answer")
			}
			return
		}
		if b, ok := ex.Response.Whole(); !ok || !bytes.HasSuffix(value, b) {
			t.Fatalf("answered with %q", b)
		}
	})
}

// A hit costs no allocation, the key included.
func TestHitAllocatesNothing(t *testing.T) {
	if raced() {
		t.Skip("the race detector makes pools forget")
	}
	f := func(b string) {
		t.Helper()
		g := newGateway(t, "{}")
		g.answer = whole(200, `{"choices":[]}`)
		if strings.Contains(b, `"stream":true`) {
			g.answer = streams(sseType, io.EOF, first, last)
		}
		m := &pipeline.Model{Name: "*", Targets: []*pipeline.Target{{Name: "a"}, {Name: "b"}}}
		request := []byte(b)
		ctx := context.Background()
		run := func() {
			ex := pipeline.Acquire(ctx)
			ex.Op, ex.Model, ex.Tenant, ex.Route = pipeline.OpChat, m, "acme", "chat"
			ex.Request.Header.SetMethod("POST")
			ex.Request.Header.SetRequestURI("/v1/chat/completions")
			ex.Request.Header.Set("OpenAI-Project", "p")
			ex.Request.Body = request
			if err := g.chain.Handle(ctx, ex); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := ex.Response.Body.Next(); err != nil {
					break
				}
			}
			ex.Release()
		}
		run()
		if n := testing.AllocsPerRun(1000, run); n != 0 || g.calls != 1 {
			t.Errorf("%v allocations, %d calls, for %.60s", n, g.calls, b)
		}
	}
	f(`{"model":"m","messages":[{"role":"user","content":"hello"}],"temperature":0.5}`)
	f(`{"model":"m","messages":[],"stream":true,"cache":{"ttl":60,"namespace":"n"}}`)
	f(`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("long ", 4000) + `"}]}`)
}

func BenchmarkHit(b *testing.B) {
	for _, size := range []int{1 << 10, 20 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			g := newGateway(b, "{}")
			request := []byte(`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", size) + `"}]}`)
			run := func() {
				ex := pipeline.Acquire(context.Background())
				ex.Op = pipeline.OpChat
				ex.Request.Header.SetMethod("POST")
				ex.Request.Body = request
				if err := g.chain.Handle(ex.Context(), ex); err != nil {
					b.Fatal(err)
				}
				ex.Release()
			}
			run()
			b.SetBytes(int64(len(request)))
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}

// raced reports whether the race detector is on. Pools then drop what they are
// given now and then, so that allocations cannot be counted.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
