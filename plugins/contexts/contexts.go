// Package contexts hands out what an answer was made from, for as long as it is
// kept: the passages with their texts, the facts, and how long each stage took.
//
// The stage prompt keeps the contexts in a context_store and names each in the
// header X-RAG-Context-Id of its answer. A context is found by its tenant only.
package contexts

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/rag"
)

//go:embed contexts.go
var source string

// Plugin describes contexts to a registry.
var Plugin = config.Define[pipeline.Handler]("contexts", Config{}, source)

// Store describes context_store to a registry.
var Store = config.Define[*rag.Contexts]("context_store", StoreConfig{Max: 64 << 20, TTL: 10 * time.Minute}, source)

// Config answers with a context, by the id at the end of the path.
type Config struct {
	// Store has the contexts.
	Store config.Ref[*rag.Contexts] `yaml:"store" check:"required"`
}

// Build implements config.Builder.
func (c Config) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return &handler{c.Store.Get()}, nil
}

// StoreConfig keeps contexts in the memory of the gateway.
type StoreConfig struct {
	// Max is how much memory the contexts may take. The least recently used make
	// room for new ones.
	Max config.Size `yaml:"max" check:"min=64KiB"`
	// TTL is how long a context can be fetched.
	TTL time.Duration `yaml:"ttl" check:"min=1s"`
}

// Build implements config.Builder.
func (c StoreConfig) Build(context.Context, config.Env) (*rag.Contexts, error) {
	return rag.NewContexts(int64(c.Max), c.TTL), nil
}

type handler struct{ contexts *rag.Contexts }

// Handle implements pipeline.Handler.
func (h *handler) Handle(_ context.Context, ex *pipeline.Exchange, _ pipeline.Chain) error {
	if h := &ex.Request.Header; !h.IsGet() && !h.IsHead() {
		ex.Response.Header.Set("Allow", "GET, HEAD")
		return &pipeline.Error{
			Status: 405, Code: "method_not_allowed", Fault: pipeline.CallerFault,
			Err: fmt.Errorf("%s is not allowed on a context; use GET", h.Method()),
		}
	}
	path, _, _ := bytes.Cut(ex.Request.Header.RequestURI(), []byte("?"))
	id := path[bytes.LastIndexByte(path, '/')+1:]
	value, ok := h.contexts.Get(rag.Tenant(ex), string(id))
	if !ok {
		return &pipeline.Error{
			Status: 404, Type: "not_found_error", Code: "context_not_found", Fault: pipeline.CallerFault,
			Err: errors.New("no context is kept under this id: it is not yours, or its time is over"),
		}
	}
	ex.Response.Header.SetStatusCode(200)
	ex.Response.Header.SetContentType("application/json")
	ex.Response.Header.Set("Cache-Control", "private, no-store")
	ex.Response.SetBody(value)
	return nil
}
