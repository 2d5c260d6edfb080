// Package cmd is the command line of the gateway. It is importable, so that a
// build with further components is a main package of one call:
//
//	func main() { cmd.Main(standard.Components().With(guard.Plugin)) }
package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/alecthomas/kong"

	"github.com/headrace/headrace"
	"github.com/headrace/headrace/pipeline/config"
)

// Main runs the command line with the components given, and exits.
func Main(components config.Registry) {
	os.Exit(run(components, os.Args[1:], os.Stdout, os.Stderr))
}

// cli is what the command line can say.
type cli struct {
	Run     runCmd     `cmd:"" help:"Run the gateway."`
	Ingest  ingestCmd  `cmd:"" help:"Write documents into a store of passages."`
	Eval    evalCmd    `cmd:"" help:"Measure how well chains of retrieval find what answers questions."`
	Check   checkCmd   `cmd:"" help:"Report every problem of a configuration file."`
	Docs    docsCmd    `cmd:"" help:"Describe the components that a file can use."`
	Schema  schemaCmd  `cmd:"" help:"Print the JSON Schema of the configuration file."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// env is what commands work with.
type env struct {
	components config.Registry
	out, err   io.Writer
}

// exit carries a status through kong.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// output is where a command writes. What could not be written is an error of the command,
// which else would seem to have said all.
type output struct {
	io.Writer
	err error // the first
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// run is Main without the exit.
func run(components config.Registry, args []string, stdout, errOut io.Writer) (status int) {
	out := &output{Writer: stdout}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case exit:
			status = int(p)
		default:
			panic(p)
		}
		if status == 0 && out.err != nil {
			fmt.Fprintln(errOut, "headrace: write the output:", out.err)
			status = 1
		}
	}()
	var c cli
	parser, err := kong.New(&c, kong.Name("headrace"), kong.Description("A gateway to language models, declared in YAML."),
		kong.Writers(out, errOut), kong.Exit(func(code int) { panic(exit(code)) }), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(errOut, "headrace:", err)
		return 2
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		parser.FatalIfErrorf(err)
	}
	if err := parsed.Run(&env{components, out, errOut}); err != nil {
		fmt.Fprintln(errOut, "headrace:", err)
		return 1
	}
	return 0
}

// defaultFile is used when no file is named; where there is none, the built-in
// copy of it is.
const defaultFile = "gateway.yaml"

// builtIn is how problems name the built-in copy.
const builtIn = "built-in gateway.yaml"

// source reads the file named, or the default.
func source(name string) (config.Source, error) {
	src := config.Source{File: name, Getenv: os.LookupEnv}
	if name == "" {
		src.File = defaultFile
	}
	data, err := os.ReadFile(src.File)
	switch {
	case err == nil:
		src.Data = data
	case name == "" && errors.Is(err, fs.ErrNotExist):
		src.File, src.Data = builtIn, headrace.DefaultConfig
	default:
		return src, fmt.Errorf("read the configuration: %w", err)
	}
	return src, nil
}
