// Package standard is the list of the components that the gateway is built
// with, and nothing else.
package standard

import (
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/plugins/all"
	"github.com/headrace/headrace/plugins/auth"
	"github.com/headrace/headrace/plugins/breaker"
	"github.com/headrace/headrace/plugins/cache"
	"github.com/headrace/headrace/plugins/call"
	"github.com/headrace/headrace/plugins/contexts"
	"github.com/headrace/headrace/plugins/extract"
	"github.com/headrace/headrace/plugins/graph"
	"github.com/headrace/headrace/plugins/prompt"
	"github.com/headrace/headrace/plugins/race"
	"github.com/headrace/headrace/plugins/rerank"
	"github.com/headrace/headrace/plugins/retrieve"
	"github.com/headrace/headrace/plugins/service"
	servetenants "github.com/headrace/headrace/plugins/tenants"
	"github.com/headrace/headrace/providers/embedded"
	"github.com/headrace/headrace/providers/embedder"
	"github.com/headrace/headrace/providers/litellm"
	"github.com/headrace/headrace/providers/memory"
	"github.com/headrace/headrace/providers/neo4j"
	"github.com/headrace/headrace/providers/offline"
	"github.com/headrace/headrace/providers/qdrant"
	"github.com/headrace/headrace/providers/reranker"
	"github.com/headrace/headrace/providers/tenants"
)

// Components returns every built-in component.
func Components() config.Registry {
	return config.Registry{
		all.Plugin, auth.Plugin, breaker.Plugin, cache.Plugin, call.Plugin, race.Plugin,
		contexts.Plugin, contexts.Store, graph.Plugin, prompt.Plugin, rerank.Plugin, retrieve.Plugin,
		litellm.Component, memory.Component, neo4j.Component, offline.Component, qdrant.Component,
		embedder.Component, embedder.Hash, reranker.Component, reranker.Lexical,
		embedded.Component, tenants.Component, extract.Plugin, servetenants.Plugin,
	}.With(service.Plugins...)
}
