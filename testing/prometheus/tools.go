//go:build tools

// Keeps Prometheus and promtool themselves in go.mod: they are built from here by `cargo xtask setup`.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
