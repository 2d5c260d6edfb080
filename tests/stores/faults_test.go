package stores

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/providers/neo4j"
	"github.com/headrace/headrace/tests/harness"
)

// slack is how far beyond its deadline a call may be.
const slack = 50 * time.Millisecond

// Everything that a request asks of a graph.
func graphReads(s *neo4j.Store, tenant string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"link": func(ctx context.Context) error {
			_, err := s.Link(ctx, pipeline.LinkQuery{Tenant: tenant, Text: "Ann", Limit: 3})
			return err
		},
		"related": func(ctx context.Context) error {
			_, err := s.Related(ctx, pipeline.RelatedQuery{Tenant: tenant, Chunks: []string{"1"}, Limit: 3, MaxSeeds: 3, HubCap: 3})
			return err
		},
		"expand": func(ctx context.Context) error {
			_, err := s.Expand(ctx, pipeline.ExpandQuery{Tenant: tenant, Seeds: []pipeline.Seed{{ID: "ann", Weight: 1}}, Hops: 1, MaxNodes: 5, MaxEdges: 5, MaxSeeds: 5, Fanout: 5, HubCap: 50})
			return err
		},
	}
}

// inTime makes a call end at a deadline, and says how late it was: later than something
// that only sleeps for as long, which a busy machine wakes late too.
func inTime(t *testing.T, name string, limit time.Duration, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	slept := make(chan time.Duration, 1)
	go func() {
		time.Sleep(limit)
		slept <- time.Since(began) - limit
	}()
	err := call(ctx)
	late := time.Since(began) - limit
	if machine := <-slept; late-machine > slack {
		t.Errorf("%s: %v beyond its deadline, and the machine %v (%v)", name, late, machine, err)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v; want that the deadline has passed", name, err)
	}
}

// A server that freezes, is killed under running writes and comes back: calls
// end in time, and what was acknowledged is there.
func TestNeo4jFaults(t *testing.T) {
	harness.Suite(t)
	port, data := port(t), t.TempDir()
	server := runNeo4j(t, port, data, "a-good-password")
	s := openNeo4j(t, server.address, func(c *neo4j.Config) { c.Password, c.WriteTimeout = "a-good-password", 20*time.Second })
	tenant := tenantOf(t)
	write := func(ctx context.Context, id string) error {
		_, err := s.Write(ctx, pipeline.GraphWrite{Tenant: tenant, Entities: []pipeline.Entity{{ID: id, Name: "Ann"}}})
		return err
	}
	if err := write(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}

	t.Run("wrong password", func(t *testing.T) {
		wrong := openNeo4j(t, server.address, func(c *neo4j.Config) { c.Password = "another-password" })
		_, err := wrong.Link(t.Context(), pipeline.LinkQuery{Tenant: tenant, Text: "Ann", Limit: 1})
		if code(err) != "502 store_denied" {
			t.Errorf("link: %v", err)
		}
	})

	t.Run("frozen", func(t *testing.T) {
		server.signal(t, syscall.SIGSTOP)
		for name, call := range graphReads(s, tenant) {
			inTime(t, name, 300*time.Millisecond, call)
		}
		inTime(t, "write", 300*time.Millisecond, func(ctx context.Context) error { return write(ctx, "late") })
		server.signal(t, syscall.SIGCONT)
		harness.Until(t, "the server answers again", func() bool {
			seeds, err := s.Link(t.Context(), pipeline.LinkQuery{Tenant: tenant, Text: "Ann", Limit: 1})
			return err == nil && len(seeds) == 1
		})
	})

	t.Run("killed while it writes", func(t *testing.T) {
		var mu sync.Mutex
		var acknowledged []string
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					id := string(rune('a'+w)) + time.Now().Format(".000000000")
					if write(t.Context(), id) != nil {
						return
					}
					mu.Lock()
					acknowledged = append(acknowledged, id)
					mu.Unlock()
				}
			})
		}
		harness.Until(t, "some writes have gone through", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(acknowledged) >= 20
		})
		server.end()
		for name, call := range graphReads(s, tenant) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			began := time.Now()
			err := call(ctx)
			if err == nil || time.Since(began) > 300*time.Millisecond+slack {
				t.Errorf("%s without a server: %v after %v", name, err, time.Since(began))
			}
			cancel()
		}
		server = runNeo4j(t, port, data, "a-good-password")
		close(stop)
		wg.Wait()
		q := pipeline.ExpandQuery{Tenant: tenant, MaxNodes: 1 << 20}
		for _, id := range acknowledged {
			q.Seeds = append(q.Seeds, pipeline.Seed{ID: id, Weight: 1})
		}
		var sub pipeline.Subgraph
		var err error
		harness.Until(t, "the server, which is new and plans slowly, answers in time", func() bool {
			sub, err = s.Expand(t.Context(), q)
			return err == nil
		})
		if err != nil || len(sub.Entities) != len(acknowledged) {
			t.Errorf("%d of %d acknowledged writes are there, %v", len(sub.Entities), len(acknowledged), err)
		}
	})
}
