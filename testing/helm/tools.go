//go:build tools

// Keeps helm itself in go.mod: it is built from here by `cargo xtask setup`.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
