package cmd

import (
	"fmt"

	"github.com/headrace/headrace/pipeline/config"
	"github.com/headrace/headrace/pipeline/version"
)

type docsCmd struct {
	Name string `arg:"" optional:"" help:"Component to describe; all of them if none is named."`
}

// Run prints Markdown.
func (c *docsCmd) Run(e *env) error {
	text := config.Docs(e.components, c.Name)
	if text == "" {
		return fmt.Errorf("there is no component %q; headrace docs lists them all", c.Name)
	}
	fmt.Fprint(e.out, text)
	return nil
}

type schemaCmd struct{}

// Run prints the schema that editors check a file with.
func (schemaCmd) Run(e *env) error {
	_, err := e.out.Write(append(config.Schema(e.components), '\n'))
	return err
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(e *env) error {
	fmt.Fprintln(e.out, "headrace", version.String())
	return nil
}
