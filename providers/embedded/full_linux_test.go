package embedded_test

import (
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/providers/embedded"
)

// On a disk that is full a store refuses what is written, and keeps and finds what was
// acknowledged before, also when it is opened again there.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("mounts a small disk, which takes root:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	c := embedded.Config{Path: filepath.Join(dir, "kb.db"), Durability: embedded.DurablePower}
	acknowledged := 0
	for round := range 3 {
		s, err := c.Build(t.Context(), config.Env{})
		if err != nil {
			t.Fatalf("opened %d times: %v", round, err)
		}
		for err == nil {
			p := crashPoint("a", acknowledged)
			p.Text += strings.Repeat(" filling", 1000)
			_, err = s.Upsert(t.Context(), pipeline.Upsert{Tenant: "t", Collection: "kb", Points: []pipeline.Point{p}})
			if err == nil {
				acknowledged++
			}
		}
		if !strings.Contains(err.Error(), "disk is full") {
			t.Error(err)
		}
		info, err := s.Collection(t.Context(), "t", "kb")
		if err != nil || info.Points != acknowledged || acknowledged < 10 {
			t.Errorf("opened %d times: %d points of %d, %v", round, info.Points, acknowledged, err)
		}
		found, err := s.Search(t.Context(), pipeline.SearchQuery{Tenant: "t", Collection: "kb", Text: "wordax7", Limit: 1})
		if err != nil || len(found.Sparse) != 1 {
			t.Errorf("found %d, %v", len(found.Sparse), err)
		}
		if err := s.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	}
}
