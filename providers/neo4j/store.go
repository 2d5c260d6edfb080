package neo4j

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/quiet"
)

// Store is a Neo4j server as a pipeline.GraphStore and pipeline.GraphQuerier.
type Store struct {
	config    Config
	driver    driver.DriverWithContext
	log       *quiet.Log
	bookmarks driver.BookmarkManager
	plans     *lru.Cache[[sha256.Size]byte, judgement] // of clients' queries, by their texts
	loops     chan struct{}                            // holds one for each query that loops

	// prepare makes the schema, in a goroutine that Close waits for. schema is
	// closed once it is there; late tells of reading calls whose time was up.
	ctx     context.Context // of what goes on in the background; ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup
	schema  chan struct{}
	late    chan struct{}

	seconds *prometheus.HistogramVec
	calls   *prometheus.CounterVec
	again   *prometheus.CounterVec
}

type row = map[string]any

func newStore(c Config, d driver.DriverWithContext, env config.Env) (*Store, error) {
	s := &Store{
		config: c, driver: d, log: quiet.New(env.Log), schema: make(chan struct{}), late: make(chan struct{}, 1),
		bookmarks: driver.NewBookmarkManager(driver.BookmarkManagerConfig{}),
		loops:     make(chan struct{}, max(1, c.Loops)),
	}
	s.plans, _ = lru.New[[sha256.Size]byte, judgement](judged) // fails for no size but zero
	s.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "headrace_neo4j_call_seconds", Help: "How long calls to the graph store took.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"call"})
	s.calls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_neo4j_calls_total", Help: "Calls to the graph store, by outcome.",
	}, []string{"call", "outcome"})
	s.again = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headrace_neo4j_retries_total", Help: "Writes that began anew, after a deadlock or a lost connection.",
	}, []string{"call"})
	for _, m := range []prometheus.Collector{s.seconds, s.calls, s.again} {
		if err := env.Metrics.Register(m); err != nil {
			return nil, err
		}
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.running.Go(func() { s.prepare(s.ctx) })
	return s, nil
}

// Close ends what runs in the background, and the connections.
func (s *Store) Close() error {
	s.stop()
	s.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := s.driver.Close(ctx); err != nil && !driver.IsConnectivityError(err) {
		return err
	}
	return nil
}

func (s *Store) session(ctx context.Context, mode driver.AccessMode) driver.SessionWithContext {
	return s.driver.NewSession(ctx, driver.SessionConfig{
		AccessMode: mode, DatabaseName: s.config.Database, BookmarkManager: s.bookmarks,
	})
}

// backstop is what the server is told of a deadline. It looks at it every two
// seconds only; what ends a call in time is the context.
func backstop(limit time.Duration) func(*driver.TransactionConfig) {
	return driver.WithTxTimeout(limit + 2*time.Second)
}

// do bounds one call, and words and counts its error.
func (s *Store) do(ctx context.Context, call string, limit time.Duration, f func(context.Context) error) error {
	if ctx.Err() != nil {
		return pipeline.Cause(ctx)
	}
	inner, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	err := f(inner)
	if err != nil && ctx.Err() != nil {
		// The driver's own error would be that of a broken connection.
		err = pipeline.Cause(ctx)
		s.observe(call, began, "gone")
		return err
	}
	seen := failure(err, inner.Err() != nil)
	outcome := "OK"
	if e, ok := errors.AsType[*pipeline.Error](seen); ok {
		outcome = e.Code
		if e.Status >= 500 {
			s.warn(call, err)
		}
	}
	s.observe(call, began, outcome)
	return seen
}

func (s *Store) observe(call string, began time.Time, outcome string) {
	s.seconds.WithLabelValues(call).Observe(time.Since(began).Seconds())
	s.calls.WithLabelValues(call, outcome).Inc()
}

func (s *Store) warn(call string, err error) {
	s.log.Warn("the graph store failed", "call", call, "error", err)
}

// wrapped makes the parameters of a statement members of one, $p: the server plans a
// statement anew for each size of a string or a list among its parameters, in powers of
// ten, and takes no notice of what is in a map.
func wrapped(params row) row { return row{"p": params} }

// read runs one statement in a read session. It returns one record with one list, of
// which each gets the elements, lists in turn: the driver starts three goroutines for
// each record, so that twenty of them cost more than what they say. A connection that
// the server has closed meanwhile is noticed only in use: the next one gets a try.
func (s *Store) read(ctx context.Context, call, query string, params row, each func(cells)) error {
	err := s.do(ctx, call, s.config.Timeout, func(ctx context.Context) error {
		var rows []any
		run := func() error {
			session := s.session(ctx, driver.AccessModeRead)
			defer func() { _ = session.Close(ctx) }()
			result, err := session.Run(ctx, query, wrapped(params), backstop(s.config.Timeout))
			if err != nil {
				return err
			}
			record, err := result.Single(ctx)
			if err != nil {
				return err
			}
			rows, _ = record.Values[0].([]any)
			return nil
		}
		err := run()
		if driver.IsConnectivityError(err) && ctx.Err() == nil {
			err = run()
		}
		if err != nil {
			return err
		}
		for _, r := range rows {
			list, _ := r.([]any)
			each(list)
		}
		return nil
	})
	if pipeline.FaultOfError(err) == pipeline.TimeoutFault {
		select {
		case s.late <- struct{}{}:
		default:
		}
	}
	return err
}

// cells are the values of a row. One that is missing, or of another type, is zero.
type cells []any

func (c cells) at(i int) any {
	if i >= len(c) {
		return nil
	}
	return c[i]
}

func (c cells) text(i int) string {
	v, _ := c.at(i).(string)
	return v
}

func (c cells) number(i int) float64 { return numeric(c.at(i)) }

// write runs f in a transaction, again after a deadlock or a lost connection.
func (s *Store) write(ctx context.Context, call string, f func(ctx context.Context, tx driver.ManagedTransaction) error) error {
	return s.do(ctx, call, s.config.WriteTimeout, func(ctx context.Context) error {
		select {
		case <-s.schema:
		case <-ctx.Done():
			// Without its constraints a graph would be slow, and have doubles.
			return &pipeline.Error{
				Status: 503, Code: "store_unavailable", Fault: pipeline.UpstreamFault, RetryAfter: time.Second,
				Err: errors.New("the graph store is not ready"),
			}
		}
		session := s.session(ctx, driver.AccessModeWrite)
		defer func() { _ = session.Close(ctx) }()
		attempts := 0
		_, err := session.ExecuteWrite(ctx, func(tx driver.ManagedTransaction) (any, error) {
			if attempts++; attempts > 1 {
				s.again.WithLabelValues(call).Inc()
			}
			return nil, f(ctx, tx)
		}, backstop(s.config.WriteTimeout))
		return err
	})
}

// all runs a statement and hands each record to a function, which may be nil.
func all(ctx context.Context, tx driver.ManagedTransaction, query string, params row, each func(*driver.Record)) error {
	result, err := tx.Run(ctx, query, wrapped(params))
	if err != nil {
		return err
	}
	for result.Next(ctx) {
		if each != nil {
			each(result.Record())
		}
	}
	return result.Err()
}

// text, number and integer read a value of a record; a missing one is zero.
func text(r *driver.Record, key string) string {
	v, _ := r.Get(key)
	s, _ := v.(string)
	return s
}

func number(r *driver.Record, key string) float64 {
	v, _ := r.Get(key)
	return numeric(v)
}

func numeric(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	}
	return 0
}

func integer(r *driver.Record, key string) int { return int(number(r, key)) }

// failure turns the driver's error into what callers may see.
func failure(err error, late bool) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		return e
	}
	e := &pipeline.Error{Status: 502, Code: "store_error", Fault: pipeline.UpstreamFault, Err: told{"the graph store failed", err}}
	ne, isServer := errors.AsType[*driver.Neo4jError](err)
	switch {
	case late, isServer && strings.Contains(ne.Code, "TransactionTimedOut"):
		e.Status, e.Code, e.Fault = 504, "upstream_timeout", pipeline.TimeoutFault
		e.Err = told{"the graph store did not answer in time", err}
	case isServer && strings.HasPrefix(ne.Code, "Neo.ClientError.Security."):
		e.Code, e.Err = "store_denied", told{"the graph store refuses the user of this gateway", err}
	case isServer && strings.HasPrefix(ne.Code, "Neo.ClientError."):
		e.Err = told{"the graph store refused the call as invalid", err}
	case isServer && strings.HasPrefix(ne.Code, "Neo.TransientError."):
		e.Status, e.Code, e.Fault, e.RetryAfter = 503, "store_unavailable", pipeline.OverloadFault, time.Second
		e.Err = told{"the graph store has too much to do", err}
	case !isServer:
		e.Status, e.Code, e.RetryAfter = 503, "store_unavailable", time.Second
		e.Err = told{"the graph store cannot be reached", err}
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
