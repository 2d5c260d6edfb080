package neo4j

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/cypher"
)

const (
	// judged is how many plans are remembered as harmless, and fresh for how long: what
	// is asked often need not be planned twice. Whether a query only reads does not
	// change; what indexes there are for it may.
	judged = 1024
	fresh  = time.Minute
)

// A judgement is what is known of a query.
type judgement struct {
	at    time.Time // its plan was harmless
	loops bool
}

// QueryGraph implements pipeline.GraphQuerier. A query passes three gates: its
// words, the plan that the server makes of it, and a session that the server lets
// nothing write in. Records beyond the caps are left out; if that were all of them,
// it is an error, as an empty list says that there is nothing.
func (s *Store) QueryGraph(ctx context.Context, q pipeline.GraphQuery) (records [][]byte, cut bool, err error) {
	plan := sha256.Sum256([]byte(q.Text))
	known, ok := s.plans.Get(plan)
	if !ok { // its words never change
		if err := cypher.Check(q.Text, s.config.Procedures...); err != nil {
			return nil, false, err
		}
		known.loops = cypher.Loops(q.Text)
	}
	params, err := paramsOf(q.Params)
	if err != nil {
		return nil, false, invalid("invalid_params", err)
	}
	limit := q.Timeout
	if limit <= 0 {
		limit = s.config.Timeout
	}
	err = s.do(ctx, "query", limit, func(ctx context.Context) error {
		if time.Since(known.at) > fresh {
			if err := s.explain(ctx, q.Text, params, limit); err != nil {
				return told4xx(asWritten(err))
			}
			known.at = time.Now()
			s.plans.Add(plan, known)
		}
		run := func(also ...func(*driver.TransactionConfig)) (ended bool, err error) {
			records, cut, err = s.records(ctx, q, params, limit, also...)
			// A query that the server gave up on, for its memory, would come to the same again.
			if driver.IsConnectivityError(err) && ctx.Err() == nil {
				records, cut, err = s.records(ctx, q, params, limit, also...)
			}
			_, told := errors.AsType[*driver.Neo4jError](err)
			return told || err == nil && !cut, told4xx(err)
		}
		// To look for one long text in another takes as long as a loop.
		if known.loops || len(q.Params) > longParams {
			return s.looping(ctx, run)
		}
		_, err := run()
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return records, cut, nil
}

// records runs a query. In a session for reading the server itself refuses to write; a
// transaction around it would take two more round trips.
func (s *Store) records(ctx context.Context, q pipeline.GraphQuery, params row, limit time.Duration, also ...func(*driver.TransactionConfig)) (records [][]byte, cut bool, err error) {
	ctx, drop := context.WithCancel(ctx)
	defer drop()
	session := s.session(ctx, driver.AccessModeRead)
	defer func() { _ = session.Close(ctx) }()
	result, err := session.Run(ctx, q.Text, params, append(also, backstop(limit))...)
	if err != nil {
		return nil, false, err
	}
	size := 0
	for result.Next(ctx) {
		b := appendRecord(nil, result.Record())
		size += len(b)
		if q.MaxRows > 0 && len(records) >= q.MaxRows {
			return records, true, nil
		}
		if q.MaxBytes > 0 && size > q.MaxBytes {
			// The driver would read what it has asked for already, up to a thousand
			// records of any size: a new connection costs less.
			drop()
			if len(records) == 0 {
				return nil, false, invalid("result_too_large", fmt.Errorf("the first record has %d bytes; at most %d are returned", len(b), q.MaxBytes))
			}
			return records, true, nil
		}
		records = append(records, b)
	}
	return records, false, result.Err()
}

// explaining stands in front of a query to be planned.
const explaining = "EXPLAIN "

// inFirstLine is a place that the server names in a query's first line.
var inFirstLine = regexp.MustCompile(`\(line 1, column (\d+) \(offset: (\d+)\)\)`)

// asWritten makes what the server says of a query that it was to explain what it would
// say of the query as the client wrote it.
func asWritten(err error) error {
	ne, ok := errors.AsType[*driver.Neo4jError](err)
	if !ok {
		return err
	}
	own := *ne
	own.Msg = inFirstLine.ReplaceAllStringFunc(ne.Msg, func(place string) string {
		at := inFirstLine.FindStringSubmatch(place)
		column, _ := strconv.Atoi(at[1]) // digits
		offset, _ := strconv.Atoi(at[2])
		return fmt.Sprintf("(line 1, column %d (offset: %d))", max(1, column-len(explaining)), max(0, offset-len(explaining)))
	})
	if quoted := `"` + explaining; strings.Contains(own.Msg, quoted) {
		own.Msg = strings.Replace(own.Msg, quoted, `"`, 1)
		own.Msg = strings.Replace(own.Msg, "\n"+strings.Repeat(" ", len(explaining)), "\n", 1) // the mark below
	}
	return &own
}

// told4xx makes an error of the client what the server says is wrong with the
// client's own query.
func told4xx(err error) error {
	ne, ok := errors.AsType[*driver.Neo4jError](err)
	if !ok {
		return err
	}
	switch {
	case ne.Code == "Neo.ClientError.Statement.AccessMode":
		return unsafe(errors.New("the query may only read"))
	case strings.HasPrefix(ne.Code, "Neo.ClientError.Statement."), strings.HasPrefix(ne.Code, "Neo.ClientError.Procedure."),
		// What it says of a path from a node to itself, as of errors of its own.
		strings.HasPrefix(ne.Msg, "The shortest path algorithm does not work"):
		return &pipeline.Error{
			Status: 400, Code: "invalid_cypher", Param: "query", Fault: pipeline.CallerFault,
			Err: told{"the graph store refuses the query: " + clip(ne.Msg, 500), err},
		}
	}
	return err
}

func unsafe(err error) error {
	return &pipeline.Error{Status: 400, Code: "unsafe_cypher", Param: "query", Fault: pipeline.CallerFault, Err: err}
}

// explain has the server plan the query, without running it, and judges the
// plan.
func (s *Store) explain(ctx context.Context, query string, params row, limit time.Duration) error {
	session := s.session(ctx, driver.AccessModeRead)
	defer func() { _ = session.Close(ctx) }()
	result, err := session.Run(ctx, explaining+query, params, backstop(limit))
	if err != nil {
		return err
	}
	summary, err := result.Consume(ctx)
	if err != nil {
		return err
	}
	if summary.StatementType() != driver.StatementTypeReadOnly {
		return unsafe(errors.New("the query may only read"))
	}
	plan, ok := planOf(summary.Plan())
	if !ok {
		return unsafe(errors.New("the graph store has no plan for the query"))
	}
	return judge(plan, 0)
}

// judge walks a plan. What is not known to be harmless is refused.
func judge(p step, depth int) error {
	if depth > 500 {
		return unsafe(errors.New("the query is nested too deeply"))
	}
	name := operatorOf(p.operator)
	switch {
	case walks[name] && !bounded(p.details), endless(p.details):
		return unsafe(errors.New("a path of variable length needs an upper bound, such as *1..3"))
	case walks[name], harmless[name], name == "ProcedureCall": // which procedure is for the first gate
	case name == "AllNodesScan":
		return unsafe(errors.New("the query would look at every node; name a label"))
	default:
		return unsafe(fmt.Errorf("the plan of the query has a step %.60q, which is not allowed", name))
	}
	for _, s := range p.from {
		if err := judge(s, depth+1); err != nil {
			return err
		}
	}
	return nil
}
