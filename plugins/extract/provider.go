package extract

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/detail"
	"github.com/headrace/headrace/pipeline/graphjson"
)

// A provider asks one model, again and again as far as that may help.
type provider struct {
	h      *handler
	q      *query
	alias  string
	branch *pipeline.Exchange
	next   pipeline.Chain
}

// ask fills res.
func (p *provider) ask(res *result) {
	for n := 1; n <= min(p.q.maxAttempts, maxTries); n++ {
		said, more := p.try(res, n, false, p.prompt(n))
		if res.graph != nil || !more {
			return
		}
		if said == "" || !p.q.repair {
			continue
		}
		// Only what the model itself said is shown to it again, and only when
		// it said something: an upstream's error is nothing to repair.
		if _, more = p.try(res, n, true, repair(p.q, said)); res.graph != nil || !more {
			return
		}
	}
}

// try makes one call and judges the answer. said is an answer that is no valid
// graph; more is false when asking again cannot help.
func (p *provider) try(res *result, n int, repairing bool, messages []message) (said string, more bool) {
	began := time.Now()
	note := func(outcome, why string) {
		if len(why) > 300 {
			why = strings.ToValidUTF8(why[:300], "") + "…"
		}
		res.attempts = append(res.attempts, attempt{
			Provider: p.alias, Attempt: n, Repair: repairing, Outcome: outcome, Message: why, Millis: time.Since(began).Milliseconds(),
		})
	}
	reply, target, err := p.call(messages)
	switch {
	case p.branch.Context().Err() != nil:
		note("cancelled", "")
		return "", false
	case err != nil:
		note("error", reason(err))
		// Who has too much to do, or says when to come again, is not asked at once.
		fault := pipeline.FaultOfError(err)
		if e, ok := errors.AsType[*pipeline.Error](err); ok {
			res.wait = e.RetryAfter
		}
		return "", fault.Retryable() && fault != pipeline.OverloadFault && res.wait == 0
	}
	g, err := p.graph(reply.Text)
	if err != nil {
		note("invalid", err.Error())
		return reply.Text, true
	}
	if why := p.tooLittle(g); why != "" {
		note("too_small", why)
		return "", true
	}
	note("accepted", "")
	res.graph, res.target, res.provider = g, target, reply.Model
	if repairing || reply.Model == "" {
		res.provider = p.alias
	}
	return "", true
}

// reason is what the client is told of a failed call.
func reason(err error) string {
	if e, ok := errors.AsType[*pipeline.Error](err); ok {
		return e.Code + ": " + detail.Sentence(e)
	}
	return "the upstream failed"
}

// call asks the model, once unless it refuses the format: then in one that binds it less,
// in which it is asked from then on.
func (p *provider) call(messages []message) (ask.Reply, *pipeline.Target, error) {
	first := p.h.formats.of(p.alias, format(p.h.Format))
	for f := first; ; f = f.looser() {
		reply, target, err := p.once(messages, f)
		if unknown(err) && f != inWords {
			continue
		}
		if err == nil && f != first {
			p.h.formats.learn(p.alias, f)
		}
		return reply, target, err
	}
}

func (p *provider) once(messages []message, f format) (ask.Reply, *pipeline.Target, error) {
	body, err := json.Marshal(request{Model: p.alias, Messages: messages, Format: f.wire()})
	if err != nil {
		return ask.Reply{}, nil, fmt.Errorf("write the question: %w", err)
	}
	ex := p.branch.Fork(p.branch.Context())
	defer ex.Release()
	ex.Request.Header.Del(pipeline.RetrievalHeader) // the client's answer is no model's text
	answer, err := ask.Model(ex.Context(), ex, p.next, pipeline.OpChat, p.alias, body)
	if err != nil {
		return ask.Reply{}, nil, err
	}
	reply, err := ask.Read(answer)
	return reply, ex.Target, err
}

// graph makes a graph of what was said, and holds it to the schema.
func (p *provider) graph(said string) (*graphjson.Graph, error) {
	raw, err := graphjson.Find(said)
	if err != nil {
		return nil, err
	}
	g, err := graphjson.Normalise(raw)
	if err != nil {
		return nil, err
	}
	if len(g.Nodes) > graphjson.MaxNodes || len(g.Edges) > graphjson.MaxEdges {
		return nil, g.Validate()
	}
	if !p.q.strict {
		return g, nil
	}
	g.Prune()
	return g, g.Validate()
}

// tooLittle says what a valid graph lacks, or "".
func (p *provider) tooLittle(g *graphjson.Graph) string {
	switch {
	case len(g.Nodes) == 1 && strings.EqualFold(g.Nodes[0].Type, "error"):
		return "the graph is one node that reports an error"
	case p.q.allowEmpty:
	case len(g.Nodes) < p.q.minNodes:
		return fmt.Sprintf("%d nodes, at least %d are wanted", len(g.Nodes), p.q.minNodes)
	case len(g.Edges) < p.q.minEdges:
		return fmt.Sprintf("%d edges, at least %d are wanted", len(g.Edges), p.q.minEdges)
	}
	return ""
}

// request is the question as a chat.
type request struct {
	Model    string          `json:"model"`
	Messages []message       `json:"messages"`
	Format   *responseFormat `json:"response_format,omitempty"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}
