package stores

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/providers/qdrant"
	"github.com/headrace/headrace/tests/harness"
	"github.com/headrace/headrace/tests/stores/qdrantserver"
)

func startQdrant(t *testing.T) (*qdrant.Store, *qdrantserver.Server) {
	t.Helper()
	server := &qdrantserver.Server{Backend: &qdrantserver.Memory{}}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return openQdrant(t, server.URL(), ""), server
}

func put(ctx context.Context, s *qdrant.Store, tenant, doc string) error {
	_, err := s.Upsert(ctx, pipeline.Upsert{Tenant: tenant, Collection: "kb", Points: []pipeline.Point{{
		Passage: pipeline.Passage{ID: pipeline.PointID(tenant, "kb", doc, "", 0), DocID: doc, Text: "river of " + tenant},
		Vector:  []float32{1, 2},
	}}})
	return err
}

// Everything that is asked of a vector store.
func vectorCalls(s *qdrant.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"search": func(ctx context.Context) error {
			_, err := s.Search(ctx, pipeline.SearchQuery{Tenant: "a", Collection: "kb", Vector: []float32{1, 2}, Text: "river", Limit: 3})
			return err
		},
		"fetch": func(ctx context.Context) error {
			_, err := s.Fetch(ctx, "a", "kb", []string{pipeline.PointID("a", "kb", "d", "", 0)})
			return err
		},
		"collection": func(ctx context.Context) error {
			_, err := s.Collection(ctx, "a", "kb")
			return err
		},
		"delete": func(ctx context.Context) error {
			_, err := s.Delete(ctx, "a", "kb", "nothing")
			return err
		},
		"upsert": func(ctx context.Context) error { return put(ctx, s, "a", "d") },
	}
}

// A server that takes connections and never says a word.
func TestQdrantSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for name, call := range vectorCalls(openQdrant(t, "http://"+l.Addr().String(), "")) {
		inTime(t, name, 200*time.Millisecond, call)
	}
}

// A server that stands still under running calls, and goes on.
func TestQdrantFrozen(t *testing.T) {
	s, server := startQdrant(t)
	if err := put(t.Context(), s, "a", "d"); err != nil {
		t.Fatal(err)
	}
	thaw := make(chan struct{})
	server.SetBefore(func(ctx context.Context, _ string) error {
		select {
		case <-thaw:
		case <-ctx.Done():
		}
		return nil
	})
	for name, call := range vectorCalls(s) {
		inTime(t, name, 200*time.Millisecond, call)
	}
	close(thaw)
	for name, call := range vectorCalls(s) {
		if err := call(t.Context()); err != nil {
			t.Errorf("%s after the thaw: %v", name, err)
		}
	}
}

// A server that is killed under writers loses nothing that it has acknowledged,
// and no tenant ever sees another's passages meanwhile.
func TestQdrantKilled(t *testing.T) {
	s, server := startQdrant(t)
	var mu sync.Mutex
	written := map[string][]string{}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 6 {
		tenant := string(rune('a' + w%3))
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				doc := fmt.Sprint(w, "-", n)
				if put(t.Context(), s, tenant, doc) == nil {
					mu.Lock()
					written[tenant] = append(written[tenant], doc)
					mu.Unlock()
				}
				legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: tenant, Collection: "kb", Vector: []float32{1, 2}, Text: "river", Limit: 5})
				if e, ok := errors.AsType[*pipeline.Error](err); err != nil && (!ok || e.Status != 503 && e.Status != 404) {
					t.Errorf("search while the server comes and goes: %v", err)
				}
				for _, p := range append(legs.Dense, legs.Sparse...) {
					if !strings.HasSuffix(p.Text, " "+tenant) {
						t.Errorf("tenant %s sees %q", tenant, p.Text)
					}
				}
			}
		})
	}
	count := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, docs := range written {
			n += len(docs)
		}
		return n
	}
	for range 3 {
		before := count()
		harness.Until(t, "writes go through", func() bool { return count() >= before+30 })
		server.Stop()
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	for tenant, docs := range written {
		var ids []string
		for _, d := range docs {
			ids = append(ids, pipeline.PointID(tenant, "kb", d, "", 0))
		}
		var got []pipeline.Passage
		harness.Until(t, "the server answers", func() (ok bool) {
			var err error
			got, err = s.Fetch(t.Context(), tenant, "kb", ids)
			return err == nil
		})
		if len(got) != len(ids) {
			t.Errorf("tenant %s: %d of %d acknowledged points are there", tenant, len(got), len(ids))
		}
	}
}

// A full server refuses writes and still answers.
func TestQdrantFull(t *testing.T) {
	s, server := startQdrant(t)
	if err := put(t.Context(), s, "a", "d"); err != nil {
		t.Fatal(err)
	}
	server.SetBefore(func(_ context.Context, call string) error {
		if call == "Upsert" {
			return status.Error(codes.ResourceExhausted, "No space left on device: WAL buffer size exceeds available disk space")
		}
		return nil
	})
	if err := put(t.Context(), s, "a", "e"); code(err) != "503 store_unavailable" {
		t.Errorf("upsert: %v", err)
	}
	if info, err := s.Collection(t.Context(), "a", "kb"); err != nil || info.Points != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// Hundreds of clients that leave at once cost nobody else a call: a server that
// sees their calls reset closes the connection, unless they are not.
func TestQdrantManyLeave(t *testing.T) {
	s, server := startQdrant(t)
	if err := put(t.Context(), s, "a", "d"); err != nil {
		t.Fatal(err)
	}
	server.SetBefore(func(context.Context, string) error {
		time.Sleep(100 * time.Millisecond)
		return nil
	})
	ctx, leave := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() { _ = vectorCalls(s)["search"](ctx) })
	}
	harness.Until(t, "calls are under way", func() bool { return server.Calls("QueryBatch") >= 40 })
	leave(pipeline.ErrClientGone)
	for range 20 {
		wg.Go(func() {
			if err := vectorCalls(s)["search"](t.Context()); err != nil {
				t.Errorf("a call that nobody left: %v", err)
			}
		})
	}
	wg.Wait()
}
