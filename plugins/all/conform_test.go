package all_test

import (
	"testing"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/all"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, all.Plugin, `branches: [ [ conform_answer: {} ], [ conform_answer: {} ] ]`)
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{all.Plugin}, "testdata")
}
