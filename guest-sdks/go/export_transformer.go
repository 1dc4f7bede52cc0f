//go:build !wasip1 || dataflare_transformer

package dataflare

import "dataflare/internal/host"

// ExportTransformer makes a plugin of a function that makes a transformer of a configuration. Call it once, in an init
// function.
func ExportTransformer[C any, P Transformer](make func(C) (P, error)) {
	export(host.Transformer, make, func(plugin P) Transformer { return plugin })
}
