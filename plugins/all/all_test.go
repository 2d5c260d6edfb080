package all

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
)

// find is a stage for branches, set up by the file to do what a test wants.
type find struct {
	IDs   []string      `yaml:"ids"`   // passages to add
	Takes time.Duration `yaml:"takes"` // before it adds them
	Stuck time.Duration `yaml:"stuck"` // how long it goes on after it was told to stop
	Fails string        `yaml:"fails"`
	Bug   string        `yaml:"bug"`
	Drop  bool          `yaml:"drop"`   // the passages that were there
	Says  string        `yaml:"answer"` // as an answer, which a branch must not give
	Body  string        `yaml:"body"`   // in place of the request's
}

func (f find) Build(context.Context, config.Env) (pipeline.Handler, error) { return f, nil }

func (f find) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	if ex.Request.Upload != nil {
		return errors.New("a branch got the upload")
	}
	if f.Takes > 0 {
		select {
		case <-time.After(f.Takes):
		case <-ctx.Done():
			time.Sleep(f.Stuck)
			return pipeline.Cause(ctx)
		}
	}
	if f.Fails != "" {
		return errors.New(f.Fails)
	}
	if f.Bug != "" {
		panic(f.Bug)
	}
	if f.Drop {
		ex.Passages = ex.Passages[:0]
	}
	if f.Body != "" {
		ex.Request.Body = []byte(f.Body)
	}
	if f.Says != "" {
		ex.Response.SetBody([]byte(f.Says))
	}
	for _, id := range f.IDs {
		ex.Passages = append(ex.Passages, pipeline.Passage{ID: id, Text: "text of " + id})
	}
	return next.Handle(ctx, ex)
}

// load returns the stage as a file sets it up.
func load(t *testing.T, settings string) (pipeline.Chain, *config.Snapshot) {
	t.Helper()
	file := "routes:\n  - name: test\n    match: { path: /v1/* }\n    chain:\n      - all: " + settings + "\n"
	reg := config.Registry{Plugin, config.Define[pipeline.Handler]("find", find{}, "package p")}
	s, err := config.Load(context.Background(), config.Source{File: "test.yaml", Data: []byte(file)}, reg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Routes[0].Chain, s
}

// handle makes one request that comes with the passage "old". It returns the
// passages behind the stage, as "old a b", and how long they took.
func handle(t *testing.T, settings string, change func(*pipeline.Exchange)) (got string, took time.Duration, err error) {
	t.Helper()
	c, s := load(t, settings)
	ex := pipeline.Acquire(context.Background())
	ex.Passages = append(ex.Passages, pipeline.Passage{ID: "old", Text: "text of old"})
	ex.Request.Body = []byte("body")
	if change != nil {
		change(ex)
	}
	began := time.Now()
	chain := append(c[:len(c):len(c)], pipeline.HandlerFunc(func(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
		var ids []string
		for _, p := range ex.Passages {
			ids = append(ids, p.ID)
			if p.Text != "text of "+p.ID {
				t.Errorf("passage %q has the text %q", p.ID, p.Text)
			}
		}
		if got != "" {
			t.Error("the rest of the chain ran twice")
		}
		got, took = strings.Join(ids, " "), time.Since(began)
		if string(ex.Request.Body) != "body" || ex.Response.Body != nil {
			t.Error("a branch changed the request, or answered it")
		}
		return nil
	}))
	err = chain.Handle(ex.Context(), ex)
	if err != nil {
		took = time.Since(began)
	}
	ex.Release()
	s.Release() // closes the stage, which waits for what it started
	if n := pipeline.Live(); n != 0 {
		t.Errorf("%d exchanges are still in use", n)
	}
	return got, took, err
}

// The end of the time that all stages have together leaves out what is late, as the
// stage's own does. What is required is then missing.
func TestDeadline(t *testing.T) {
	f := func(settings, want string, fails bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c, s := load(t, settings)
			defer s.Release()
			ex := pipeline.Acquire(context.Background())
			defer ex.Release()
			ctx, stop := context.WithTimeout(ex.Context(), 50*time.Millisecond)
			defer stop()
			began := time.Now()
			err := c.Handle(ctx, ex)
			var ids []string
			for _, p := range ex.Passages {
				ids = append(ids, p.ID)
			}
			if got := strings.Join(ids, " "); got != want || (err != nil) != fails || time.Since(began) != 50*time.Millisecond {
				t.Errorf("%s: got %q, %v after %v; want %q", settings, got, err, time.Since(began), want)
			}
		})
	}
	f("{ branches: [ [ find: { ids: [a], takes: 1h } ], [ find: { ids: [b] } ] ] }", "b", false)
	f("{ branches: [ [ find: { ids: [a], takes: 1h, stuck: 5s } ], [ find: { ids: [b] } ] ] }", "b", false)
	f("{ require: true, branches: [ [ find: { ids: [a], takes: 1h } ], [ find: { ids: [b] } ] ] }", "", true)
}

func TestJoin(t *testing.T) {
	f := func(settings, want string, wantTook time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			got, took, err := handle(t, settings, nil)
			if got != want || took != wantTook || err != nil {
				t.Errorf("%s\ngot  %q after %v, %v\nwant %q after %v", settings, got, took, err, want, wantTook)
			}
		})
	}
	f("{ branches: [ [ find: { ids: [a, b] } ] ] }", "old a b", 0)
	// In the order written, whoever is first; and in the time of the slowest.
	f("{ branches: [ [ find: { ids: [a], takes: 30ms } ], [ find: { ids: [b], takes: 10ms } ], [ find: { ids: [c], takes: 20ms } ] ] }",
		"old a b c", 30*time.Millisecond)
	f("{ branches: [ [ find: { ids: [a] }, find: { ids: [b] } ], [ find: { ids: [c] } ] ] }", "old a b c", 0)
	// A branch that reorders or drops what was there drops it for itself.
	f("{ branches: [ [ find: { ids: [a, old], drop: true } ], [ find: { ids: [b] } ] ] }", "old a b", 0)
	// What fails, panics or is late is left out.
	f("{ branches: [ [ find: { fails: sorry } ], [ find: { ids: [b] } ] ] }", "old b", 0)
	f("{ branches: [ [ find: { bug: oops } ], [ find: { ids: [b] } ] ] }", "old b", 0)
	f("{ timeout: 50ms, branches: [ [ find: { ids: [a], takes: 1h } ], [ find: { ids: [b] } ] ] }", "old b", 50*time.Millisecond)
	f("{ timeout: 50ms, branches: [ [ find: { ids: [a], takes: 1h, stuck: 5s } ], [ find: { ids: [b] } ] ] }", "old b", 50*time.Millisecond)
	f("{ timeout: 50ms, branches: [ [ find: { takes: 1h } ], [ find: { fails: sorry } ] ] }", "old", 50*time.Millisecond)
	// What a branch answers or makes of the request is its own affair.
	f("{ branches: [ [ find: { ids: [a], answer: hello, body: other } ] ] }", "old a", 0)
	f("{ require: true, timeout: 50ms, branches: [ [ find: { ids: [a], takes: 49ms } ] ] }", "old a", 49*time.Millisecond)
}

func TestRequire(t *testing.T) {
	f := func(settings string, status int, want string, wantTook time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			got, took, err := handle(t, settings, nil)
			if got != "" || err == nil || err.Error() != want || took != wantTook {
				t.Errorf("%s\ngot  %q, %v after %v\nwant %s after %v", settings, got, err, took, want, wantTook)
			}
			if e, ok := errors.AsType[*pipeline.Error](err); ok && e.Status != status {
				t.Errorf("status %d, want %d", e.Status, status)
			}
		})
	}
	// The first failure ends it, and stops the others.
	f("{ require: true, branches: [ [ find: { takes: 900ms, stuck: 5s } ], [ find: { takes: 10ms, fails: sorry } ] ] }",
		0, "sorry", 10*time.Millisecond)
	f("{ require: true, timeout: 50ms, branches: [ [ find: { takes: 1h } ], [ find: { ids: [b] } ] ] }",
		504, "upstream_timeout: a part of the work that this request needs took too long", 50*time.Millisecond)
	f("{ require: true, branches: [ [ find: { bug: oops } ] ] }", 500, "internal_error: branch 1 panicked: oops", 0)
}

func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, took, err := handle(t, "{ branches: [ [ find: { takes: 900ms } ], [ find: { ids: [b] } ] ] }", func(ex *pipeline.Exchange) {
			time.AfterFunc(10*time.Millisecond, func() { ex.Scope().Cancel(pipeline.ErrClientGone) })
		})
		if got != "" || !errors.Is(err, pipeline.ErrClientGone) || took != 10*time.Millisecond {
			t.Errorf("got %q, %v after %v", got, err, took)
		}
	})
}

func TestSkip(t *testing.T) {
	got, _, err := handle(t, "{ branches: [ [ find: { ids: [a] } ] ] }", func(ex *pipeline.Exchange) { ex.SetSkip([]byte("cache, all")) })
	if got != "old" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

type reader struct{}

func (reader) Read([]byte) (int, error) { return 0, errors.New("read by a branch") }

func TestBranchesGetNoUpload(t *testing.T) {
	got, _, err := handle(t, "{ require: true, branches: [ [ find: { ids: [a] } ] ] }", func(ex *pipeline.Exchange) { ex.Request.Upload = reader{} })
	if got != "old a" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// Nested stages, many requests at once, some of whose clients leave: nothing
// is lost or left behind.
func TestConcurrently(t *testing.T) {
	c, s := load(t, "{ timeout: 5ms, branches: [ [ find: { ids: [a] } ], [ find: { takes: 3ms, ids: [b] } ], "+
		"[ all: { branches: [ [ find: { ids: [c] } ], [ find: { takes: 1s } ] ] } ], [ find: { fails: sorry } ], [ find: { bug: oops } ] ] }")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				ex := pipeline.Acquire(context.Background())
				leaves, left := (i+g)%3 == 0, make(chan struct{})
				timer := time.AfterFunc(time.Millisecond, func() {
					if leaves {
						ex.Scope().Cancel(pipeline.ErrClientGone)
					}
					close(left)
				})
				err := c.Handle(ex.Context(), ex)
				var ids []string
				for _, p := range ex.Passages {
					ids = append(ids, p.ID)
				}
				// On a busy machine either may be late.
				if got := strings.Join(ids, ""); err == nil && !strings.Contains("ab", got) {
					t.Errorf("got %q", ids)
				}
				if !timer.Stop() {
					<-left
				}
				ex.Release()
			}
		})
	}
	wg.Wait()
	s.Release()
}

func TestProblems(t *testing.T) {
	f := func(settings, want string) {
		t.Helper()
		file := "routes:\n  - name: test\n    match: { path: /v1/* }\n    chain:\n      - all: " + settings + "\n"
		reg := config.Registry{Plugin, config.Define[pipeline.Handler]("find", find{}, "package p")}
		err := config.Check(config.Source{File: "test.yaml", Data: []byte(file)}, reg)
		if err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s\ngot  %v\nwant %s", settings, err, want)
		}
	}
	f("{}", `missing required setting "branches"`)
	f("{ branches: [ [] ] }", "branches[0] is empty")
	f("{ branches: [ [ find: {} ] ], timeout: 0s }", "must be at least 1ms")
}
