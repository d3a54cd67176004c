// Command hydra is Ory Hydra, built from its Go module for the tests and the demo.
package main

import "github.com/ory/hydra/v2/cmd"

func main() { cmd.Execute() }
