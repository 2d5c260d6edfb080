package qdrant

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/quiet"
)

// Store is a Qdrant server as a pipeline.VectorStore.
type Store struct {
	pipeline.DocumentLocks

	config  Config
	client  *client.Client
	log     *quiet.Log
	schemas sync.Map // collection on the server -> schema
	slots   chan struct{}

	// Calls run under base, never under their caller's context: many of those
	// cancelled together make a server close the connection under unrelated
	// calls. Close ends base and waits for what still runs.
	base    context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	seconds *prometheus.HistogramVec
	calls   *prometheus.CounterVec
}

func newStore(c Config, conn *client.Client, env config.Env) (*Store, error) {
	s := &Store{config: c, client: conn, log: quiet.New(env.Log), slots: make(chan struct{}, c.MaxCalls)}
	s.base, s.stop = context.WithCancel(context.Background())
	s.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "headrace_qdrant_call_seconds", Help: "How long calls to the vector store took.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"call"})
	s.calls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_qdrant_calls_total", Help: "Calls to the vector store, by outcome.",
	}, []string{"call", "outcome"})
	for _, m := range []prometheus.Collector{s.seconds, s.calls} {
		if err := env.Metrics.Register(m); err != nil {
			s.stop()
			return nil, err
		}
	}
	return s, nil
}

// Close ends the calls that nobody waits for any more, and the connections.
func (s *Store) Close() error {
	s.stop()
	s.running.Wait()
	return s.client.Close()
}

// run makes one call to the server. It returns when ctx ends, whatever the
// server does; the call itself goes on until its own limit. What f reads must
// therefore not change after run has returned.
func run[T any](ctx context.Context, s *Store, name string, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if ctx.Err() != nil {
		return none, pipeline.Cause(ctx)
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return none, pipeline.Cause(ctx)
	case <-late.C:
		return none, pipeline.Fail(503, "overloaded", errors.New("too many calls to the vector store are under way"))
	}
	done := make(chan result, 1)
	s.running.Go(func() {
		defer func() { <-s.slots }()
		began := time.Now()
		inner, cancel := context.WithTimeout(s.base, limit)
		defer cancel()
		v, err := f(inner)
		// A connection that the server has just closed fails calls that it
		// never saw. The next attempt goes out on another one.
		if status.Code(err) == codes.Unavailable && inner.Err() == nil {
			v, err = f(inner)
		}
		s.observe(name, began, err)
		done <- result{v, err}
	})
	select {
	case r := <-done:
		return r.value, failure(r.err)
	case <-ctx.Done():
		return none, pipeline.Cause(ctx)
	}
}

func (s *Store) observe(name string, began time.Time, err error) {
	s.seconds.WithLabelValues(name).Observe(time.Since(began).Seconds())
	s.calls.WithLabelValues(name, status.Code(err).String()).Inc()
	if err == nil || status.Code(err) == codes.NotFound || s.base.Err() != nil {
		return
	}
	s.log.Warn("the vector store failed", "call", name, "error", err)
}

// tooLarge is how gRPC, on this side, begins to say that an answer was. Its code is that
// of a server with too much to do, and no wait makes such an answer smaller.
const tooLarge = "grpc: received message"

// failure turns what the client library returned into what callers may see:
// neither an address nor anything the server wrote.
func failure(err error) error {
	if err == nil {
		return nil
	}
	if exhausted, ok := errors.AsType[*client.QdrantResourceExhaustedError](err); ok {
		return &pipeline.Error{
			Status: 503, Code: "store_unavailable", Fault: pipeline.OverloadFault,
			RetryAfter: time.Duration(exhausted.RetryAfterS) * time.Second,
			Err:        told{"the vector store has too much to do", err},
		}
	}
	e := &pipeline.Error{Status: 502, Code: "store_error", Fault: pipeline.UpstreamFault}
	switch status.Code(err) {
	case codes.NotFound:
		return &pipeline.Error{
			Status: 404, Code: "collection_not_found", Param: "collection", Fault: pipeline.CallerFault,
			Err: told{"there is no such collection", err},
		}
	case codes.DeadlineExceeded:
		e.Status, e.Code, e.Fault = 504, "upstream_timeout", pipeline.TimeoutFault
		e.Err = told{"the vector store did not answer in time", err}
	case codes.Unavailable, codes.Canceled, codes.Aborted:
		e.Status, e.Code, e.RetryAfter = 503, "store_unavailable", time.Second
		e.Err = told{"the vector store cannot be reached", err}
	case codes.ResourceExhausted:
		if strings.HasPrefix(status.Convert(err).Message(), tooLarge) {
			e.Err = told{"the answer of the vector store is larger than its setting max_reply", err}
			break
		}
		e.Status, e.Code, e.Fault, e.RetryAfter = 503, "store_unavailable", pipeline.OverloadFault, time.Second
		e.Err = told{"the vector store has too much to do", err}
	case codes.Unauthenticated, codes.PermissionDenied:
		e.Code = "store_denied"
		e.Err = told{"the vector store refuses the key of this gateway", err}
	case codes.InvalidArgument:
		e.Err = told{"the vector store refused the call as invalid", err}
	default:
		e.Err = told{"the vector store failed", err}
	}
	return e
}

// told is a sentence for clients, with the reason kept for errors.As.
type told struct {
	sentence string
	err      error
}

func (t told) Error() string { return t.sentence }
func (t told) Unwrap() error { return t.err }

// missing reports whether err is the server's word that there is no collection.
func missing(err error) bool {
	e, ok := errors.AsType[*pipeline.Error](err)
	return ok && e.Code == "collection_not_found"
}
