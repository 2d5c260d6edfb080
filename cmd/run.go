package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/quiet"
	"github.com/headrace/headrace/pipeline/version"
	"github.com/headrace/headrace/proxy"
)

// lastLines is how long the log has for what is left in the end.
const lastLines = 2 * time.Second

type runCmd struct {
	Config string `help:"Configuration file; ./gateway.yaml if there is one, else the built-in copy." short:"c" placeholder:"FILE"`
}

// Run serves until SIGTERM or SIGINT. SIGHUP reads the file again.
func (c *runCmd) Run(e *env) error {
	heedMemory()
	// Whoever reads the log may end; the gateway must not die of the next line.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	// A signal that finds no room is lost. Of those to reload one that waits will do for
	// all, so that they never take the room of one to end. One that comes while the file is
	// read for the first time waits too, where it would kill; one to end may.
	end, reload := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	// A held terminal or a log that nobody reads must not hold requests, nor the end.
	out := quiet.NewWriter(e.err, 0, 0, nil)
	defer out.Close(lastLines)
	log := slog.New(slog.NewJSONHandler(out, nil))
	file := ""
	server, err := proxy.New(context.Background(), proxy.Options{
		Log: log, Access: e.err, Version: version.String(),
		Load: func(ctx context.Context, old *config.Snapshot) (*config.Snapshot, error) {
			src, err := source(c.Config)
			if err != nil {
				return nil, err
			}
			file = src.File
			return config.Load(ctx, src, e.components, log, old)
		},
	})
	if err != nil {
		return err
	}
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(end)
	log.Info("listening", "url", server.URL(), "admin", address(server), "config", file, "version", version.String())

	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	for {
		select {
		case err := <-served:
			return err
		case sig := <-end:
			return c.stop(server, end, log, sig)
		case <-reload:
			sig, err := renew(server, end)
			if err != nil {
				log.Error("the new configuration is not used", "error", err)
			} else {
				log.Info("configuration reloaded", "config", file)
			}
			if sig != nil {
				return c.stop(server, end, log, sig)
			}
		}
	}
}

// renew loads the file again. A signal to end that comes meanwhile ends that too, and is
// returned.
func renew(server *proxy.Server, end <-chan os.Signal) (sig os.Signal, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- server.Reload(ctx) }()
	for {
		select {
		case err := <-done:
			return sig, err
		case sig = <-end:
			cancel()
		}
	}
}

// stop drains the server; a second signal stops waiting.
func (c *runCmd) stop(server *proxy.Server, end <-chan os.Signal, log *slog.Logger, sig os.Signal) error {
	log.Info("shutting down; running answers are waited for", "signal", sig.String())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-end:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	log.Info("stopped")
	return nil
}

func address(s *proxy.Server) string {
	if a := s.AdminAddr(); a != nil {
		return "http://" + a.String()
	}
	return ""
}

type checkCmd struct {
	Config string `help:"Configuration file; ./gateway.yaml if there is one, else the built-in copy." short:"c" placeholder:"FILE"`
}

// Run prints every problem, each on a line of its own.
func (c *checkCmd) Run(e *env) error {
	src, err := source(c.Config)
	if err != nil {
		return err
	}
	if err := config.Check(src, e.components); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%s: no problems\n", src.File)
	return nil
}
