package qdrant_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/storetest"
	"github.com/headrace/headrace/providers/qdrant"
	"github.com/headrace/headrace/tests/stores/qdrantserver"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, qdrant.Component, "url: http://127.0.0.1:1")
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{qdrant.Component}, "testdata")
}

// start runs a server in memory, and returns it with a store on top.
func start(t *testing.T, change ...func(*qdrant.Config, *qdrantserver.Server)) (pipeline.VectorStore, *qdrantserver.Server) {
	t.Helper()
	server := &qdrantserver.Server{Backend: &qdrantserver.Memory{}}
	c := qdrant.Config{Timeout: 2 * time.Second, WriteTimeout: 5 * time.Second, Connections: 3, MaxCalls: 64, MaxReply: 64 << 20}
	for _, f := range change {
		f(&c, server)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	c.URL = server.URL()
	return open(t, c), server
}

func open(t *testing.T, c qdrant.Config) pipeline.VectorStore {
	t.Helper()
	s, err := c.Build(t.Context(), config.Env{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.(*qdrant.Store).Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// The suite that all vector stores pass, against the server in memory.
func TestStore(t *testing.T) {
	storetest.Vectors(t, func(t *testing.T) pipeline.VectorStore {
		s, _ := start(t)
		return s
	})
}

func point(tenant, doc string, index int, text string, vector ...float32) pipeline.Point {
	return pipeline.Point{
		Passage: pipeline.Passage{
			ID:    pipeline.PointID(tenant, "kb", doc, "", index),
			DocID: doc, Index: index, Text: text,
		},
		Vector: vector, Digest: [32]byte{byte(index), byte(len(text))},
	}
}

func write(t *testing.T, s pipeline.VectorStore, tenant string, points ...pipeline.Point) {
	t.Helper()
	got, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: tenant, Collection: "kb", Points: points})
	if err != nil || got.Written != len(points) {
		t.Fatalf("upsert: %+v, %v", got, err)
	}
}

func code(err error) string {
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		return fmt.Sprintf("%d %s", e.Status, e.Code)
	}
	return fmt.Sprint(err)
}

func TestBothLegsInOneCall(t *testing.T) {
	s, server := start(t)
	write(t, s, "a", point("a", "d", 0, "the river Rhine", 1, 0), point("a", "d", 1, "a mountain", 0, 1))
	legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "a", Collection: "kb", Vector: []float32{0, 1}, Text: "rhine", Limit: 5})
	if err != nil {
		t.Fatal(err)
	}
	if len(legs.Dense) != 2 || legs.Dense[0].Text != "a mountain" || len(legs.Sparse) != 1 || legs.Sparse[0].Text != "the river Rhine" {
		t.Errorf("got %+v", legs)
	}
	if n := server.Calls("QueryBatch"); n != 1 || server.Calls("Query") != 0 {
		t.Errorf("%d batches, %d single queries", n, server.Calls("Query"))
	}
}

// Every call that reads or removes points names the tenant.
func TestTenantIsPushedDown(t *testing.T) {
	s, server := start(t)
	write(t, s, "a", point("a", "d", 0, "river", 1, 0))
	for _, f := range []*pipeline.Filter{nil, {}, {Should: []pipeline.Condition{{Field: "x", Any: []pipeline.Value{{Text: "y"}}}}}} {
		_, _ = s.Search(t.Context(), pipeline.SearchQuery{Tenant: "a", Collection: "kb", Vector: []float32{0, 1}, Text: "river", Limit: 5, Filter: f})
	}
	_, _ = s.Collection(t.Context(), "a", "kb")
	_, _ = s.Delete(t.Context(), "a", "kb", "d")
	seen := 0
	check := func(f *client.Filter) {
		seen++
		if len(f.GetMust()) == 0 || f.GetMust()[0].GetField().GetKey() != "tenant" || f.GetMust()[0].GetField().GetMatch().GetKeyword() != "a" || f.GetShould() != nil {
			t.Errorf("filter %v", f)
		}
	}
	for _, r := range server.Requests() {
		switch r := r.(type) {
		case *client.QueryBatchPoints:
			for _, q := range r.GetQueryPoints() {
				check(q.GetFilter())
			}
		case *client.CountPoints:
			check(r.GetFilter())
		case *client.DeletePoints:
			check(r.GetPoints().GetFilter())
		}
	}
	if seen != 9 {
		t.Errorf("looked at %d filters", seen)
	}
}

func TestVectorsThatAreRefused(t *testing.T) {
	s, server := start(t)
	write(t, s, "a", point("a", "d", 0, "river", 1, 0))
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	f := func(want string, vector ...float32) {
		t.Helper()
		_, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: "a", Collection: "kb", Points: []pipeline.Point{point("a", "e", 0, "x", vector...)}})
		if code(err) != want {
			t.Errorf("upsert of %v: %v; want %s", vector, err, want)
		}
		_, err = s.Search(t.Context(), pipeline.SearchQuery{Tenant: "a", Collection: "kb", Vector: vector, Limit: 1})
		if code(err) != want {
			t.Errorf("search for %v: %v; want %s", vector, err, want)
		}
	}
	f("400 bad_vector", nan, 1)
	f("400 bad_vector", inf, 1)
	f("400 bad_vector", 0, 0)
	f("409 dimension_mismatch", 1)
	f("409 dimension_mismatch", 1, 0, 0)
	// A bad vector does not shape a collection either.
	_, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: "a", Collection: "new", Points: []pipeline.Point{point("a", "e", 0, "x", nan)}})
	if code(err) != "400 bad_vector" || server.Calls("Create") != 1 {
		t.Errorf("%v, %d collections made", err, server.Calls("Create"))
	}
}

// Only the server's word that there is no collection makes one.
func TestCollectionIsNeverMadeAnew(t *testing.T) {
	s, server := start(t)
	write(t, s, "a", point("a", "d", 0, "river", 1, 0))
	other := open(t, qdrant.Config{URL: server.URL(), Timeout: 50 * time.Millisecond, WriteTimeout: time.Second, Connections: 1, MaxCalls: 8, MaxReply: 1 << 20})
	for _, fail := range []error{status.Error(codes.Internal, "no"), status.Error(codes.Unavailable, "no"), status.Error(codes.DeadlineExceeded, "no"), status.Error(codes.PermissionDenied, "no")} {
		server.SetBefore(func(_ context.Context, call string) error {
			if call == "Get" {
				return fail
			}
			return nil
		})
		if _, err := other.Upsert(t.Context(), pipeline.Upsert{Tenant: "a", Collection: "kb", Points: []pipeline.Point{point("a", "d", 1, "x", 1, 0)}}); err == nil {
			t.Errorf("after %v the upsert went on", fail)
		}
	}
	server.SetBefore(nil)
	if server.Calls("Create") != 1 || server.Calls("UpdateCollection") != 0 {
		t.Errorf("%d collections made", server.Calls("Create"))
	}
	if info, err := other.Collection(t.Context(), "a", "kb"); err != nil || info.Points != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// Ten writers of a new collection make it together.
func TestRaceToMakeTheCollection(t *testing.T) {
	s, _ := start(t)
	var wg sync.WaitGroup
	for n := range 10 {
		wg.Go(func() {
			p := point("a", fmt.Sprint(n), 0, "x", 1, 0)
			if _, err := s.Upsert(t.Context(), pipeline.Upsert{Tenant: "a", Collection: "kb", Points: []pipeline.Point{p}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if info, err := s.Collection(t.Context(), "a", "kb"); err != nil || info.Points != 10 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestErrors(t *testing.T) {
	s, server := start(t, func(c *qdrant.Config, _ *qdrantserver.Server) { c.Timeout = 100 * time.Millisecond })
	write(t, s, "a", point("a", "d", 0, "river", 1, 0))
	f := func(err error, want string, fault pipeline.Fault, calls int) {
		t.Helper()
		before := server.Calls("QueryBatch")
		server.SetBefore(func(ctx context.Context, _ string) error {
			if err == nil {
				<-ctx.Done()
				return ctx.Err()
			}
			return err
		})
		_, got := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "a", Collection: "kb", Text: "river", Limit: 1})
		server.SetBefore(nil)
		if code(got) != want || pipeline.FaultOfError(got) != fault || server.Calls("QueryBatch")-before != calls {
			t.Errorf("%v: got %v (fault %v, %d calls); want %s, %v, %d", err, got, pipeline.FaultOfError(got), server.Calls("QueryBatch")-before, want, fault, calls)
		}
		if got != nil && strings.Contains(got.Error(), "secret-detail") {
			t.Errorf("the client is shown %v", got)
		}
	}
	f(status.Error(codes.Unavailable, "secret-detail"), "503 store_unavailable", pipeline.UpstreamFault, 2)
	f(status.Error(codes.ResourceExhausted, "secret-detail"), "503 store_unavailable", pipeline.OverloadFault, 1)
	f(status.Error(codes.Unauthenticated, "secret-detail"), "502 store_denied", pipeline.UpstreamFault, 1)
	f(status.Error(codes.Internal, "secret-detail"), "502 store_error", pipeline.UpstreamFault, 1)
	f(nil, "504 upstream_timeout", pipeline.TimeoutFault, 1)
}

// An answer larger than the setting allows comes again as often as it is asked for: it is no
// server with too much to do, and half of it may well fit.
func TestAnswerTooLarge(t *testing.T) {
	s, _ := start(t, func(c *qdrant.Config, _ *qdrantserver.Server) { c.MaxReply = 1 << 20 })
	write(t, s, "a", point("a", "d", 0, "river "+strings.Repeat("x", 600<<10), 1, 2))
	q := pipeline.SearchQuery{Tenant: "a", Collection: "kb", Vector: []float32{1, 2}, Text: "river", Limit: 1}
	_, err := s.Search(t.Context(), q)
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok || code(err) != "502 store_error" || e.Fault != pipeline.UpstreamFault || e.RetryAfter != 0 || !strings.Contains(err.Error(), "max_reply") {
		t.Errorf("both legs: %v", err)
	}
	q.Vector = nil
	if legs, err := s.Search(t.Context(), q); err != nil || len(legs.Sparse) != 1 {
		t.Errorf("one leg: %v, %d hits", err, len(legs.Sparse))
	}
}

// spoilt answers searches with a score that is no number for one document.
type spoilt struct {
	*qdrantserver.Memory
	score float32
}

func (s *spoilt) Query(name string, q *client.QueryPoints) ([]*client.ScoredPoint, error) {
	hits, err := s.Memory.Query(name, q)
	for _, h := range hits {
		if h.GetPayload()["doc_id"].GetStringValue() == "bad" {
			h.Score = s.score
		}
	}
	return hits, err
}

// A point whose vector another program has spoilt costs a search that point, and not all
// that it finds.
func TestScoresThatAreNoNumbers(t *testing.T) {
	for _, score := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		s, _ := start(t, func(_ *qdrant.Config, server *qdrantserver.Server) {
			server.Backend = &spoilt{&qdrantserver.Memory{}, float32(score)}
		})
		write(t, s, "a", point("a", "good", 0, "a river", 1, 2), point("a", "bad", 0, "a river", 1, 2))
		legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "a", Collection: "kb", Vector: []float32{1, 2}, Text: "river", Limit: 5})
		if err != nil || len(legs.Dense) != 1 || legs.Dense[0].DocID != "good" || len(legs.Sparse) != 1 || legs.Sparse[0].DocID != "good" {
			t.Errorf("%v: %+v, %v", score, legs, err)
		}
	}
}

// short is a server that answers a search with too few results.
type short struct {
	client.UnimplementedCollectionsServer
}

func (short) Get(context.Context, *client.GetCollectionInfoRequest) (*client.GetCollectionInfoResponse, error) {
	return &client.GetCollectionInfoResponse{Result: &client.CollectionInfo{Config: &client.CollectionConfig{Params: &client.CollectionParams{
		VectorsConfig: client.NewVectorsConfigMap(map[string]*client.VectorParams{"dense": {Size: 2}}),
	}}}}, nil
}

type shortPoints struct {
	client.UnimplementedPointsServer
}

func (shortPoints) QueryBatch(context.Context, *client.QueryBatchPoints) (*client.QueryBatchResponse, error) {
	return &client.QueryBatchResponse{}, nil
}

// An answer without a result for each search is an error: nothing found is told otherwise.
func TestResultsThatAreMissing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	client.RegisterCollectionsServer(server, short{})
	client.RegisterPointsServer(server, shortPoints{})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	s := open(t, qdrant.Config{URL: "http://" + l.Addr().String(), Timeout: 2 * time.Second, Connections: 1, MaxCalls: 4, MaxReply: 1 << 20})
	legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "a", Collection: "kb", Vector: []float32{1, 2}, Limit: 5})
	if code(err) != "502 store_error" {
		t.Errorf("%+v, %v", legs, err)
	}
}

func TestKey(t *testing.T) {
	s, server := start(t, func(c *qdrant.Config, server *qdrantserver.Server) { c.Key, server.Key = "k1", "k1" })
	write(t, s, "a", point("a", "d", 0, "river", 1, 0))
	wrong := open(t, qdrant.Config{URL: server.URL(), Key: "k2", Timeout: time.Second, WriteTimeout: time.Second, Connections: 1, MaxCalls: 8, MaxReply: 1 << 20})
	if _, err := wrong.Collection(t.Context(), "a", "kb"); code(err) != "502 store_denied" {
		t.Errorf("with a wrong key: %v", err)
	}
}

// A caller's context ends the wait, and not the call: a server that sees many
// calls cancelled together closes their connection.
func TestContextEndsTheWait(t *testing.T) {
	s, server := start(t)
	write(t, s, "a", point("a", "d", 0, "river", 1, 0))
	var mu sync.Mutex
	var cancelled int
	release := make(chan struct{})
	server.SetBefore(func(ctx context.Context, _ string) error {
		select {
		case <-release:
		case <-ctx.Done():
			mu.Lock()
			cancelled++
			mu.Unlock()
		}
		return nil
	})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := s.Search(ctx, pipeline.SearchQuery{Tenant: "a", Collection: "kb", Text: "river", Limit: 1})
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 600*time.Millisecond {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		})
	}
	wg.Wait()
	close(release)
	server.SetBefore(nil)
	if _, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "a", Collection: "kb", Text: "river", Limit: 1}); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if cancelled != 0 {
		t.Errorf("%d calls were cancelled on the wire", cancelled)
	}
}

func TestTiesAtTheLimit(t *testing.T) {
	s, _ := start(t)
	var points []pipeline.Point
	for n := range 12 {
		points = append(points, point("a", "d", n, "river", 1, 0))
	}
	write(t, s, "a", points...)
	var first []string
	for range 5 {
		legs, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "a", Collection: "kb", Vector: []float32{1, 0}, Text: "river", Limit: 4})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, p := range append(legs.Dense, legs.Sparse...) {
			ids = append(ids, p.ID)
		}
		if first == nil {
			first = ids
		}
		if diff := cmp.Diff(first, ids); diff != "" || len(ids) != 8 {
			t.Errorf("the same query again: %s", diff)
		}
	}
}

// A server that comes back is used again without a new store.
func TestRestart(t *testing.T) {
	s, server := start(t)
	write(t, s, "a", point("a", "d", 0, "river", 1, 0))
	server.Stop()
	if _, err := s.Collection(t.Context(), "a", "kb"); code(err) != "503 store_unavailable" {
		t.Errorf("while it is down: %v", err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(8 * time.Second)
	for {
		_, err := s.Collection(t.Context(), "a", "kb")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
