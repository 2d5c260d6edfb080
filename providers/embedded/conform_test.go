package embedded_test

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/pipetest"
	"github.com/headrace/headrace/pipeline/storetest"
	"github.com/headrace/headrace/providers/embedded"
)

func TestConform(t *testing.T) {
	pipetest.Conform(t, embedded.Component, "")
}

func TestFiles(t *testing.T) {
	pipetest.Problems(t, config.Registry{embedded.Component}, "testdata")
}

// open builds a store, closed at the end of the test; path may be empty.
func open(t testing.TB, path string) embedded.Store {
	t.Helper()
	// The tests kill processes, not machines.
	s, err := embedded.Config{Path: path, Durability: embedded.DurableProcess}.Build(t.Context(), config.Env{Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestVectors(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		storetest.Vectors(t, func(t *testing.T) pipeline.VectorStore { return open(t, filepath.Join(t.TempDir(), "a.db")) })
	})
	t.Run("memory", func(t *testing.T) {
		storetest.Vectors(t, func(t *testing.T) pipeline.VectorStore { return open(t, "") })
	})
}

func TestGraph(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		storetest.Graph(t, func(t *testing.T) pipeline.GraphStore { return open(t, filepath.Join(t.TempDir(), "a.db")) })
	})
	t.Run("memory", func(t *testing.T) {
		storetest.Graph(t, func(t *testing.T) pipeline.GraphStore { return open(t, "") })
	})
}
