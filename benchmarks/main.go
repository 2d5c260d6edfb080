// Command benchmarks compares Headrace with other gateways on one machine:
//
//	go run ./benchmarks                            # all scenarios, against the references
//	go run ./benchmarks -peers                     # and against the gateways that are installed
//	go run ./benchmarks -targets my.conf           # and against yours: one line, see files/targets.conf
//	go run ./benchmarks -scenarios chat-1k,sse -effort 0.2
//	go run ./benchmarks -base HEAD~5 -scenarios chat-1k
//	go run ./benchmarks -gate                      # status 1 if a goal is missed by more than noise
//	go run ./benchmarks profile -scenario chat-1k  # where the time goes
//	go run ./benchmarks compare -base main ./...   # Go benchmarks, old and new in turn
//	go run ./benchmarks origin                     # the replaced service's load
//
// See README.md for what is measured and how to read it.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/headrace/headrace/benchmarks/measure"
	"github.com/headrace/headrace/benchmarks/report"
	"github.com/headrace/headrace/benchmarks/target"
)

//go:embed files
var files embed.FS

func main() {
	name, args := "run", os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if err := dispatch(name, args); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func dispatch(name string, args []string) error {
	if name == "serve" {
		return serve(args) // ended by the signals that all others handle
	}
	commands := map[string]func(context.Context, []string) error{"run": run, "profile": profile, "compare": compare, "origin": origin}
	f := commands[name]
	if f == nil {
		return fmt.Errorf("unknown command %q; want run, profile, compare, origin or serve", name)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return f(ctx, args)
}

// options are what the command line says about a run.
type options struct {
	scenarios, only, targets, base, out, headrace string
	peers, gate                                   bool
	effort, quiet                                 float64
}

func (o *options) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.scenarios, "scenarios", "", "comma-separated `names`, those of origin's endpoints too, such as /search; all but those if empty")
	fs.StringVar(&o.only, "only", "", "comma-separated `targets`; all of a scenario if empty")
	fs.StringVar(&o.targets, "targets", "", "`file` with further targets")
	fs.BoolVar(&o.peers, "peers", false, "compare with the other gateways that are installed")
	fs.StringVar(&o.base, "base", "", "compare with the gateway of this git `revision` instead of the references")
	fs.StringVar(&o.out, "out", "", "`folder` for report.md and report.svg; the report is printed in any case")
	fs.StringVar(&o.headrace, "headrace", "", "the gateway's `binary`; built if empty")
	fs.BoolVar(&o.gate, "gate", false, "run what has a goal, repeat what has become worse than is held, and fail if it is so again")
	fs.Float64Var(&o.effort, "effort", 1, "multiplies the number of rounds")
	fs.Float64Var(&o.quiet, "quiet", 0, "wait up to 20s before a slice until others take at most this `share` of the machine; 0: do not wait")
}

func run(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("benchmarks", flag.ExitOnError)
	o.flags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, cleanup, err := newRunner(ctx, o)
	if err != nil {
		return err
	}
	defer cleanup()
	list, err := o.choose()
	if err != nil {
		return err
	}
	result, missed, err := r.all(ctx, list, o.gate)
	if err != nil {
		return err
	}
	result.Command = "go run ./benchmarks " + strings.Join(args, " ")
	if err := write(result, o.out); err != nil {
		return err
	}
	if o.gate && len(missed) > 0 {
		return fmt.Errorf("missed twice: %s", strings.Join(missed, "; "))
	}
	return nil
}

// choose returns the scenarios asked for.
func (o options) choose() ([]scenario, error) {
	list := scenarios()
	if o.scenarios != "" {
		var chosen []scenario
		for name := range strings.SplitSeq(o.scenarios, ",") {
			i := slices.IndexFunc(list, func(s scenario) bool { return s.name == name })
			k := slices.IndexFunc(endpoints, func(e endpoint) bool { return e.name() == name })
			switch {
			case i >= 0:
				chosen = append(chosen, list[i])
			case k >= 0:
				chosen = append(chosen, endpoints[k].turns())
			default:
				return nil, fmt.Errorf("no scenario %q", name)
			}
		}
		list = chosen
	}
	if o.gate {
		list = slices.DeleteFunc(list, func(s scenario) bool {
			return !slices.ContainsFunc(goals, func(g goal) bool { return g.scenario == s.name })
		})
	}
	if o.base == "" {
		return list, nil
	}
	for i := range list {
		for _, name := range list[i].targets {
			if slices.Contains(compared, name) {
				list[i].targets, list[i].base, list[i].peers = []string{"base " + name, name}, "base "+name, false
			}
		}
	}
	return slices.DeleteFunc(list, func(s scenario) bool { return !strings.HasPrefix(s.base, "base ") }), nil
}

// compared are the targets that -base compares with those of another revision.
var compared = []string{"headrace", "servers", "origin"}

// all runs the scenarios and judges what they show. With again, those that
// do not keep what is held of a goal are run a second time, which then counts.
func (r *runner) all(ctx context.Context, list []scenario, again bool) (*report.Run, []string, error) {
	result := &report.Run{Date: time.Now().Format("2006-01-02"), Machine: measure.Processor(), Versions: r.env["VERSION"] + ", " + runtime.Version()}
	var missed []string
	for _, s := range list {
		o, err := r.run(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		if again && len(o.missed()) > 0 {
			r.note("repeated, because it missed: " + strings.Join(o.missed(), "; "))
			if o, err = r.run(ctx, s); err != nil {
				return nil, nil, err
			}
		}
		missed = append(missed, o.missed()...)
		result.Tables = append(result.Tables, o.table())
		if c, ok := o.bars(); ok {
			result.Charts = append(result.Charts, c)
		}
		for _, g := range goals {
			if g.scenario == s.name && (!g.ratio || !strings.HasPrefix(s.base, "base ")) {
				result.Goals = append(result.Goals, g.judge(o))
			}
		}
	}
	result.Notes = r.notes
	return result, missed, nil
}

// missed names the goals of which the outcome does not keep what is held.
func (o outcome) missed() []string {
	var names []string
	for _, g := range goals {
		if m := g.measured(o); g.scenario == o.scenario.name && !g.keeps(m.Value, g.held) {
			names = append(names, fmt.Sprintf("%s: %.3g, held to %.3g", g.name, m.Value, g.held))
		}
	}
	return names
}

// newRunner builds what is measured and sets up a folder for it, which cleanup
// removes.
func newRunner(ctx context.Context, o options) (*runner, func(), error) {
	dir, err := os.MkdirTemp("", "headrace-bench-")
	if err != nil {
		return nil, nil, err
	}
	// Servers that start as root run as somebody else later on.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, nil, err
	}
	cleanup := func() { _ = os.RemoveAll(dir) } // a leftover below /tmp
	r := &runner{dir: dir, files: raiseLimit(), effort: o.effort, quiet: o.quiet, progress: os.Stderr}
	if o.only != "" {
		r.only = strings.Split(o.only, ",")
	}
	if err := r.setUp(ctx, o); err != nil {
		cleanup()
		return nil, nil, err
	}
	return r, cleanup, nil
}

func (r *runner) setUp(ctx context.Context, o options) error {
	sub, err := fs.Sub(files, "files")
	if err != nil {
		return err
	}
	folder := filepath.Join(r.dir, "files")
	if err := os.CopyFS(folder, sub); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r.env = target.Env{"DIR": r.dir, "FILES": folder, "SELF": self, "HEADRACE": o.headrace, "CLIENTS": strconv.Itoa(r.clients())}
	if r.builtin, err = target.ReadFile(filepath.Join(folder, "targets.conf")); err != nil {
		return err
	}
	if o.peers {
		if r.peers, err = target.ReadFile(filepath.Join(folder, "peers.conf")); err != nil {
			return err
		}
	}
	if o.targets != "" {
		more, err := target.ReadFile(o.targets)
		if err != nil {
			return err
		}
		r.peers = append(r.peers, more...)
	}
	return r.build(ctx, o)
}

// raiseLimit allows as many open files as the system lets us, and returns how
// many that are. What is started inherits it, because it is set explicitly.
func raiseLimit() int {
	const want = 65536
	l := syscall.Rlimit{Cur: want, Max: want}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		return want // only root may go beyond the hard limit
	}
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	l.Cur = l.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) // failures show up as failed connections
	return int(l.Cur)
}

// write prints the report, and writes it to a folder if one is named.
func write(r *report.Run, out string) error {
	if err := report.Markdown(os.Stdout, r); err != nil || out == "" {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return errors.Join(
		create(filepath.Join(out, "report.md"), r, report.Markdown),
		create(filepath.Join(out, "report.svg"), r, report.SVG))
}

func create(name string, r *report.Run, write func(io.Writer, *report.Run) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f, r), f.Close())
}

// command runs a program of the tool chain and returns what it prints.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
