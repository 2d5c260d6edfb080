package cache_test

import (
	"testing"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/plugins/cache"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, cache.Plugin, `store: answers`)
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{cache.Plugin}, "testdata")
}
