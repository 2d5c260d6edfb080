package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/headrace/headrace/benchmarks/target"
)

const module = "github.com/headrace/headrace"

// build makes the programs that are measured. Those that will not run are not
// built.
func (r *runner) build(ctx context.Context, o options) error {
	root, err := command(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return err
	}
	r.env["VERSION"] = "headrace " + revision(ctx, root)
	if err := r.buildFor(ctx, root, "PLUGGED", "./benchmarks/plugged"); err != nil {
		return err
	}
	if o.headrace == "" {
		if err := r.buildFor(ctx, root, "HEADRACE", "./cmd/headrace"); err != nil {
			return err
		}
	}
	if o.base == "" {
		return nil
	}
	old, err := export(ctx, root, r.dir, o.base)
	if err != nil {
		return err
	}
	for _, t := range r.builtin {
		if slices.Contains(compared, t.Name) {
			r.builtin = append(r.builtin, target.Target{Name: "base " + t.Name, URL: t.URL, Command: strings.ReplaceAll(t.Command, "$HEADRACE", "$BASE")})
		}
	}
	return r.buildFor(ctx, old, "BASE", "./cmd/headrace")
}

// buildFor builds the package into the program that targets call $name, if a
// target that may run does.
func (r *runner) buildFor(ctx context.Context, root, name, pkg string) error {
	used := false
	for _, t := range r.builtin {
		used = used || strings.Contains(t.Command, "$"+name+`"`) && r.wants(t.Name)
	}
	if !used {
		return nil
	}
	file := filepath.Join(r.dir, strings.ToLower(name))
	fmt.Fprintf(r.progress, "building %s\n", pkg)
	if _, err := command(ctx, root, "go", "build", "-trimpath", "-o", file, pkg); err != nil {
		return err
	}
	r.env[name] = file
	return nil
}

// revision names the commit of the tree at root, with a mark if files differ.
func revision(ctx context.Context, root string) string {
	rev, err := command(ctx, root, "git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "of unknown revision"
	}
	if changes, err := command(ctx, root, "git", "status", "--porcelain"); err != nil || changes != "" {
		rev += " with changes"
	}
	return rev
}

// export writes the files of a revision to a folder below dir and returns it.
// The working tree stays as it is.
func export(ctx context.Context, root, dir, rev string) (string, error) {
	archive, folder := filepath.Join(dir, "base.tar"), filepath.Join(dir, "base-src")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	if _, err := command(ctx, root, "git", "archive", "-o", archive, rev); err != nil {
		return "", err
	}
	_, err := command(ctx, folder, "tar", "-xf", archive)
	return folder, err
}
