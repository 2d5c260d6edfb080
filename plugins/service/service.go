// Package service is the HTTP API of the replaced service: /chat, /embed,
// /rerank, /index/chunks, /search, /retrieve, /graph/probe, /graph/upsert,
// /graph/query, /delete/vector, /delete/graph and /whoami. Each endpoint is a
// stage that stands first in its route, and has code for the shapes of its
// requests and answers only: the work is done by the stages behind it, and by the
// stores that it is given.
//
// /graph/extract has a package of its own, and so have the tenants.
package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/ask"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/detail"
)

// Plugins describes the endpoints to a registry.
var Plugins = config.Registry{Chat, Embed, Rerank, Index, Search, Retrieve, Probe, Upsert, Query, DeleteVector, DeleteGraph, Whoami}

// endpoint is what all handlers of this package are.
type endpoint struct{}

// Refuse implements pipeline.Endpoint.
func (endpoint) Refuse(e *pipeline.Error) (int, []byte) { return detail.Refuse(e) }

// reply makes v the answer.
func reply(ex *pipeline.Exchange, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	ask.Set(ex, 200, body)
	return nil
}

// failed is err as the endpoint's clients know it: with the endpoint's own word
// for failures in front. What has no status of its own becomes a 502, and its
// text, which may hold addresses, stays here.
func failed(word string, err error) error {
	e, ok := errors.AsType[*pipeline.Error](err)
	if !ok {
		fault := pipeline.FaultOfError(err)
		if fault == pipeline.TimeoutFault {
			return &pipeline.Error{Status: 504, Code: word, Fault: fault, Err: errors.New(word + ": the store or the upstream did not answer in time")}
		}
		return &pipeline.Error{Status: 502, Code: word, Fault: fault, Err: errors.New(word + ": the store or the upstream failed")}
	}
	out := *e
	out.Body, out.Err = nil, errors.New(word+": "+detail.Sentence(e))
	if e.Status < 400 || e.Status == 500 {
		out.Status = 502
	}
	return &out
}

// gone passes on the end of a request that nobody waits for, and else calls
// failed.
func gone(ex *pipeline.Exchange, word string, err error) error {
	if cause := pipeline.Cause(ex.Context()); cause != nil {
		return cause
	}
	return failed(word, err)
}

// allowed refuses a collection that the key may not name.
func allowed(ex *pipeline.Exchange, collection string) error {
	switch {
	case collection == "" || len(collection) > 200:
		return detail.FailField("collection", "invalid_value", "collection must be a name of 1 to 200 bytes")
	case ex.Policy != nil && ex.Policy.Collections != nil && !slices.Contains(ex.Policy.Collections, collection):
		return &pipeline.Error{
			Status: 403, Code: "collection_not_allowed", Fault: pipeline.CallerFault,
			Err: fmt.Errorf("this key may not use the collection %q", collection),
		}
	}
	return nil
}

// get is what a setting refers to, the zero value if it refers to nothing.
func get[T any](r config.Ref[T]) (v T) {
	if r.IsZero() {
		return v
	}
	return r.Get()
}
