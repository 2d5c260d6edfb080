// Package rag is what the stages and the endpoints of retrieval share: what a
// request asks for, searches by meaning and by words and their fusion, the way
// from chunks over the graph to further chunks, and reranking.
//
// Nothing here knows a store, an upstream or a route. The stages in front of a
// chat and the endpoints that only search call the same functions, so that both
// find the same.
package rag

import (
	"github.com/headrace/headrace/pipeline"
)

const (
	// DefaultTenant owns what is stored and asked for without a key.
	DefaultTenant = "default"
	// maxQuery bounds the text that is searched for, in characters.
	maxQuery = 2000
)

// Tenant is whose passages the exchange may see.
func Tenant(ex *pipeline.Exchange) string {
	if ex.Tenant == "" {
		return DefaultTenant
	}
	return ex.Tenant
}

// Begin returns the exchange's retrieval. The first call makes it: it reads what
// the request asks for, takes the member "rag" and the header out of it, and finds the
// question. Every stage of retrieval calls it first. The error is an *Error with
// status 400 that names the header or the field.
func Begin(ex *pipeline.Exchange) (*pipeline.Retrieval, error) {
	if r := ex.Retrieval; r != nil && r.Options != nil {
		return r, nil
	}
	o, err := options(ex)
	if err != nil {
		return nil, err
	}
	// What others hold of the old account must not change under them.
	r := &pipeline.Retrieval{}
	if ex.Retrieval != nil {
		*r = *ex.Retrieval
	}
	r.Options = o
	if r.Query == "" {
		r.Query = Question(ex)
	}
	if o.Switch == pipeline.RetrievalRequired {
		if err := unmeetable(ex, r.Query); err != nil {
			return nil, err
		}
	}
	if r.Filter == nil {
		r.Filter = o.Filter
	}
	r.Off = r.Off || o.Switch == pipeline.RetrievalOff || r.Query == ""
	ex.Retrieval = r
	return r, nil
}

// Cut is the first n characters of s.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
