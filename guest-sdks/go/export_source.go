//go:build !wasip1 || dataflare_source

package dataflare

import "dataflare/internal/host"

// ExportSource makes a plugin of a function that makes a source of a configuration. Call it once, in an init function.
func ExportSource[C any, P Source[S], S any](make func(C) (P, error)) {
	export(host.Source, make, func(plugin P) reading { return &sourceOf[S]{plugin: plugin} })
}

// ExportChangeLog makes a plugin of a function that makes a source that is read by its changes alone. Call it once, in an init
// function.
func ExportChangeLog[C any, P ChangeLog[S], S any](make func(C) (P, error)) {
	export(host.Source, make, func(plugin P) reading { return &sourceOf[S]{plugin: plugin} })
}
