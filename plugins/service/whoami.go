package service

import (
	"context"
	_ "embed"
	"slices"
	"strings"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/graphjson"
	"github.com/headrace/headrace/pipeline/version"
)

//go:embed whoami.go
var whoamiSource string

// Whoami describes serve_whoami to a registry.
var Whoami = config.Define[pipeline.Handler]("serve_whoami", WhoamiConfig{
	Entrypoints:   []string{"rag-answer", "graph-extractor"},
	GraphDefaults: GraphDefaults{MinNodes: 1, MinEdges: 1, MaxAttempts: 2, Chain: []string{"graph-extractor", "graph-extractor-o1mini", "graph-extractor-gemini"}},
}, whoamiSource)

// WhoamiConfig answers GET /whoami: what is running, and whose key it was. It
// stands alone in its route.
type WhoamiConfig struct {
	// LiteLLMBase is told as the upstream's address.
	LiteLLMBase string `yaml:"litellm_base"`
	// Entrypoints are told as the models to ask for.
	Entrypoints []string `yaml:"entrypoints"`
	// GraphDefaults are told as those of graph extraction.
	GraphDefaults GraphDefaults `yaml:"graph_defaults"`
}

// GraphDefaults are the settings of graph extraction as they are told.
type GraphDefaults struct {
	// MinNodes is the least number of nodes.
	MinNodes int `yaml:"min_nodes" json:"min_nodes"`
	// MinEdges is the least number of edges.
	MinEdges int `yaml:"min_edges" json:"min_edges"`
	// AllowEmpty says whether a graph may be empty.
	AllowEmpty bool `yaml:"allow_empty" json:"allow_empty"`
	// MaxAttempts is how often each model is asked.
	MaxAttempts int `yaml:"max_attempts" json:"max_attempts"`
	// Chain is who is asked.
	Chain []string `yaml:"chain" json:"provider_chain"`
}

// Build implements config.Builder.
func (c WhoamiConfig) Build(context.Context, config.Env) (pipeline.Handler, error) {
	h := &whoami{WhoamiConfig: c, version: version.String()}
	h.Entrypoints = slices.Clone(c.Entrypoints)
	slices.Sort(h.Entrypoints)
	return h, nil
}

type whoami struct {
	endpoint
	WhoamiConfig
	version string
}

// Handle implements pipeline.Handler.
func (h *whoami) Handle(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	out := whoamiReply{
		Version: h.version, Base: h.LiteLLMBase, Entrypoints: h.Entrypoints, Hint: true,
		SchemaPath: "graph_schema.json", SchemaHash: graphjson.SchemaHash, Defaults: h.GraphDefaults,
		Tenant: ex.Tenant, Scopes: []string{},
	}
	if out.Tenant == "" {
		out.Tenant = "default"
	}
	if ex.Policy != nil {
		out.Scopes = append(out.Scopes, ex.Policy.Scopes...)
	}
	if out.Entrypoints == nil {
		out.Entrypoints = []string{}
	}
	out.Base = strings.TrimSpace(out.Base)
	return reply(ex, out)
}

type whoamiReply struct {
	Version     string        `json:"app_version"`
	Base        string        `json:"litellm_base"`
	Entrypoints []string      `json:"entrypoints"`
	Hint        bool          `json:"json_mode_hint_injection"`
	SchemaPath  string        `json:"graph_schema_path"`
	SchemaHash  string        `json:"schema_hash"`
	Defaults    GraphDefaults `json:"graph_defaults"`
	Tenant      string        `json:"tenant"`
	Scopes      []string      `json:"scopes"`
}
