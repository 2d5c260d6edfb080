package pipetest_test

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
)

//go:embed example_test.go
var guardSource string

// Guard is a plugin under test. It would stand in a package of its own.
var Guard = config.Define[pipeline.Handler]("word_guard", Words{Status: 400}, guardSource)

// Words refuses requests that contain a banned word.
type Words struct {
	// Words are refused wherever they appear.
	Words []string `yaml:"words" check:"required"`
	// Status is returned for a refused request.
	Status int `yaml:"status" check:"min=400,max=499"`
}

// Build implements config.Builder.
func (c Words) Build(context.Context, config.Env) (pipeline.Handler, error) {
	return pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		for _, w := range c.Words {
			if bytes.Contains(ex.Request.Body, []byte(w)) {
				return pipeline.Fail(c.Status, "prompt_refused", errors.New("the prompt has a banned word"))
			}
		}
		return next.Handle(ctx, ex)
	}), nil
}

// One call checks what every plugin has to keep to.
func ExampleConform() {
	_ = func(t *testing.T) { // func TestConform(t *testing.T)
		pipetest.Conform(t, Guard, "words: [ x ]")
	}
}

func TestExample(t *testing.T) {
	pipetest.Conform(t, Guard, "words: [ x ]")
	pipetest.Conform(t, Guard, "words: [ question ]") // refuses everything
}
