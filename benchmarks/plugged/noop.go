// Command plugged is the gateway with one more plugin, which does nothing: it
// shows what being a plugin costs. It is a custom build like any other.
package main

import (
	"context"
	_ "embed"

	"github.com/headrace/headrace/cmd"
	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/plugins/standard"
)

//go:embed noop.go
var source string

// noop describes the plugin to a registry.
var noop = config.Define[pipeline.Handler]("noop", Config{}, source)

// Config passes every request on.
type Config struct{}

// Build implements config.Builder.
func (Config) Build(context.Context, config.Env) (pipeline.Handler, error) { return handler{}, nil }

type handler struct{}

// Handle implements pipeline.Handler.
func (handler) Handle(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
	return next.Handle(ctx, ex)
}

func main() { cmd.Main(standard.Components().With(noop)) }
