//go:build !wasip1 || dataflare_destination

package dataflare

import "dataflare/internal/host"

// ExportDestination makes a plugin of a function that makes a destination of a configuration. Call it once, in an init
// function.
func ExportDestination[C any, P Destination](make func(C) (P, error)) {
	export(host.Destination, make, func(plugin P) *writing { return &writing{plugin: plugin} })
}
