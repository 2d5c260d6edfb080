package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headrace/headrace/benchmarks/mock"
)

// profile loads one target and fetches its profiles: processor time while the
// load is on, and allocations since the start.
func profile(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("profile", flag.ExitOnError)
	o.effort = 1
	fs.StringVar(&o.scenarios, "scenario", "chat-1k", "`name` of the scenario, or an endpoint of origin, such as /search")
	fs.StringVar(&o.only, "target", "", "`name` of the target, which must be Headrace; if empty the scenario's own")
	fs.StringVar(&o.headrace, "headrace", "", "the gateway's `binary`; built if empty")
	length := fs.Duration("for", 10*time.Second, "how long")
	out := fs.String("out", ".", "`folder` for cpu.pprof and allocs.pprof, or for heap.pprof")
	if err := fs.Parse(args); err != nil {
		return err
	}
	list, err := o.profiled()
	if err != nil {
		return err
	}
	r, cleanup, err := newRunner(ctx, o)
	if err != nil {
		return err
	}
	defer cleanup()
	up, err := r.startUpstream()
	if err != nil {
		return err
	}
	defer up.Stop()
	list[0].clients = min(list[0].clients, r.clients())
	for _, t := range r.targets(list[0]) {
		control := mock.Client{Addr: up.Addr}
		c, err := r.prepare(list[0], t, control)
		if err != nil {
			return err
		}
		defer c.Stop()
		defer c.pool.Close()
		if err := control.Set(list[0].upstream); err != nil {
			return err
		}
		if err := c.profile(ctx, list[0], *length, *out); err != nil {
			return err
		}
	}
	return nil
}

// profiled returns the one scenario asked for, and makes its target the only one.
func (o *options) profiled() ([]scenario, error) {
	list, err := o.choose()
	if o.only == "" {
		o.only = "headrace"
		if err == nil && strings.HasPrefix(o.scenarios, "/") {
			o.only = list[0].targets[0]
		}
	}
	return list, err
}

// profile keeps the load on until the processor profile has been fetched. If
// the load is connections that stay open, it fetches who holds memory instead.
func (c *contestant) profile(ctx context.Context, s scenario, d time.Duration, dir string) error {
	if s.hold {
		r := s.load(c.pool)
		fmt.Fprintf(os.Stderr, "%d connections, %d errors: %v\n", r.Done, r.Errors, r.First)
		return fetch(ctx, "http://"+c.Admin+"/debug/pprof/heap?gc=1", filepath.Join(dir, "heap.pprof"))
	}
	s.warmUp(c.pool)
	fetched := make(chan error, 1)
	go func() {
		fetched <- fetch(ctx, "http://"+c.Admin+"/debug/pprof/profile?seconds="+fmt.Sprint(int(d.Seconds())), filepath.Join(dir, "cpu.pprof"))
	}()
	requests, begun := 0, time.Now()
	for {
		r := s.load(c.pool)
		requests += r.Done
		select {
		case err := <-fetched:
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%d requests in %v\n", requests, time.Since(begun).Round(time.Millisecond))
			return fetch(ctx, "http://"+c.Admin+"/debug/pprof/allocs", filepath.Join(dir, "allocs.pprof"))
		default:
		}
	}
}

func fetch(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
