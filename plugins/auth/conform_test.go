package auth_test

import (
	"testing"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/auth"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, auth.Plugin, `keys: "acme=k"`)
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{auth.Plugin}, "testdata")
}
