//go:build !race

// The race detector has seen the same code in TestEval, and would take a minute
// over these sets.

package cmd

import (
	"os"
	"path/filepath"
	"testing"
)

// The floors are two points below what was measured.
func TestEvalFloors(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	shared := os.Getenv("HEADRACE_SHARED")
	if shared == "" {
		shared = "../../shared"
	}
	sets := filepath.Join(shared, "data", "retrieval")
	if _, err := os.Stat(sets); err != nil {
		t.Skipf("HEADRACE_SHARED has no question sets: %v", err)
	}
	got := evaluate(t, "--set", filepath.Join(sets, "hipporag_musique_train100"), "--chain", "sparse", "--chain", "sparse+graph")
	words, graph := got["sparse"], got["sparse+graph"]
	if words[0] < 0.38 || words[1] < 0.47 || words[2] < 0.59 || graph[2] < 0.68 || graph[3] < 0.42 {
		t.Errorf("MuSiQue: %v", got)
	}
	if graph[0] < words[0] || graph[1] < words[1] {
		t.Errorf("MuSiQue: the graph costs ranks in front: %v", got)
	}
}
