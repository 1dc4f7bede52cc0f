//go:build !wasip1 || dataflare_validator

package dataflare

import "dataflare/internal/host"

// ExportValidator makes a plugin of a function that makes a validator of a configuration. Call it once, in an init function.
func ExportValidator[C any, P Validator](make func(C) (P, error)) {
	export(host.Validator, make, func(plugin P) Validator { return plugin })
}
