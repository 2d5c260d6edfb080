package rag

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/chat"
)

// What a request may ask for at most.
const (
	maxTopK = 100
	MaxHops = 3
)

// options reads the header and the member "rag", and takes both out of the request:
// what comes of them shows in the prompt, and a cache behind need not tell requests
// apart by them. The header is the stronger.
func options(ex *pipeline.Exchange) (*pipeline.RetrievalOptions, error) {
	o := &pipeline.RetrievalOptions{}
	if err := body(ex, o); err != nil {
		return nil, err
	}
	switch v := bytes.TrimSpace(ex.Request.Header.Peek(pipeline.RetrievalHeader)); {
	case len(v) == 0:
	case bytes.EqualFold(v, []byte("off")):
		o.Switch = pipeline.RetrievalOff
	case bytes.EqualFold(v, []byte("on")):
		o.Switch = pipeline.RetrievalOn
	case bytes.EqualFold(v, []byte("required")):
		o.Switch = pipeline.RetrievalRequired
	default:
		return nil, invalid("X-RAG", "off, on or required")
	}
	ex.Request.Header.Del(pipeline.RetrievalHeader)
	return o, nil
}

func body(ex *pipeline.Exchange, o *pipeline.RetrievalOptions) error {
	if !ex.Op.HasModel() || ex.Request.Upload != nil || !bytes.Contains(ex.Request.Body, []byte(`"rag"`)) {
		return nil
	}
	r, err := ex.Chat()
	if err != nil {
		return err
	}
	raw, ok := r.Member("rag")
	if !ok {
		return nil
	}
	if err := parseOptions(o, raw); err != nil {
		return err
	}
	ex.Request.Body = r.AppendEdit(nil, chat.Edit{Key: "rag"})
	return nil
}

// parseOptions reads a "rag" object, one valid JSON value, into o. Types are
// strict and unknown fields are refused: a misspelt filter must not widen what
// is found.
func parseOptions(o *pipeline.RetrievalOptions, raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	var members chat.Request
	if err := members.Scan(raw); err != nil {
		return invalid("rag", "an object without repeated fields")
	}
	for i := range members.Len() {
		key, v := members.At(i)
		if string(v) == "null" {
			continue
		}
		if err := option(o, string(key), v); err != nil {
			return err
		}
	}
	return nil
}

func option(o *pipeline.RetrievalOptions, key string, v []byte) (err error) {
	field := "rag." + key
	var ok bool
	switch key {
	case "enabled":
		on, ok := chat.Bool(v)
		if !ok {
			return invalid(field, "true or false")
		}
		o.Switch = pipeline.RetrievalOff
		if on {
			o.Switch = pipeline.RetrievalOn
		}
	case "collection":
		if o.Collection, ok = chat.Text(v); !ok || o.Collection == "" || len(o.Collection) > 200 {
			return invalid(field, "the name of a collection")
		}
	case "top_k":
		o.TopK, err = number(field, v, 1, maxTopK)
	case "rerank":
		on, ok := chat.Bool(v)
		if !ok {
			return invalid(field, "true or false")
		}
		o.Rerank = &on
	case "max_hops":
		var n int
		if n, err = number(field, v, 0, MaxHops); err == nil {
			o.MaxHops = &n
		}
	case "max_context_tokens":
		o.MaxContextTokens, err = number(field, v, 1, 1<<20)
	case "filters":
		o.Filter, err = ParseFilter(v, field)
	case "include":
		o.Include, err = include(field, v)
	default:
		return invalid(field, "left out: known are enabled, collection, top_k, rerank, max_hops, filters, max_context_tokens and include")
	}
	return err
}

func include(field string, v []byte) (pipeline.RetrievalInclude, error) {
	wrong := invalid(field, `an array of "annotations", "citations", "context" and "debug"`)
	if v[0] != '[' {
		return 0, wrong
	}
	var all pipeline.RetrievalInclude
	for e := range chat.Array(v) {
		switch string(e) {
		case `"annotations"`:
			all |= pipeline.IncludeAnnotations
		case `"citations"`:
			all |= pipeline.IncludeCitations
		case `"context"`:
			all |= pipeline.IncludeContext
		case `"debug"`:
			all |= pipeline.IncludeDebug
		default:
			return 0, wrong
		}
	}
	return all, nil
}

func number(field string, v []byte, least, most int) (int, error) {
	n, ok := chat.Int(v)
	if !ok || n < int64(least) || n > int64(most) {
		return 0, invalid(field, fmt.Sprintf("an integer from %d to %d", least, most))
	}
	return int(n), nil
}

func invalid(field, want string) error {
	return &pipeline.Error{
		Status: 400, Code: "invalid_value", Param: field, Fault: pipeline.CallerFault,
		Err: fmt.Errorf("%s must be %s", field, want),
	}
}

// Collection is the one that a request may search: the one it names, if its
// tenant's policy lists that, else usual. The error is an *Error with status 403.
func Collection(p *pipeline.Policy, named, usual string) (string, error) {
	if named == "" || named == usual {
		return usual, nil
	}
	if p != nil && p.Collections != nil && !slices.Contains(p.Collections, named) {
		return "", &pipeline.Error{
			Status: 403, Code: "collection_not_allowed", Param: "rag.collection", Fault: pipeline.CallerFault,
			Err: fmt.Errorf("this key may not search the collection %q", named),
		}
	}
	return named, nil
}

// Unavailable is the refusal of a request that cannot do without retrieval. When to come
// again is what err says, if it does.
func Unavailable(err error) error {
	again := retryAfter
	if e, ok := errors.AsType[*pipeline.Error](err); ok && e != nil && e.RetryAfter > 0 {
		again = e.RetryAfter
	}
	return &pipeline.Error{
		Status: 503, Code: "retrieval_unavailable", Fault: pipeline.GatewayFault, RetryAfter: again,
		Err: fmt.Errorf("the answer is to be made from documents, and they cannot be searched now%w", hidden{err}),
	}
}
