// Command headrace is the gateway with its built-in components.
package main

import (
	"github.com/headrace/headrace/cmd"
	"github.com/headrace/headrace/plugins/standard"
)

func main() { cmd.Main(standard.Components()) }
