package breaker_test

import (
	"testing"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/breaker"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, breaker.Plugin, `failures: 50%`)
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{breaker.Plugin}, "testdata")
}
