package call_test

import (
	"testing"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/call"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, call.Plugin, `provider: upstream`)
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{call.Plugin}, "testdata")
}
