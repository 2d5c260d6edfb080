package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// benchstat is the program that tells a difference from noise.
const benchstat = "golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da"

// compare runs the Go benchmarks of the packages named, as they are and as
// they were in a revision, one after the other and many times, so that a slow
// moment of the machine hits both.
func compare(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("compare", flag.ExitOnError)
	base := fs.String("base", "HEAD", "git `revision` to compare with")
	bench := fs.String("bench", ".", "which benchmarks, as go test has it")
	count := fs.Int("count", 10, "how often each side runs")
	length := fs.String("benchtime", "200ms", "how long each benchmark runs")
	if err := fs.Parse(args); err != nil {
		return err
	}
	packages := fs.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	dir, err := os.MkdirTemp("", "headrace-compare-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	root, err := command(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return err
	}
	old, err := export(ctx, root, dir, *base)
	if err != nil {
		return err
	}
	sides := []side{{"old", old, filepath.Join(dir, "old.txt")}, {"new", root, filepath.Join(dir, "new.txt")}}
	flags := append([]string{"test", "-run", "^$", "-bench", *bench, "-benchmem", "-benchtime", *length}, packages...)
	for i := range *count {
		for _, s := range sides {
			fmt.Fprintf(os.Stderr, "%s, %d of %d\n", s.name, i+1, *count)
			if err := s.bench(ctx, flags); err != nil {
				return err
			}
		}
	}
	return summarize(ctx, root, sides)
}

// A side is one state of the source.
type side struct{ name, dir, results string }

// bench appends what one run of the benchmarks prints to the results.
func (s side) bench(ctx context.Context, flags []string) error {
	f, err := os.OpenFile(s.results, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "go", flags...)
	c.Dir, c.Stdout, c.Stderr = s.dir, f, os.Stderr
	err = c.Run()
	if _, failed := errors.AsType[*exec.ExitError](err); failed {
		err = nil // a package that did not exist then is no reason to stop
	}
	return errors.Join(err, f.Close())
}

// summarize prints benchstat's verdict, or where the results are if it cannot
// be had.
func summarize(ctx context.Context, root string, sides []side) error {
	out, err := command(ctx, root, "go", "run", benchstat, sides[0].name+"="+sides[0].results, sides[1].name+"="+sides[1].results)
	if err == nil {
		fmt.Println(out)
		return nil
	}
	for _, s := range sides {
		b, readErr := os.ReadFile(s.results)
		if readErr != nil {
			return readErr
		}
		fmt.Printf("--- %s\n%s\n", s.name, strings.TrimSpace(string(b)))
	}
	return fmt.Errorf("the results are above; benchstat: %w", err)
}
