package litellm

import (
	"context"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, Component, "url: http://127.0.0.1:9/v1")
}

func TestProblems(t *testing.T) {
	answer := pipetest.Fixed[pipeline.Handler]("answer", pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange, pipeline.Chain) error { return nil }))
	pipetest.Problems(t, config.Registry{Component, answer}, "testdata")
}
