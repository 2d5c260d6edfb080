package neo4j

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"

	"github.com/headrace/headrace/pipeline"
)

// longParams is from how many bytes on parameters make a query one that loops.
const longParams = 64 << 10

// looping runs a query that the server does not stop within a value, whatever it is told
// (5.26: it looks between rows): a list of any length, a pattern that goes back and forth.
// Each would take a processor for good, so there are a few at a time, and one that nobody
// waits for any more is one of them until it has ended.
func (s *Store) looping(ctx context.Context, run func(also ...func(*driver.TransactionConfig)) (ended bool, err error)) error {
	select {
	case s.loops <- struct{}{}:
	default:
		select {
		case s.loops <- struct{}{}:
		case <-ctx.Done():
			return &pipeline.Error{
				Status: 503, Code: "store_unavailable", Fault: pipeline.OverloadFault, RetryAfter: 5 * time.Second,
				Err: errors.New("the graph store is still busy with queries that go through lists or match patterns"),
			}
		}
	}
	mark := uuid.NewString()
	ended, err := run(driver.WithTxMetadata(row{marked: mark}))
	if ended {
		<-s.loops
		return err
	}
	s.running.Go(func() {
		defer func() { <-s.loops }()
		s.outlast(mark)
	})
	return err
}

// marked is the member of a transaction's metadata by which it is found again.
const marked = "headrace"

// outlast returns when the server has ended a transaction.
func (s *Store) outlast(mark string) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
			return
		}
		runs, err := s.runs(mark)
		if ne, ok := errors.AsType[*driver.Neo4jError](err); ok && ne.Classification() == "ClientError" {
			s.warn("transactions", err) // it may not be asked, and so tells nothing
			return
		}
		if err == nil && !runs {
			return
		}
	}
}

// runs reports whether the server still has a transaction.
func (s *Store) runs(mark string) (bool, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.config.Timeout)
	defer cancel()
	session := s.session(ctx, driver.AccessModeRead)
	defer func() { _ = session.Close(ctx) }()
	result, err := session.Run(ctx, "SHOW TRANSACTIONS YIELD metaData WHERE metaData."+marked+" = $mark RETURN count(*) AS n", row{"mark": mark})
	if err != nil {
		return false, err
	}
	record, err := result.Single(ctx)
	if err != nil {
		return false, err
	}
	return integer(record, "n") > 0, nil
}
