package service

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/chat"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
)

//go:embed probe.go
var probeSource string

// Probe describes serve_probe to a registry.
var Probe = config.Define[pipeline.Handler]("serve_probe", ProbeConfig{MaxTimeout: 5 * time.Minute}, probeSource)

// ProbeConfig answers POST /graph/probe: one question to one model, and whether
// its answer is JSON. It stands first in its route; the stages behind it answer
// as they would a chat completion.
type ProbeConfig struct {
	// MaxTimeout bounds the timeout that a request may set.
	MaxTimeout time.Duration `yaml:"max_timeout" check:"min=1s,max=1h"`
}

// Build implements config.Builder.
func (c ProbeConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return &probeEndpoint{ProbeConfig: c}, nil
}

type probeEndpoint struct {
	endpoint
	ProbeConfig
}

const probeQuestion = `Make a knowledge graph of this text: "Bob joined Acme in 2022." Answer with one JSON object {"nodes": [...], "edges": [...]} and nothing else.`

// Handle implements pipeline.Handler.
func (h *probeEndpoint) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	r, err := detail.Read(ex)
	if err != nil {
		return err
	}
	q := chatRequest{Model: r.NeedString("model")}
	strict := r.Bool("strict_json", false)
	q.Temperature = r.Float("temperature", 0)
	seconds := r.Int("timeout", 60)
	q.Messages = r.OptTextObjects("messages")
	if err := r.Err(); err != nil {
		return err
	}
	if len(q.Messages) == 0 {
		q.Messages = []json.RawMessage{append(chat.AppendString([]byte(`{"role":"user","content":`), probeQuestion), '}')}
	}
	if strict {
		q.Format = jsonObject
		q.hint()
	}
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	// What a client takes for too long need not be, for breakers that others share.
	within, stop := context.WithTimeoutCause(ctx, h.bound(seconds), pipeline.ErrHurried)
	defer stop()
	ex.Request.Header.Del(pipeline.RetrievalHeader) // the client's answer is no model's text
	answer, err := ask.Model(within, ex, next, pipeline.OpChat, q.Model, body)
	var said ask.Reply
	if err == nil {
		said, err = ask.Read(answer)
	}
	if err != nil {
		return probeFailed(ex, q.Model, err)
	}
	return reply(ex, probed(q.Model, said.Text, strict))
}

// bound is a timeout in seconds as a duration, of 1 s or more.
func (h *probeEndpoint) bound(seconds int) time.Duration {
	return min(time.Duration(max(seconds, 1))*time.Second, h.MaxTimeout)
}

type probeReply struct {
	OK       bool            `json:"ok"`
	Mode     string          `json:"mode"`
	Provider string          `json:"provider"`
	Data     json.RawMessage `json:"data"`
	Text     *string         `json:"text"`
	Error    *string         `json:"error"`
	Raw      *string         `json:"raw"`
}

// probed judges what was said.
func probed(model, said string, strict bool) probeReply {
	out := probeReply{OK: true, Mode: "text", Provider: model, Data: json.RawMessage("null")}
	if !strict {
		out.Text = &said
		return out
	}
	out.Mode = "json"
	raw := []byte(strings.TrimSpace(said))
	switch err := chat.Valid(raw); {
	case err != nil:
		why := "json_parse_error: " + err.Error()
		out.OK, out.Error, out.Raw = false, &why, &said
	case raw[0] != '{':
		why := "JSON not an object"
		out.OK, out.Error, out.Raw = false, &why, &said
	default:
		out.Data = raw
	}
	return out
}

// probeFailed is the refusal in the endpoint's own shape: 429 where the upstream
// said so, else 502.
func probeFailed(ex *pipeline.Exchange, model string, err error) error {
	if cause := pipeline.Cause(ex.Context()); cause != nil {
		return cause
	}
	e := &pipeline.Error{Status: 502, Code: "upstream_probe_error", Fault: pipeline.FaultOfError(err), Err: errors.New("the upstream failed")}
	if known, ok := errors.AsType[*pipeline.Error](err); ok {
		e.Err, e.RetryAfter = errors.New(detail.Sentence(known)), known.RetryAfter
		if known.Status == 429 {
			e.Status = 429
		}
	}
	body, err := json.Marshal(map[string]any{"detail": map[string]string{"error": e.Code, "model": model, "message": e.Err.Error()}})
	if err != nil {
		return err
	}
	e.Body = body
	return e
}
