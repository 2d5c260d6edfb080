// Command acme-gateway is the gateway with Acme's guard built in.
package main

import (
	"example.com/acme/guard"

	"github.com/headrace/headrace/cmd"
	"github.com/headrace/headrace/plugins/standard"
)

func main() { cmd.Main(standard.Components().With(guard.Plugin)) }
