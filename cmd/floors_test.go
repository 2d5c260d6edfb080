//go:build !race

// The race detector has seen the same code in TestEval, and would take a minute
// over these sets.

package cmd

import (
	"path/filepath"
	"testing"

	"github.com/headrace/headrace/tests/harness"
)

// The floors are two points below what was measured.
func TestEvalFloors(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	sets := harness.Data(t, "retrieval")
	got := evaluate(t, "--set", filepath.Join(sets, "hipporag_musique_train100"), "--chain", "sparse", "--chain", "sparse+graph")
	words, graph := got["sparse"], got["sparse+graph"]
	if words[0] < 0.38 || words[1] < 0.47 || words[2] < 0.59 || graph[2] < 0.68 || graph[3] < 0.42 {
		t.Errorf("MuSiQue: %v", got)
	}
	if graph[0] < words[0] || graph[1] < words[1] {
		t.Errorf("MuSiQue: the graph costs ranks in front: %v", got)
	}
}
