package cmd

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headrace/headrace/pipeline"
	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/plugins/standard"
)

// hanging is a stage whose Build may never return.
type hanging struct {
	// Until says whether.
	Until string `yaml:"until"`
}

// hung is told of a Build that begins to hang.
var hung = make(chan struct{}, 1)

func (h hanging) Build(context.Context, config.Env) (pipeline.Handler, error) {
	if h.Until != "" {
		hung <- struct{}{}
		select {}
	}
	return pipeline.HandlerFunc(func(ctx context.Context, ex *pipeline.Exchange, next pipeline.Chain) error {
		return next.Handle(ctx, ex)
	}), nil
}

// TestEndDuringReload needs SIGTERM to be heard while a Build keeps a reload from ending.
func TestEndDuringReload(t *testing.T) {
	dir := t.TempDir()
	file := strings.Replace(small, "[ call", "[ hanging: {}, call", 1)
	write(t, dir, "gateway.yaml", file)
	t.Chdir(dir)
	var out, log buffer
	done := make(chan int, 1)
	reg := standard.Components().With(config.Define[pipeline.Handler]("hanging", hanging{}, ""))
	go func() { done <- run(reg, []string{"run"}, &out, &log) }()
	eventually(t, &log, `"msg":"listening"`)
	write(t, dir, "gateway.yaml", strings.Replace(file, "hanging: {}", "hanging: { until: never }", 1))
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-hung
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case status := <-done:
		if status != 0 || !strings.Contains(log.String(), "hanging: not built") || !strings.Contains(log.String(), `"msg":"stopped"`) {
			t.Errorf("ended with %d: %s", status, log.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("does not end")
	}
}
